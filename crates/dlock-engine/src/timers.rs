//! Deadlines of waits and of sessions, and the tick by which resources age.

use crate::home::Home;
use crate::request::RequestId;
use crate::shard::Input;
use crate::shared::Shared;
use crate::ticket::Ticket;
use dlock_core::lease::PauseDetector;
use dlock_core::resource::Command;
use dlock_core::{LockId, ResourceId, SessionId, Timestamp};
use parking_lot::Mutex;
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::Notify;

/// After a failure of the store, an engine's own command is tried again after this time.
pub(crate) const RETRY: Duration = Duration::from_millis(500);
/// The timers' task wakes at least this often, or a pause of the process would not be noticed.
const TICK: Duration = Duration::from_millis(500);

/// What is due.
enum Due {
    Wait { home: Weak<Home>, request: RequestId, lock: LockId, resource: ResourceId },
    Session(SessionId),
}

struct Timer {
    at: Timestamp,
    due: Due,
}

impl PartialEq for Timer {
    fn eq(&self, other: &Timer) -> bool {
        self.at == other.at
    }
}
impl Eq for Timer {}
impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Timer) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Timer {
    /// The earliest is the greatest, as a [`BinaryHeap`] has the greatest on top.
    fn cmp(&self, other: &Timer) -> Ordering {
        other.at.cmp(&self.at)
    }
}

/// Timers are never taken back: what is due is looked at again, and may be gone or later by then.
#[derive(Default)]
pub(crate) struct Timers {
    heap: Mutex<BinaryHeap<Timer>>,
    earlier: Notify,
    tick: AtomicU64,
}

impl Timers {
    /// How often the collector has gone round: the age of a resource is counted in these.
    pub(crate) fn tick(&self) -> u64 {
        self.tick.load(Relaxed)
    }

    pub(crate) fn next_tick(&self) -> u64 {
        self.tick.fetch_add(1, Relaxed) + 1
    }

    pub(crate) fn wait_until(
        &self,
        at: Timestamp,
        home: &Arc<Home>,
        request: RequestId,
        lock: LockId,
        resource: &ResourceId,
    ) {
        let due = Due::Wait { home: Arc::downgrade(home), request, lock, resource: resource.clone() };
        self.push(Timer { at, due });
    }

    /// Due just after the session's last moment: at that very moment it still lives, and looking at it again and again
    /// would not let the moment pass.
    pub(crate) fn watch_session(&self, home: &Home) {
        self.push(Timer { at: home.expires_at() + Duration::from_millis(1), due: Due::Session(home.id) });
    }

    fn push(&self, timer: Timer) {
        let mut heap = self.heap.lock();
        let earliest = heap.peek().is_none_or(|first| timer.at < first.at);
        heap.push(timer);
        drop(heap);
        if earliest {
            self.earlier.notify_one();
        }
    }

    fn next_at(&self) -> Option<Timestamp> {
        self.heap.lock().peek().map(|timer| timer.at)
    }

    fn take_due(&self, now: Timestamp) -> Vec<Due> {
        let mut heap = self.heap.lock();
        let mut due = Vec::new();
        while heap.peek().is_some_and(|timer| timer.at <= now) {
            due.extend(heap.pop().map(|timer| timer.due));
        }
        due
    }
}

/// Ends waits and sessions when their time is up, until the engine stops.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut pauses = PauseDetector::new();
    loop {
        let now = shared.now();
        let left = shared.timers.next_at().map_or(TICK, |at| at.since(now)).min(TICK);
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = shared.environment.clock.sleep(left) => {}
            () = shared.timers.earlier.notified() => {}
        }
        let now = shared.now();
        if pauses.tick(now, left) {
            shared.restart_after_pause(now);
        }
        let due = shared.timers.take_due(now);
        shared.handle_due(due, now);
    }
}

impl Shared {
    /// This process was stopped for a while: what clients and peers sent meanwhile has yet to be read, so nobody is
    /// judged by the time that passed.
    fn restart_after_pause(&self, now: Timestamp) {
        tracing::warn!("this process was paused: the leases that it judges start anew");
        for home in self.all_homes() {
            home.restart_lease(now);
        }
        self.observer.lock().restart(now);
        self.directory.lock().restart(now);
    }

    fn handle_due(self: &Arc<Self>, due: Vec<Due>, now: Timestamp) {
        let (mut inputs, mut expiring) = (Vec::new(), Vec::new());
        for due in due {
            match due {
                Due::Wait { home, request, lock, resource } => {
                    let Some(home) = home.upgrade().filter(|home| home.is_waiting(request, lock)) else {
                        continue;
                    };
                    let (command, guard) = (Command::Cancel { key: home.key(lock) }, Some(home.guard()));
                    let ticket = Ticket::Timeout { home, request, lock };
                    inputs.push((resource, Input::Submit { ticket, command, guard }));
                }
                Due::Session(session) => {
                    let Some(home) = self.home(session) else { continue };
                    if home.begin_expiry(now) {
                        expiring.push(home);
                    } else if home.check_live().is_ok() {
                        self.timers.watch_session(&home);
                    } // else its end is on the way: to look again and again would not bring that about
                }
            }
        }
        self.feed(inputs);
        if !expiring.is_empty() {
            self.expire(expiring);
        }
    }
}
