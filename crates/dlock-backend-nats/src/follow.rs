//! Follows the bucket, and keeps the copy up to date.

use crate::client::Connected;
use crate::copy::SharedCopy;
use crate::envelope::{Barrier, Envelope, Marker};
use crate::insist::insist;
use crate::subject::Meaning;
use async_nats::datetime::DateTime;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, push};
use async_nats::jetstream::message::Message;
use async_nats::jetstream::stream::{LastRawMessageErrorKind, Stream};
use futures::StreamExt;
use std::sync::Arc;
use std::time::Duration;

/// How long to wait before a consumer that broke is made anew.
const RETRY: Duration = Duration::from_millis(200);

/// The consumer says so often that it is there; after twice this it counts as lost.
const HEARTBEAT: Duration = Duration::from_millis(700);
/// So does it after so much silence, if something was acknowledged that has not come.
const SILENCE_MAX: Duration = Duration::from_secs(1);
/// The server forgets a consumer that nobody has listened to for so long.
const INACTIVE_MAX: Duration = Duration::from_secs(30);

/// Follows until the task is aborted.
pub(crate) async fn run(connected: Connected, copy: Arc<SharedCopy>) {
    let mut place = None;
    loop {
        tokio::select! {
            broken = follow(&connected, &copy, &mut place) => {
                if let Err(error) = broken {
                    tracing::debug!(%error, "the bucket can't be followed and is tried anew");
                }
            }
            () = copy.doubted() => {
                tracing::warn!("the bucket is read again");
                place = None;
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Where the copy is in the bucket: by the last message that it has.
#[derive(Clone, Copy)]
struct Place {
    sequence: u64,
    published: DateTime,
}

impl Place {
    /// Whether the bucket still has the message: if so, it is the one that was copied, and did not go back in time. If
    /// the message was replaced meanwhile, nobody knows.
    async fn is_in(&self, stream: &Stream<()>) -> Result<bool, async_nats::Error> {
        match insist(|| stream.get_raw_message(self.sequence)).await {
            Ok(message) => Ok(message.time == self.published),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Follows until something breaks, from where it was before if that is certain.
async fn follow(
    connected: &Connected,
    copy: &SharedCopy,
    place: &mut Option<Place>,
) -> Result<(), async_nats::Error> {
    // Sent before the place is looked for: a bucket that went back in time shows it by a smaller sequence.
    let first = Awaited::send(connected).await?;
    let stream = connected.context.get_stream_no_info(&connected.stream).await?;
    let known = match *place {
        Some(known) if known.is_in(&stream).await? => Some(known),
        _ => None,
    };
    if known.is_none() {
        copy.clear();
    }
    *place = known;
    copy.begin(first.sequence);
    let mut seen = known.map_or(0, |place| place.sequence);
    let mut being_read = known.is_none();
    let mut gap = being_read.then_some(Gap { awaited: first, next: Some(0) });
    let deliver_policy = match known {
        Some(place) => DeliverPolicy::ByStartSequence { start_sequence: place.sequence + 1 },
        None => DeliverPolicy::All,
    };
    // As the crate's ordered consumer, but for one thing: that goes on by itself after a connection was lost, though the
    // bucket may not be the same any more.
    let config = || push::Config {
        deliver_subject: connected.client.new_inbox(),
        filter_subject: connected.subjects.all(),
        deliver_policy,
        ack_policy: AckPolicy::None,
        max_deliver: 1,
        flow_control: true,
        idle_heartbeat: HEARTBEAT,
        inactive_threshold: INACTIVE_MAX,
        num_replicas: 1,
        memory_storage: true,
        ..push::Config::default()
    };
    // Those that are made in vain are forgotten by the server, as nobody listens.
    let consumer = insist(|| stream.create_consumer(config())).await?;
    let mut messages = consumer.messages().await?;
    let mut delivered = 0;
    loop {
        let Ok(message) = tokio::time::timeout(SILENCE_MAX, messages.next()).await else {
            if copy.owes(seen) {
                return Err("what was acknowledged does not come".into());
            }
            continue;
        };
        let Some(message) = message.transpose()? else { return Ok(()) };
        let (number, sequence, published) = {
            let info = message.info()?;
            (info.consumer_sequence, info.stream_sequence, info.published)
        };
        delivered += 1;
        if number != delivered {
            return Err("a message was lost on its way".into());
        }
        if sequence > seen + 1 {
            tracing::trace!(sequence, seen, "NATS has skipped messages");
            copy.skipped();
            match &mut gap {
                Some(gap) => _ = gap.next.get_or_insert(seen),
                None => gap = Some(Gap::of(connected).await?),
            }
        }
        seen = sequence;
        copy.count_delivery();
        let barrier = take(connected, copy, sequence, &message);
        if let Some(Gap { awaited, next }) = &gap
            && sequence >= awaited.sequence
        {
            let came = barrier == Some(awaited.barrier);
            if sequence == awaited.sequence && !came {
                return Err("the node where the bucket is read differs from its leader".into());
            }
            let complete = if came { next.unwrap_or(sequence) } else { 0 };
            if came {
                copy.agree(sequence);
            }
            if complete > 0 && std::mem::take(&mut being_read) {
                copy.read_again();
            }
            copy.caught_up(complete);
            // Where the barrier was skipped itself, the next one comes after what was skipped before it, too.
            let is_last = complete == sequence;
            gap = if is_last { None } else { Some(Gap::of(connected).await?) };
        }
        if gap.is_none() {
            copy.caught_up(sequence);
            *place = Some(Place { sequence, published });
        }
    }
}

/// Messages were skipped, as they had been replaced before they were delivered. What replaced them is in the bucket, and has
/// come when a barrier has that was sent after they were missed.
///
/// What a consumer says of the messages that are pending is not to be relied on: it may be where the bucket has yet to be
/// copied to. So the beginning of a bucket is read as if it was skipped: what was there has come with the first barrier,
/// except for what was skipped until then, and that with the second.
struct Gap {
    awaited: Awaited,
    /// The last message before the first that was skipped since the barrier was sent. Up to there the copy is complete when the
    /// barrier has come.
    next: Option<u64>,
}

impl Gap {
    async fn of(connected: &Connected) -> Result<Gap, async_nats::Error> {
        Ok(Gap { awaited: Awaited::send(connected).await?, next: None })
    }
}

/// A barrier, and the sequence with which the bucket's leader has acknowledged it.
struct Awaited {
    barrier: Barrier,
    sequence: u64,
}

impl Awaited {
    async fn send(connected: &Connected) -> Result<Awaited, async_nats::Error> {
        let barrier = Barrier { nonce: connected.nonce() };
        let sequence = insist(|| connected.publish_barrier(barrier)).await?.sequence;
        Ok(Awaited { barrier, sequence })
    }
}

/// Takes a message into the copy; returns it if it is a barrier.
fn take(connected: &Connected, copy: &SharedCopy, sequence: u64, message: &Message) -> Option<Barrier> {
    let mut barrier = None;
    let taken = match connected.subjects.meaning(&message.subject) {
        Some(Meaning::Record(key)) => {
            Envelope::decode(&message.payload).map(|envelope| copy.apply(key, sequence, envelope))
        }
        Some(Meaning::Marker) => Marker::decode(&message.payload).map(|marker| copy.mark(sequence, marker)),
        Some(Meaning::Barrier) => {
            barrier = Barrier::decode(&message.payload);
            barrier.map(|barrier| copy.barrier_came(barrier, sequence))
        }
        None => None,
    };
    if taken.is_none() {
        tracing::error!(subject = %message.subject, sequence, "a message in the bucket is not dlock's");
    }
    barrier
}
