//! One node: the connection to it, what it is, and what waits to be sent to it.
//!
//! Operations that come while scripts are under way gather and go in one script. A node that is not there, or has not
//! joined, answers for nobody: what it is asked fails at once.

use super::ballot::Epoch;
use super::layout::{Layout, Names};
use super::line::{Line, Report};
use super::marker::{Marker, Run};
use super::register::{Answer, Op};
use super::script::{self, Encoded};
use crate::config::Address;
use crate::connector::Connector;
use crate::fault::Fault;
use parking_lot::{Mutex, RwLock};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;

/// How many operations one script carries.
const BATCH: usize = 128;
/// The most that one script carries, in bytes.
const BATCH_BYTES: usize = 4 << 20;
/// How many scripts of a node are under way at a time.
const FLIGHTS_MAX: usize = 2;
/// How many operations wait for a node at most, and how many bytes; further ones fail.
const WAITING_MAX: usize = 16_384;
const WAITING_BYTES_MAX: usize = 64 << 20;
/// How often a node is asked what it is.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// The pauses between attempts to connect: the first, and the longest.
const CONNECT_PAUSE_MIN: Duration = Duration::from_millis(50);
const CONNECT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// An answer, with the number of the node and that of the question.
pub(super) type Reply = (usize, u64, Answer);

struct Request {
    encoded: Arc<Encoded>,
    question: u64,
    reply: UnboundedSender<Reply>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Request>,
    bytes: usize,
    flights: usize,
}

/// What is known of a node.
#[derive(Clone)]
pub(super) enum Standing {
    /// It can't be used.
    Down(Fault),
    /// It has joined, and has everything that it ever answered for.
    Joined(Arc<Seat>),
    /// It takes part in nothing.
    Out { line: Arc<Line>, report: Report, why: Out },
}

/// Why a node takes part in nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Out {
    /// It has nothing of ours.
    Vacant,
    /// It is about to be one of the first.
    Forming,
    /// It has lost writes, or may have.
    Lost,
    /// It copies what the others have.
    Catching,
    /// Its data is not of this quorum.
    Foreign,
}

/// A node that has joined, under one token and on one connection.
pub(super) struct Seat {
    pub(super) line: Arc<Line>,
    /// As it is in the node.
    pub(super) marker: String,
    pub(super) formation: String,
    pub(super) token: String,
    pub(super) names: Names,
    pub(super) epoch: Epoch,
    /// Whether it writes to disk before it answers.
    pub(super) durable: bool,
}

/// One node.
pub(super) struct Member {
    pub(super) number: usize,
    pub(super) address: Address,
    nodes: usize,
    connector: Arc<Connector>,
    pub(super) layout: Arc<Layout>,
    pub(super) timeout: Duration,
    standing: RwLock<Standing>,
    /// Where the connections are served, too: a caller's own runtime would have to be woken twice more.
    runtime: Handle,
    queue: Mutex<Queue>,
    /// The most changes that were ever seen of it, and under which token: a node that has fewer has gone back in time.
    seen: Mutex<(String, u64)>,
    /// How often it was told to look again.
    look: Notify,
    looks: AtomicU64,
}

impl Member {
    /// Must be called within the runtime that is to send.
    pub(super) fn new(
        number: usize,
        nodes: usize,
        address: Address,
        connector: Arc<Connector>,
        layout: Arc<Layout>,
        timeout: Duration,
    ) -> Arc<Member> {
        let standing = RwLock::new(Standing::Down(Fault::Unreached("not connected yet".to_owned())));
        Arc::new(Member {
            number,
            address,
            nodes,
            connector,
            layout,
            timeout,
            standing,
            runtime: Handle::current(),
            queue: Mutex::default(),
            seen: Mutex::default(),
            look: Notify::new(),
            looks: AtomicU64::new(0),
        })
    }

    pub(super) fn connector(&self) -> &Connector {
        &self.connector
    }

    pub(super) fn standing(&self) -> Standing {
        self.standing.read().clone()
    }

    /// Where it takes part, if it does.
    pub(super) fn seat(&self) -> Option<Arc<Seat>> {
        match &*self.standing.read() {
            Standing::Joined(seat) if seat.line.is_usable() => Some(Arc::clone(seat)),
            _ => None,
        }
    }

