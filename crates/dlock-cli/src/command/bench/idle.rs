//! Sessions that do nothing but live: many on each connection, each on a stream of its own, with its heartbeats.

use super::connection::connect;
use super::counts::{Counts, Window};
use super::crew::Crew;
use super::locker::Failure;
use super::report::{Idle, Latency};
use super::usage::Servers;
use crate::arguments::{Bench, Global};
use crate::exit::{self, Exit};
use dlock_core::Timestamp;
use dlock_proto::duration_to_proto;
use dlock_proto::v1::client_message::Body as Said;
use dlock_proto::v1::lock_service_client::LockServiceClient;
use dlock_proto::v1::server_message::Body as Heard;
use dlock_proto::v1::{
    ClientInfo, ClientMessage, CloseSession, Heartbeat, OpenSession, SessionRequest, SessionResponse,
};
use dlock_runtime::{BootClock, Clock};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

/// How many sessions are being opened, or closed, at a time on each thread.
const AT_A_TIME: usize = 128;
/// How often a session sends a heartbeat: every third of its time to live, as the SDK does.
const HEARTBEATS_PER_TTL: u32 = 3;

/// What all sessions are to do.
#[derive(Clone)]
enum Phase {
    /// Live.
    Live,
    /// Live, and count the heartbeats in this window.
    Count(Window),
    /// Close.
    Close,
}

/// Opens the sessions, lets them live for the warm-up and while it is measured, and closes them.
pub(super) async fn run(
    global: &Global,
    arguments: &Bench,
    crew: &Crew,
    servers: &Servers,
) -> Result<Idle, Exit> {
    let connections = arguments.connections.unwrap_or(1);
    let mut channels = Vec::new();
    for number in 0..connections {
        let endpoint = &global.endpoints[number as usize % global.endpoints.len()];
        channels.push(connect(endpoint, crew.member(number)).await?);
    }
    let (phase, phases) = watch::channel(Phase::Live);
    let mut turnstiles = Vec::new();
    let mut counts = Vec::new();
    for _ in crew.numbers() {
        turnstiles.push(Arc::new(Semaphore::new(AT_A_TIME)));
        counts.push(Arc::new(Mutex::new(Counts::new()?)));
    }
    let nothing_yet = servers.used().await?;
    let (opened, mut openings) = mpsc::unbounded_channel();
    let mut sessions = JoinSet::new();
    for number in 0..arguments.sessions {
        let connection = number % connections;
        let thread = connection as usize % counts.len();
        let session = Session {
            channel: channels[connection as usize].clone(),
            ttl: arguments.ttl,
            turnstile: turnstiles[thread].clone(),
            counts: counts[thread].clone(),
            phases: phases.clone(),
        };
        sessions.spawn_on(session.run(opened.clone()), crew.member(connection));
    }
    drop(opened);
    let mut open = 0;
    while open < arguments.sessions && openings.recv().await.is_some() {
        open += 1;
    }
    let all_open = servers.used().await?;
    let begin = BootClock.now() + arguments.warm_up;
    let window = Window { begin, end: begin + arguments.duration };
    phase.send_replace(Phase::Count(window));
    BootClock.sleep_until(window.begin).await;
    let before = servers.used().await?;
    BootClock.sleep_until(window.end).await;
    let after = servers.used().await?;
    phase.send_replace(Phase::Close);
    while let Some(done) = sessions.join_next().await {
        done.map_err(|error| Exit::new(exit::FAILURE, error))?;
    }
    let mut all = Counts::new()?;
    counts.iter().for_each(|shared| all.add(&shared.lock()));
    if let Some(error) = &all.first_error {
        crate::output::complain(&format!("{} errors, the first: {error}", all.errors));
    }
    let grown =
        |from: Option<u64>, to: Option<u64>| Some(to?.saturating_sub(from?) as f64 / f64::from(open.max(1)));
    let busy = before.busy_until(&after);
    Ok(Idle {
        workload: arguments.workload,
        sessions: open,
        connections,
        ttl_seconds: arguments.ttl.as_secs_f64(),
        opened_per_second: f64::from(open) / all_open.at.since(nothing_yet.at).as_secs_f64(),
        seconds: window.seconds(),
        acknowledged: all.pairs,
        acknowledged_per_second: all.pairs as f64 / window.seconds(),
        heartbeat: Latency::of(&all.whole),
        errors: all.errors,
        server_processors: busy.server,
        client_processors: busy.client,
        server_bytes_each: grown(nothing_yet.server_resident(), after.server_resident()),
        client_bytes_each: grown(nothing_yet.client_resident(), after.client_resident()),
    })
}

