//! The clients: programs that lock, with dlock's own SDK, and write down what they did and saw.

use crate::bug::Bug;
use crate::held::Held;
use crate::history::{Answer, Ask, OperationId, Recorder};
use crate::network::SimulatedConnector;
use crate::register::Registers;
use crate::world::{Time, World, between};
use dlock_client::{Client, Environment, Error, LossReason, Mode, ReleaseError, ValueBlock};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// What a client process is to do.
#[derive(Clone)]
pub(crate) struct Plan {
    /// Its name, with the number of its start.
    pub(crate) name: String,
    pub(crate) seed: u64,
    pub(crate) endpoints: Vec<String>,
    pub(crate) ttl: Duration,
    pub(crate) lock_delay: Duration,
    pub(crate) workers: usize,
    pub(crate) resources: usize,
    /// How fast its clock is.
    pub(crate) rate: f64,
    /// How long it pauses between two locks, and between two things that it does with one, at most.
    pub(crate) pause_max: Duration,
    /// Nothing new is begun then.
    pub(crate) until: Time,
    pub(crate) bug: Option<Bug>,
    /// How probable it is that it writes a value block where it may.
    pub(crate) values: f64,
}

/// What a client process works with.
#[derive(Clone)]
pub(crate) struct Tools {
    pub(crate) world: Arc<World>,
    pub(crate) recorder: Recorder,
    pub(crate) registers: Registers,
    pub(crate) environment: Environment,
    pub(crate) connector: SimulatedConnector,
    /// For a planted bug: the last token seen of each resource.
    pub(crate) earlier_tokens: Arc<parking_lot::Mutex<std::collections::BTreeMap<usize, u64>>>,
    /// Numbers the values that are written.
    pub(crate) values: Arc<AtomicU64>,
    /// What must not happen at all, such as a violated protocol.
    pub(crate) complaints: Arc<parking_lot::Mutex<Vec<String>>>,
    /// All clients close their sessions and end when this is set.
    pub(crate) close: Arc<AtomicBool>,
    /// Set when this process has no lock under way any more.
    pub(crate) idle: Arc<AtomicBool>,
    /// Set when this process has ended.
    pub(crate) ended: Arc<AtomicBool>,
}

/// The name of a resource by its number.
pub(crate) fn resource_name(resource: usize) -> String {
    format!("r{resource}")
}

/// Runs a client from its connection to the end of its session.
pub(crate) async fn run(plan: Plan, tools: Tools) {
    let client = connect(&plan, &tools).await;
    let workers: Vec<_> = (0..plan.workers)
        .map(|number| {
            let seed = plan.seed.wrapping_mul(31).wrapping_add(number as u64);
            let dice = StdRng::seed_from_u64(seed);
            let worker = Worker { plan: plan.clone(), tools: tools.clone(), client: client.clone(), dice };
            tokio::spawn(worker.run())
        })
        .collect();
    for worker in workers {
        // A worker that panicked is found by its panic.
        drop(worker.await);
    }
    tools.idle.store(true, Ordering::Relaxed);
    while !tools.close.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    if let Err(error) = client.close().await
        && !matches!(error, Error::Timeout { .. })
    {
        tools.complaints.lock().push(format!("{}: close: {error}", plan.name));
    }
    tools.ended.store(true, Ordering::Relaxed);
}

