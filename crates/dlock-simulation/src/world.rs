//! The world around the simulated processes: its time, its dice, and what is under way between them.

use crate::trace::Trace;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A moment of the simulation's own time, which no process sees: how long after its beginning.
pub type Time = Duration;

type Action = Box<dyn FnOnce() + Send>;

thread_local! {
    /// The clock of the process that runs on this thread at the moment.
    static RUNNING: Cell<Option<Origin>> = const { Cell::new(None) };
}

/// What a process's own tokio clock showed at a moment of the world's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub(crate) instant: Instant,
    pub(crate) time: Time,
}

impl Origin {
    /// Runs `body` as the process with this clock.
    pub(crate) fn running<T>(self, body: impl FnOnce() -> T) -> T {
        RUNNING.set(Some(self));
        let result = body();
        RUNNING.set(None);
        result
    }
}

struct Inner {
    /// Where the world stands while no process runs.
    time: Time,
    dice: StdRng,
    /// What is under way, by when it arrives and in which order it was sent.
    due: BTreeMap<(Time, u64), Action>,
    sent: u64,
}

/// Shared by everything in one simulation, all of it on one thread.
pub(crate) struct World {
    inner: Mutex<Inner>,
    trace: Mutex<Trace>,
}

impl World {
    /// An empty world at time zero.
    pub(crate) fn new(seed: u64, trace: Trace) -> Arc<World> {
        let dice = StdRng::seed_from_u64(seed);
        let inner = Inner { time: Time::ZERO, dice, due: BTreeMap::new(), sent: 0 };
        Arc::new(World { inner: Mutex::new(inner), trace: Mutex::new(trace) })
    }

    /// Now: exact also while a process runs, whose clock is ahead of the others' by up to one slice.
    pub(crate) fn now(&self) -> Time {
        match RUNNING.get() {
            Some(origin) => origin.time + Instant::now().duration_since(origin.instant),
            None => self.inner.lock().time,
        }
    }

    /// Does something after a while, between two slices; never within the running one.
    pub(crate) fn after(&self, delay: Duration, action: impl FnOnce() + Send + 'static) {
        self.at(self.now() + delay, action);
    }

    /// Does something at a moment, or as soon as the running slice is over.
    pub(crate) fn at(&self, time: Time, action: impl FnOnce() + Send + 'static) {
        let mut inner = self.inner.lock();
        inner.sent += 1;
        let key = (time, inner.sent);
        inner.due.insert(key, Box::new(action));
    }

    /// Goes to a moment and does what is due by then.
    pub(crate) fn advance_to(&self, time: Time) {
        self.inner.lock().time = time;
        loop {
            let action = {
                let mut inner = self.inner.lock();
                match inner.due.first_entry() {
                    Some(first) if first.key().0 <= time => first.remove(),
                    _ => return,
                }
            };
            action();
        }
    }

    /// When something is due next.
    pub(crate) fn next_due(&self) -> Option<Time> {
        self.inner.lock().due.keys().next().map(|(time, _)| *time)
    }

    /// Forgets what is under way, which refers to the world in turn.
    pub(crate) fn clear(&self) {
        let due = std::mem::take(&mut self.inner.lock().due);
        drop(due); // without the lock: what is dropped may send something
        self.inner.lock().due.clear();
    }

    /// Throws the dice.
    pub(crate) fn roll<T>(&self, throw: impl FnOnce(&mut StdRng) -> T) -> T {
        throw(&mut self.inner.lock().dice)
    }

    /// True with this probability.
    pub(crate) fn chance(&self, probability: f64) -> bool {
        self.roll(|dice| dice.random_bool(probability.clamp(0.0, 1.0)))
    }

    /// A duration between the two, evenly.
    pub(crate) fn between(&self, from: Duration, to: Duration) -> Duration {
        self.roll(|dice| between(dice, from, to))
    }

    /// Writes a line of the trace.
    pub(crate) fn note(&self, who: &str, what: fmt::Arguments<'_>) {
        let now = self.now();
        self.trace.lock().note(now, who, what);
    }

    /// Takes the trace out, at the end.
    pub(crate) fn take_trace(&self) -> Trace {
        std::mem::take(&mut self.trace.lock())
    }
}

/// A duration between the two, evenly, in whole microseconds.
pub(crate) fn between(dice: &mut StdRng, from: Duration, to: Duration) -> Duration {
    let (from, to) = (from.as_micros() as u64, to.as_micros() as u64);
    Duration::from_micros(dice.random_range(from..=to.max(from)))
}