    /// Whether it writes to disk before it answers, if it takes part.
    pub(super) fn durability(&self) -> Option<bool> {
        Some(self.seat()?.durable)
    }

    /// How often it was looked what the node is: a number that grows with every look that is done.
    pub(super) fn looks(&self) -> u64 {
        self.looks.load(Ordering::Acquire)
    }

    /// Something has changed: it is looked again soon.
    pub(super) fn look_again(&self) {
        self.look.notify_one();
    }

    /// Keeps a connection, and looks what the node is.
    pub(super) async fn keep(self: Arc<Member>) {
        let mut pause = CONNECT_PAUSE_MIN;
        loop {
            match Line::open(&self.connector, &self.address, self.timeout).await {
                Ok(line) => {
                    let line = Arc::new(line);
                    while line.is_usable() {
                        match self.look(&line).await {
                            Ok(standing) => {
                                self.stand(standing);
                                pause = CONNECT_PAUSE_MIN;
                            }
                            Err(fault) => {
                                self.stand(Standing::Down(fault.at(&self.address)));
                                line.retire();
                                break;
                            }
                        }
                        drop(tokio::time::timeout(LOOK_INTERVAL, self.look.notified()).await);
                    }
                }
                Err(fault) => self.stand(Standing::Down(fault)),
            }
            tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
            pause = (pause * 2).min(CONNECT_PAUSE_MAX);
        }
    }

    fn stand(&self, standing: Standing) {
        let mut known = self.standing.write();
        if known.name() != standing.name() {
            tracing::info!(node = %self.address, standing = standing.name(), "a node of the quorum");
        }
        if let Standing::Down(fault) = &standing {
            tracing::debug!(node = %self.address, ?fault, "no use");
        }
        *known = standing;
        drop(known);
        self.looks.fetch_add(1, Ordering::AcqRel);
    }

    /// What the node is.
    async fn look(&self, line: &Arc<Line>) -> Result<Standing, Fault> {
        let report = line.report(&self.layout).await?;
        let out = |why| Ok(Standing::Out { line: Arc::clone(line), report: report.clone(), why });
        if report.marker.nodes().is_some_and(|nodes| nodes != self.nodes) {
            return out(Out::Foreign);
        }
        let (formation, token) = match &report.marker {
            Marker::Vacant => return out(Out::Vacant),
            Marker::Forming { .. } => return out(Out::Forming),
            Marker::Catching { .. } => return out(Out::Catching),
            Marker::Foreign(_) => return out(Out::Foreign),
            Marker::Joined { formation, token, .. } => (formation.clone(), token.clone()),
        };
        if report.run != report.current && !self.confirm(line, &report, &token).await? {
            return out(Out::Lost);
        }
        self.witness(&token, report.changes);
        let known = self.seat().filter(|seat| Arc::ptr_eq(&seat.line, line) && seat.token == token);
        let same = |seat: &Arc<Seat>| seat.epoch == report.epoch && seat.durable == report.current.durable;
        Ok(Standing::Joined(known.filter(same).unwrap_or_else(|| {
            Arc::new(Seat {
                line: Arc::clone(line),
                marker: report.marker.to_string(),
                formation,
                names: self.layout.names(&token),
                token,
                epoch: report.epoch,
                durable: report.current.durable,
            })
        })))
    }

    /// Whether a node in another run, or with other settings, has everything all the same; then that is written down.
    async fn confirm(&self, line: &Line, report: &Report, token: &str) -> Result<bool, Fault> {
        if report.run.id != report.current.id {
            let (known, most) = self.seen.lock().clone();
            let went_back = known == token && report.changes < most;
            if !report.run.durable || report.was_replica || went_back {
                tracing::warn!(node = %self.address, went_back, "a node has restarted, and may have lost writes");
                return Ok(false);
            }
        }
        line.mark(&self.layout, report, &report.marker, &report.current, None).await
    }

    /// Remembers how much the node has had.
    fn witness(&self, token: &str, changes: u64) {
        let mut seen = self.seen.lock();
        if seen.0 == token {
            seen.1 = seen.1.max(changes);
        } else {
            *seen = (token.to_owned(), changes);
        }
    }