async fn connect(plan: &Plan, tools: &Tools) -> Client {
    loop {
        let builder = Client::builder()
            .endpoints(plan.endpoints.clone())
            .client_name(plan.name.clone())
            .ttl(plan.ttl)
            .lock_delay(plan.lock_delay)
            .environment(tools.environment.clone())
            .connector(tools.connector.clone())
            .on_current_runtime();
        match builder.connect().await {
            Ok(client) => return client,
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

struct Worker {
    plan: Plan,
    tools: Tools,
    client: Client,
    dice: StdRng,
}

/// How long a request may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Patience {
    Try,
    For(Duration),
    Forever,
    /// The future is dropped after this time.
    Dropped(Duration),
}

impl Worker {
    async fn run(mut self) {
        while self.tools.world.now() < self.plan.until {
            self.pause().await;
            self.lock_once().await;
        }
    }

    async fn pause(&mut self) {
        let pause = between(&mut self.dice, Duration::ZERO, self.plan.pause_max);
        tokio::time::sleep(pause).await;
    }

    fn mode(&mut self) -> Mode {
        match self.dice.random_range(0..20) {
            0 => Mode::Null,
            1..=2 => Mode::ConcurrentRead,
            3..=4 => Mode::ConcurrentWrite,
            5..=8 => Mode::ProtectedRead,
            9..=11 => Mode::ProtectedWrite,
            _ => Mode::Exclusive,
        }
    }

    fn patience(&mut self) -> Patience {
        match self.dice.random_range(0..10) {
            0..=2 => Patience::Try,
            3..=5 => Patience::For(between(&mut self.dice, Duration::from_millis(1), Duration::from_secs(8))),
            6 => Patience::Dropped(between(&mut self.dice, Duration::ZERO, Duration::from_secs(3))),
            _ => Patience::Forever,
        }
    }

    fn session(&self) -> u128 {
        self.client.session_id().map_or(0, |session| session.0)
    }

    /// Acquires one lock, works with it, and lets it go.
    async fn lock_once(&mut self) {
        let resource = self.dice.random_range(0..self.plan.resources);
        let (mode, patience) = (self.mode(), self.patience());
        let ask = Ask::Acquire { mode, try_only: patience == Patience::Try, reentrant: false };
        let recorder = self.tools.recorder.clone();
        let operation = recorder.invoke(&self.plan.name, self.session(), resource, None, ask);
        let lock = self.client.lock(resource_name(resource)).mode(mode);
        let result = match patience {
            Patience::Try => lock.try_acquire().await.map_err(Some).and_then(|guard| match guard {
                Some(guard) => Ok(guard),
                None => Err(Some(Error::WouldBlock)),
            }),
            Patience::For(time) => lock.wait(time).acquire().await.map_err(Some),
            Patience::Forever => lock.acquire().await.map_err(Some),
            Patience::Dropped(after) => tokio::select! {
                biased;
                result = lock.acquire() => result.map_err(Some),
                () = tokio::time::sleep(after) => Err(None),
            },
        };
        match result {
            Ok(guard) => {
                let (held, answer) = Held::new(&self.plan, &self.tools, guard, resource, operation);
                recorder.complete(operation, held.session(), answer);
                self.use_lock(held).await;
            }
            Err(error) => {
                let answer = self.failed(operation, error, patience);
                recorder.complete(operation, self.session(), answer);
            }
        }
    }

    /// What a failed request says of its effect.
    fn failed(&self, operation: OperationId, error: Option<Error>, patience: Patience) -> Answer {
        let Some(error) = error else { return Answer::Unknown };
        // A wait that its former home has ended in time, by a commit that arrived after the session had moved, is gone
        // from the queue without a word of the new home's.
        if let Error::LockLost { reason } = error
            && !matches!(patience, Patience::For(_))
        {
            self.lost(reason, operation);
        }
        match error {
            Error::WouldBlock => Answer::WouldBlock,
            Error::Deadlock => Answer::Deadlock,
            Error::QueueFull { .. }
            | Error::NotCovered { .. }
            | Error::LimitReached { .. }
            | Error::InvalidArgument { .. } => Answer::Refused,
            Error::Protocol { .. } | Error::Unreadable { .. } | Error::Conflict { .. } => {
                self.tools.complaints.lock().push(format!("{}: {error}", self.plan.name));
                Answer::Unknown
            }
            _ if patience == Patience::Try && self.plan.bug == Some(Bug::ClientGuessesWouldBlock) => {
                Answer::WouldBlock
            }
            _ => Answer::Unknown,
        }
    }

    /// Nobody takes locks away here.
    fn lost(&self, reason: LossReason, operation: OperationId) {
        if reason == LossReason::Revoked && self.plan.bug.is_none() {
            let complaint = format!("{}: #{operation}: told of a revocation", self.plan.name);
            self.tools.complaints.lock().push(complaint);
        }
    }

    /// Works with a lock for a while, and lets it go, in one of the ways there are.
    async fn use_lock(&mut self, mut held: Held) {
        for _ in 0..self.dice.random_range(0..4) {
            let pause = between(&mut self.dice, Duration::ZERO, self.plan.pause_max);
            tokio::select! {
                biased;
                () = held.lost() => {}
                () = tokio::time::sleep(pause) => {}
            }
            if !held.still_good() {
                if let Some(reason) = held.guard_mut().loss() {
                    self.lost(reason, held.operation());
                }
                break;
            }
            let goes_on = match self.dice.random_range(0..4) {
                0 => self.convert(&mut held).await,
                1 if held.mode().writes_value() => {
                    self.increment(&mut held).await;
                    true
                }
                2 if self.plan.workers == 1 => self.reenter(&mut held).await,
                _ => true,
            };
            if !goes_on || !held.still_good() {
                break;
            }
        }
        if self.plan.bug == Some(Bug::ClientForgetsRelease) && self.dice.random_bool(0.05) {
            return std::mem::forget(held.take());
        }
        self.release(held).await;
    }

    /// Reads the register that the lock protects, and writes the next value, if the lock is still held then.
    async fn increment(&mut self, held: &mut Held) {
        let (resource, token) = (held.resource(), held.token());
        let Some(base) = self.tools.registers.read(resource, token).await else { return };
        // Between this look and the arrival of the write, everything may happen.
        if held.still_good() {
            self.tools.registers.write(resource, token, base).await;
        }
    }

    /// Acquires the held lock once more, and lets that go again.
    async fn reenter(&mut self, held: &mut Held) -> bool {
        let lock = self.client.lock(resource_name(held.resource())).mode(held.mode()).reentrant();
        match lock.wait(Duration::from_secs(5)).acquire().await {
            Ok(again) => {
                // It may be an earlier lock of this session, whose release is still on its way: never a later one.
                if held.is_older_than(&again) && held.still_good() {
                    let complaint = format!("{}: a re-entrant acquire was granted anew", self.plan.name);
                    self.tools.complaints.lock().push(complaint);
                }
                self.pause().await;
                drop(again.release().await);
                true
            }
            Err(_) => held.still_good(),
        }
    }

    /// Converts to another mode. False if it isn't known what came of it.
    async fn convert(&mut self, held: &mut Held) -> bool {
        let (mode, patience) = (self.mode(), self.patience());
        let down = mode.at_or_below(held.mode());
        let value = (down && held.mode().writes_value() && self.dice.random_bool(self.plan.values))
            .then(|| self.tools.values.fetch_add(1, Ordering::Relaxed));
        let ask = Ask::Convert { mode, try_only: patience == Patience::Try, value };
        let recorder = self.tools.recorder.clone();
        if !held.mode().at_or_below(mode) {
            held.end(); // from now on the old mode can't be counted on
        }
        let (session, reads) = (held.session(), !down || mode == held.mode());
        let operation =
            recorder.invoke(&self.plan.name, session, held.resource(), Some(held.operation()), ask);
        let mut convert = held.guard_mut().convert(mode);
        if let Some(value) = value.filter(|_| self.plan.bug != Some(Bug::ClientForgetsValue)) {
            convert = convert.write_value(block(value));
        }
        let result = match patience {
            Patience::Try => convert.try_only().await.map_err(Some),
            Patience::For(time) => convert.wait(time).await.map_err(Some),
            Patience::Forever => convert.await.map_err(Some),
            Patience::Dropped(after) => tokio::select! {
                biased;
                result = convert.into_future() => result.map_err(Some),
                () = tokio::time::sleep(after) => Err(None),
            },
        };
        match result {
            Ok(()) => {
                let answer = held.converted(reads);
                recorder.complete(operation, session, answer);
                true
            }
            Err(error) => {
                let answer = self.failed(operation, error, patience);
                recorder.complete(operation, session, answer);
                if answer == Answer::Unknown {
                    held.rely_on_guard();
                    self.pause().await;
                    return false;
                }
                held.go_on();
                true
            }
        }
    }

    async fn release(&mut self, mut held: Held) {
        let writes = held.mode().writes_value() && held.guard_mut().mode().writes_value();
        let value = (writes && self.dice.random_bool(self.plan.values))
            .then(|| self.tools.values.fetch_add(1, Ordering::Relaxed));
        let dropped = value.is_none() && self.dice.random_bool(0.3);
        let recorder = self.tools.recorder.clone();
        let ask = Ask::Release { value };
        let (session, resource, lock) = (held.session(), held.resource(), held.operation());
        let unsure = held.unsure;
        let guard = held.take();
        let operation = recorder.invoke(&self.plan.name, session, resource, Some(lock), ask);
        if dropped {
            drop(guard);
            return recorder.complete(operation, session, Answer::Unknown);
        }
        let sent = value.filter(|_| self.plan.bug != Some(Bug::ClientForgetsValue));
        let result = match sent {
            Some(value) => guard.release_with_value(block(value)).await,
            None => guard.release().await,
        };
        let answer = match result {
            Ok(()) => Answer::Released,
            Err(ReleaseError::ValueNotWritten { .. } | ReleaseError::Refused(_)) if !unsure => {
                let complaint = format!("{}: #{operation}: {result:?}", self.plan.name);
                self.tools.complaints.lock().push(complaint);
                Answer::Unknown
            }
            Err(ReleaseError::Lost(reason)) => {
                self.lost(reason, operation);
                Answer::Unknown
            }
            Err(_) => Answer::Unknown,
        };
        recorder.complete(operation, session, answer);
    }
}

fn block(value: u64) -> ValueBlock {
    ValueBlock::new(value.to_be_bytes().to_vec()).unwrap_or_default()
}
