//! Follows the bucket, and keeps the copy up to date.

use crate::client::Connected;
use crate::copy::SharedCopy;
use crate::envelope::{Envelope, Marker};
use crate::subject::Meaning;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::push::OrderedConfig;
use async_nats::jetstream::message::Message;
use futures::StreamExt;
use std::sync::Arc;
use std::time::Duration;

/// How long to wait before a consumer that broke is made anew.
const RETRY: Duration = Duration::from_millis(200);

/// Follows until the task is aborted.
pub(crate) async fn run(connected: Connected, copy: Arc<SharedCopy>) {
    let mut incarnation = None;
    loop {
        if let Err(error) = follow(&connected, &copy, &mut incarnation).await {
            tracing::debug!(%error, "the bucket can't be followed and is tried anew");
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Follows until something breaks. `incarnation` tells one bucket from another of the same name.
async fn follow(
    connected: &Connected,
    copy: &SharedCopy,
    incarnation: &mut Option<String>,
) -> Result<(), async_nats::Error> {
    let stream = connected.context.get_stream(&connected.stream).await?;
    let info = stream.cached_info();
    let found = info.created.to_string();
    let applied = copy.applied();
    let again = incarnation.as_ref() == Some(&found) && info.state.last_sequence >= applied && applied > 0;
    if !again {
        copy.clear();
    }
    *incarnation = Some(found);
    let deliver_policy = if again {
        DeliverPolicy::ByStartSequence { start_sequence: applied + 1 }
    } else {
        if connected.keeps_history() { DeliverPolicy::All } else { DeliverPolicy::LastPerSubject }
    };
    let config = OrderedConfig {
        deliver_subject: connected.client.new_inbox(),
        filter_subject: connected.subjects.all(),
        deliver_policy,
        ..OrderedConfig::default()
    };
    let last = info.state.last_sequence;
    let consumer = stream.create_consumer(config).await?;
    let mut nothing_pending = consumer.cached_info().num_pending == 0;
    let mut messages = consumer.messages().await?;
    // While it is rebuilt, the copy is complete up to nothing.
    let mut complete = again;
    loop {
        if nothing_pending && !complete {
            complete = true;
            copy.caught_up(last);
            copy.resynchronise();
        }
        let Some(message) = messages.next().await else { return Ok(()) };
        let message = message?;
        let (sequence, pending) = {
            let info = message.info()?;
            (info.stream_sequence, info.pending)
        };
        take(connected, copy, sequence, &message);
        // The messages that were there may have been replaced meanwhile: then later ones come.
        nothing_pending |= pending == 0 || sequence >= last;
        if complete || nothing_pending {
            copy.caught_up(sequence);
        }
    }
}

fn take(connected: &Connected, copy: &SharedCopy, sequence: u64, message: &Message) {
    let taken = match connected.subjects.meaning(&message.subject) {
        Some(Meaning::Record(key)) => {
            Envelope::decode(&message.payload).map(|envelope| copy.apply(key, sequence, envelope))
        }
        Some(Meaning::Marker) => Marker::decode(&message.payload).map(|marker| copy.mark(sequence, marker)),
        Some(Meaning::Barrier) => Some(()),
        None => None,
    };
    if taken.is_none() {
        tracing::error!(subject = %message.subject, sequence, "a message in the bucket is not dlock's");
    }
}