/// A session on its stream.
struct Session {
    channel: Channel,
    ttl: Duration,
    turnstile: Arc<Semaphore>,
    counts: Arc<Mutex<Counts>>,
    phases: watch::Receiver<Phase>,
}

impl Session {
    async fn run(mut self, opened: mpsc::UnboundedSender<()>) {
        if let Err(error) = self.live(opened).await {
            self.counts.lock().error(&error);
        }
    }

    async fn live(&mut self, opened: mpsc::UnboundedSender<()>) -> Result<(), Failure> {
        let (mut stream, epoch) = self.open().await?;
        // The sessions are opened one after the other, and so their heartbeats are spread.
        let mut due = BootClock.now();
        // Whoever waits for the openings waits for all of them.
        let _ = opened.send(());
        drop(opened);
        loop {
            due = due + self.ttl / HEARTBEATS_PER_TTL;
            let closing = tokio::select! {
                () = BootClock.sleep_until(due) => false,
                ended = self.phases.wait_for(|phase| matches!(phase, Phase::Close)) => ended.is_ok(),
            };
            if closing {
                return self.close(stream).await;
            }
            let sent = BootClock.now();
            stream.say(0, Said::Heartbeat(Heartbeat { epoch, nonce: sent.0 })).await?;
            stream.hear(|heard| matches!(heard, Heard::Heartbeat(ack) if ack.nonce == sent.0)).await?;
            self.acknowledged(sent);
        }
    }

    fn acknowledged(&self, sent: Timestamp) {
        let now = BootClock.now();
        if let Phase::Count(window) = &*self.phases.borrow()
            && window.contains(now)
        {
            let mut counts = self.counts.lock();
            counts.pairs += 1;
            counts.whole.record(sent, now);
        }
    }

    async fn open(&self) -> Result<(Stream, u64), Failure> {
        let _turn = self.turnstile.acquire().await.map_err(|_| Failure::Answer("closed"))?;
        let (sender, receiver) = mpsc::channel(1);
        let client =
            ClientInfo { name: "dlockctl".to_owned(), pid: std::process::id(), ..ClientInfo::default() };
        let open = OpenSession {
            ttl: Some(duration_to_proto(self.ttl)),
            client: Some(client),
            ..OpenSession::default()
        };
        let first = request(0, 0, Said::Open(open));
        sender.send(first).await.map_err(|_| Failure::Answer("it has ended"))?;
        let answers = LockServiceClient::new(self.channel.clone())
            .session(ReceiverStream::new(receiver))
            .await
            .map_err(Box::new)?
            .into_inner();
        let mut stream = Stream { sender, answers, received: 0 };
        let opened = stream.hear(|heard| matches!(heard, Heard::Opened(_))).await?;
        let Heard::Opened(opened) = opened else { return Err(Failure::Answer("no session")) };
        Ok((stream, opened.terms.ok_or(Failure::Answer("no terms"))?.epoch))
    }

    async fn close(&self, mut stream: Stream) -> Result<(), Failure> {
        let _turn = self.turnstile.acquire().await.map_err(|_| Failure::Answer("closed"))?;
        stream.say(1, Said::Close(CloseSession {})).await?;
        stream.hear(|heard| matches!(heard, Heard::Ended(_))).await.map(drop)
    }
}

/// The two halves of a session's stream.
struct Stream {
    sender: mpsc::Sender<SessionRequest>,
    answers: Streaming<SessionResponse>,
    received: u64,
}

impl Stream {
    async fn say(&self, sequence: u64, body: Said) -> Result<(), Failure> {
        let request = request(self.received, sequence, body);
        self.sender.send(request).await.map_err(|_| Failure::Answer("the stream has ended"))
    }

    /// Reads on to the message that is waited for.
    async fn hear(&mut self, expected: impl Fn(&Heard) -> bool) -> Result<Heard, Failure> {
        loop {
            let frame = self.answers.message().await.map_err(Box::<Status>::from)?;
            let frame = frame.ok_or(Failure::Answer("the stream has ended"))?;
            self.received += 1;
            let mut heard = frame.messages.into_iter().filter_map(|message| message.body);
            if let Some(found) = heard.find(|heard| expected(heard)) {
                return Ok(found);
            }
        }
    }
}

fn request(received_frames: u64, sequence: u64, body: Said) -> SessionRequest {
    SessionRequest { received_frames, messages: vec![ClientMessage { sequence, body: Some(body) }] }
}
