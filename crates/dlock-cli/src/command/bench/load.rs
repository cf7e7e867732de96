//! The locks that are under way.

use super::counts::{Counts, Window};
use super::crew::Crew;
use super::locker::Locker;
use super::names::{Draw, Names};
use super::pace::Pace;
use super::usage::{Busy, Servers};
use super::workload::{Work, Worker, obstruct};
use crate::arguments::{Bench, Workload};
use crate::exit::{self, Exit};
use dlock_core::Mode;
use dlock_runtime::{BootClock, Clock};
use futures::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::task::{JoinHandle, JoinSet};

/// The resource that all workers want, where they want the same.
const ONE: &str = "bench/one";
/// How many locks to be held each client asks for at a time.
const HOLDS_AT_A_TIME: usize = 256;

/// Clients, each driven on its thread of the crew, and what they do.
pub(super) struct Load<'a, L: Locker> {
    crew: &'a Crew,
    arguments: &'a Bench,
    lockers: Vec<L>,
    names: Arc<Names>,
    /// When the resource of `hot` was last let go.
    released: Arc<AtomicU64>,
    /// Locks that are held all the while.
    held: Vec<L::Held>,
}

/// A measured stretch.
pub(super) struct Slice {
    pub(super) counts: Counts,
    pub(super) seconds: f64,
    pub(super) busy: Busy,
}

impl<'a, L: Locker> Load<'a, L> {
    pub(super) fn new(crew: &'a Crew, arguments: &'a Bench, lockers: Vec<L>) -> Load<'a, L> {
        let names = if arguments.workload == Workload::Mixed { arguments.names } else { 1 };
        let (names, released) = (Arc::new(Names::new(names)), Arc::default());
        Load { crew, arguments, lockers, names, released, held: Vec::new() }
    }

    /// Takes the locks that are to be held all the while.
    pub(super) async fn hold(&mut self) -> Result<(), Exit> {
        let (locks, clients) = (self.arguments.held, self.lockers.len());
        let shared = self.arguments.workload == Workload::ReadShared;
        let mut holding = JoinSet::new();
        for (number, locker) in self.lockers.iter().enumerate() {
            let locker = locker.clone();
            let share = (number as u32..locks).step_by(clients);
            let task = async move {
                let locks = stream::iter(share).map(|lock| {
                    let locker = locker.clone();
                    async move {
                        if shared {
                            locker.acquire(ONE, Mode::ProtectedRead, false).await
                        } else {
                            locker.acquire(&format!("bench/held/{lock}"), Mode::Exclusive, false).await
                        }
                    }
                });
                locks.buffer_unordered(HOLDS_AT_A_TIME).try_collect::<Vec<_>>().await
            };
            holding.spawn_on(task, self.crew.member(number as u32));
        }
        while let Some(held) = holding.join_next().await {
            self.held.extend(held.map_err(failed)?.map_err(failed)?.into_iter().flatten());
        }
        Ok(())
    }

    /// Runs the load for the warm-up and then for `duration`.
    pub(super) async fn slice(
        &self,
        servers: &Servers,
        warm_up: Duration,
        duration: Duration,
    ) -> Result<Slice, Exit> {
        let begin = BootClock.now() + warm_up;
        let window = Window { begin, end: begin + duration };
        let (mut workers, mut counts) = (JoinSet::new(), Vec::new());
        let mut pacing: Vec<JoinHandle<Result<(), Exit>>> = Vec::new();
        for thread in self.crew.numbers() {
            let shared = Arc::new(Mutex::new(Counts::new()?));
            counts.push(shared.clone());
            let mine: Vec<u32> =
                (0..self.arguments.in_flight).filter(|number| self.thread_of(*number) == thread).collect();
            let pace = self.pace(window, mine.len()).map(Arc::new);
            if let Some(pace) = pace.clone() {
                let count = mine.len();
                pacing.push(self.crew.member(thread).spawn(async move { pace.run(count).await }));
            }
            for number in mine {
                let worker = Worker {
                    locker: self.locker_of(number).clone(),
                    work: self.work(number),
                    window,
                    pace: pace.clone(),
                    counts: shared.clone(),
                };
                workers.spawn_on(worker.run(), self.crew.member(thread));
            }
        }
        if self.arguments.workload == Workload::Try {
            let (locker, counts) = (self.lockers[0].clone(), counts[0].clone());
            let obstructing = async move {
                if let Err(error) = obstruct(locker, ONE.to_owned(), window).await {
                    counts.lock().error(&error);
                }
            };
            workers.spawn_on(obstructing, self.crew.member(0));
        }
        BootClock.sleep_until(window.begin).await;
        let before = servers.used().await?;
        BootClock.sleep_until(window.end).await;
        let busy = before.busy_until(&servers.used().await?);
        while let Some(done) = workers.join_next().await {
            done.map_err(failed)?;
        }
        for paced in pacing {
            paced.await.map_err(failed)??;
        }
        let mut all = Counts::new()?;
        counts.iter().for_each(|shared| all.add(&shared.lock()));
        Ok(Slice { counts: all, seconds: window.seconds(), busy })
    }

    /// Ends the sessions, and with them what is still held.
    pub(super) async fn close(self) -> Result<(), Exit> {
        for locker in self.lockers {
            locker.close().await.map_err(failed)?;
        }
        Ok(())
    }

    fn client_of(&self, worker: u32) -> u32 {
        worker % self.lockers.len() as u32
    }

    fn locker_of(&self, worker: u32) -> &L {
        &self.lockers[self.client_of(worker) as usize]
    }

    fn thread_of(&self, worker: u32) -> u32 {
        self.client_of(worker) % self.crew.numbers().end
    }

    /// A thread's part of the rate, by its part of the workers.
    fn pace(&self, window: Window, workers: usize) -> Option<Pace> {
        let rate = f64::from(self.arguments.rate?) * workers as f64 / f64::from(self.arguments.in_flight);
        (rate > 0.0).then(|| Pace::new(BootClock.now(), window, rate))
    }

    fn work(&self, number: u32) -> Work<L> {
        let (one, own) = (ONE.to_owned(), format!("bench/{number}"));
        match self.arguments.workload {
            Workload::Uncontended | Workload::Sessions | Workload::IdleSessions => {
                Work::Pair { name: own, mode: Mode::Exclusive }
            }
            Workload::Hot => Work::Hot { name: one, released: self.released.clone() },
            Workload::Mixed => {
                Work::Mixed(Box::new(Draw::new(self.names.clone(), self.arguments.seed, number)))
            }
            Workload::ReadShared => Work::Pair { name: one, mode: Mode::ProtectedRead },
            Workload::Convert => Work::Convert { name: own, held: None },
            Workload::Try => Work::Try { name: one },
        }
    }
}

fn failed(error: impl std::fmt::Display) -> Exit {
    Exit::new(exit::FAILURE, error)
}
