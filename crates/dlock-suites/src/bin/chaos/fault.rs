//! The faults, and which comes next.

use dlock_suites::Backend;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use std::fmt;
use std::time::Duration;

/// Which way nothing passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    Both,
    Requests,
    Answers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// SIGKILL, and a new start.
    ServerKilled,
    /// SIGSTOP, for longer than its own lease and its sessions', and SIGCONT.
    ServerPaused,
    /// SIGTERM, and a new start, of one after the other.
    RollingRestart,
    /// SIGKILL to the store, or its leader, and a new start.
    StoreKilled,
    /// SIGSTOP to the store, or its leader, for longer than the leases.
    StorePaused,
    /// A server and the store don't hear each other; connections stay open.
    StoreCut(Way),
    /// All that goes between the servers and the store is late.
    StoreSlow,
    /// All connections to the store break, again and again.
    StoreBroken,
    /// A server and its clients don't hear each other; connections stay open.
    ClientsCut(Way),
    /// All that goes between clients and servers is late.
    ClientsSlow,
    /// SIGKILL to `dlockctl` while it holds a lock.
    CommandKilled,
    /// A server's wall clock jumps by hours.
    ClockJump,
    /// The file system of the store is full.
    DiskFull,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = |way: &Way| match way {
            Way::Both => "cut off",
            Way::Requests => "not heard",
            Way::Answers => "deaf",
        };
        match self {
            Fault::ServerKilled => f.write_str("a server killed"),
            Fault::ServerPaused => f.write_str("a server paused"),
            Fault::RollingRestart => f.write_str("all servers restarted in turn"),
            Fault::StoreKilled => f.write_str("the store's leader killed"),
            Fault::StorePaused => f.write_str("the store's leader paused"),
            Fault::StoreCut(cut) => write!(f, "a server {} at the store", way(cut)),
            Fault::StoreSlow => f.write_str("the store slow"),
            Fault::StoreBroken => f.write_str("connections to the store broken"),
            Fault::ClientsCut(cut) => write!(f, "clients {} at a server", way(cut)),
            Fault::ClientsSlow => f.write_str("clients' connections slow"),
            Fault::CommandKilled => f.write_str("a holder killed"),
            Fault::ClockJump => f.write_str("a server's wall clock jumps"),
            Fault::DiskFull => f.write_str("the disk full"),
        }
    }
}

impl Fault {
    /// Those that this deployment can have.
    pub(crate) fn possible(backend: Backend, clock: bool, disk: bool) -> Vec<Fault> {
        let mut possible = vec![
            Fault::ServerKilled,
            Fault::ServerPaused,
            Fault::RollingRestart,
            Fault::ClientsCut(Way::Both),
            Fault::ClientsCut(Way::Requests),
            Fault::ClientsCut(Way::Answers),
            Fault::ClientsSlow,
            Fault::CommandKilled,
        ];
        if backend != Backend::Embedded {
            possible.extend([Fault::StoreKilled, Fault::StorePaused]);
        }
        if backend.can_be_proxied() {
            possible.extend([
                Fault::StoreCut(Way::Both),
                Fault::StoreCut(Way::Requests),
                Fault::StoreCut(Way::Answers),
                Fault::StoreSlow,
                Fault::StoreBroken,
            ]);
        }
        if clock {
            possible.push(Fault::ClockJump);
        }
        if disk {
            possible.push(Fault::DiskFull);
        }
        possible
    }

    /// How long it lasts.
    pub(crate) fn duration(self, random: &mut StdRng) -> Duration {
        let seconds = match self {
            Fault::ServerPaused | Fault::StorePaused => 8.0..15.0,
            Fault::StoreCut(_) | Fault::ClientsCut(_) | Fault::DiskFull => 3.0..15.0,
            Fault::RollingRestart | Fault::CommandKilled | Fault::ClockJump => 0.0..1.0,
            _ => 0.5..5.0,
        };
        Duration::from_secs_f64(random.random_range(seconds))
    }

    /// One, or two different ones that come at the same time.
    pub(crate) fn next(possible: &[Fault], random: &mut StdRng) -> Vec<Fault> {
        let count = if random.random_bool(0.3) { 2 } else { 1 };
        let mut faults: Vec<Fault> = possible.sample(random, count).copied().collect();
        if let [one, other] = faults[..]
            && (one.subject() == other.subject() && one.subject() != Subject::Links
                || one.needs_the_store() && other.is_of_the_store()
                || other.needs_the_store() && one.is_of_the_store())
        {
            faults.truncate(1);
        }
        faults
    }

    fn subject(self) -> Subject {
        match self {
            Fault::ServerKilled | Fault::ServerPaused | Fault::RollingRestart => Subject::Servers,
            Fault::StoreKilled | Fault::StorePaused | Fault::DiskFull => Subject::Store,
            _ => Subject::Links,
        }
    }

    /// A server that is started ends if it finds no store.
    fn needs_the_store(self) -> bool {
        matches!(self, Fault::ServerKilled | Fault::RollingRestart)
    }

    fn is_of_the_store(self) -> bool {
        self.subject() == Subject::Store || matches!(self, Fault::StoreCut(_))
    }
}

/// What a fault is about: of the same process there are no two at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Servers,
    Store,
    Links,
}