    /// Asks the node; the answer comes to `reply`.
    pub(super) fn ask(
        self: &Arc<Member>,
        encoded: &Arc<Encoded>,
        question: u64,
        reply: &UnboundedSender<Reply>,
    ) {
        let fail = || drop(reply.send((self.number, question, Answer::Failed { unknown: false })));
        if self.seat().is_none() {
            return fail();
        }
        let mut queue = self.queue.lock();
        let bytes = queue.bytes + encoded.size();
        if queue.waiting.len() >= WAITING_MAX || bytes > WAITING_BYTES_MAX {
            drop(queue);
            return fail();
        }
        queue.bytes = bytes;
        queue.waiting.push_back(Request { encoded: Arc::clone(encoded), question, reply: reply.clone() });
        if queue.flights < FLIGHTS_MAX {
            queue.flights += 1;
            drop(queue);
            self.runtime.spawn(Arc::clone(self).fly());
        }
    }

    /// Sends batch after batch until nothing waits.
    async fn fly(self: Arc<Member>) {
        while let Some(batch) = self.next() {
            let answers = match self.seat() {
                None => Err(false),
                Some(seat) => self.send(&seat, &batch).await,
            };
            match answers {
                Ok(answers) => {
                    for (request, answer) in batch.iter().zip(answers) {
                        drop(request.reply.send((self.number, request.question, answer)));
                    }
                }
                Err(unknown) => {
                    for request in &batch {
                        drop(request.reply.send((self.number, request.question, Answer::Failed { unknown })));
                    }
                }
            }
        }
    }

    /// The next batch; none ends this flight.
    fn next(&self) -> Option<Vec<Request>> {
        let mut queue = self.queue.lock();
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < BATCH
            && let Some(request) = queue.waiting.front()
        {
            let size = request.encoded.size();
            if !batch.is_empty() && bytes + size > BATCH_BYTES {
                break;
            }
            queue.bytes -= size;
            let Some(request) = queue.waiting.pop_front() else { break };
            // Nobody waits for it any more. An acceptance is sent all the same: a node that has it need not be told later.
            if request.reply.is_closed() && !matches!(request.encoded.op, Op::Accept { .. }) {
                continue;
            }
            bytes += size;
            batch.push(request);
        }
        if batch.is_empty() {
            queue.flights -= 1;
            return None;
        }
        Some(batch)
    }

    /// The answers to a batch; else whether it may have been, or may yet be, done.
    async fn send(&self, seat: &Seat, batch: &[Request]) -> Result<Vec<Answer>, bool> {
        let ops = batch.iter().map(|request| &*request.encoded);
        let layout = &self.layout;
        let call = script::step(
            &layout.marker(),
            &layout.epoch(),
            &seat.names,
            &seat.marker,
            &layout.channel(),
            ops.clone(),
        );
        match seat.line.call(call).await {
            Ok(value) => match script::answers(value, ops) {
                Some((changes, answers)) => {
                    if changes > 0 {
                        self.witness(&seat.token, changes);
                    }
                    Ok(answers)
                }
                None => {
                    tracing::warn!(node = %self.address, "a node gives an answer of the wrong kind");
                    Err(true)
                }
            },
            Err(fault) => {
                tracing::debug!(node = %self.address, ?fault, "a node has not done what it was asked");
                self.look_again();
                Err(match fault {
                    // The script checks the marker before it does anything.
                    Fault::Unknown(reason) => !reason.starts_with("DLOCKOUT"),
                    Fault::Foreign(_) => true,
                    _ => false,
                })
            }
        }
    }
}

impl Standing {
    /// For people.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Standing::Down(_) => "down",
            Standing::Joined(_) => "joined",
            Standing::Out { why, .. } => match why {
                Out::Vacant => "vacant",
                Out::Forming => "forming",
                Out::Lost => "lost writes",
                Out::Catching => "catching up",
                Out::Foreign => "foreign",
            },
        }
    }
}

impl Run {
    /// Of a node that has everything from here on.
    pub(super) fn of(report: &Report) -> Run {
        report.current.clone()
    }
}
