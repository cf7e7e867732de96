//! What the clients did and saw, with the moments: all that the checker knows.

use crate::world::{Time, World};
use dlock_core::Mode;
use parking_lot::Mutex;
use std::sync::Arc;

/// An operation's number in its history.
pub type OperationId = usize;

/// What a client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// A new lock in this mode.
    Acquire {
        /// The mode.
        mode: Mode,
        /// It was a *try*.
        try_only: bool,
        /// It may return a lock that the session holds.
        reentrant: bool,
    },
    /// Another mode for the lock of an earlier operation.
    Convert {
        /// The mode.
        mode: Mode,
        /// It was a *try*.
        try_only: bool,
        /// The value block written with it; each is written once in a history.
        value: Option<u64>,
    },
    /// To let the lock of an earlier operation go.
    Release {
        /// The value block written with it.
        value: Option<u64>,
    },
}

/// What a client was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It has the lock.
    Granted {
        /// In this mode.
        mode: Mode,
        /// With this fencing token.
        token: u64,
        /// The value block and whether it is valid, where the grant told it; 0 is the empty one.
        value: Option<(u64, bool)>,
    },
    /// The lock is released.
    Released,
    /// A *try* was refused.
    WouldBlock,
    /// A conversion was refused as a deadlock.
    Deadlock,
    /// Refused for another reason that leaves everything as it was.
    Refused,
    /// Nobody knows: it may have had its effect, or may yet have it.
    Unknown,
}

/// One operation.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Which client's, counting each start of its process.
    pub client: String,
    /// The session, where it is known.
    pub session: u128,
    /// The resource's number.
    pub resource: usize,
    /// The acquire whose lock this is about; an acquire's is its own.
    pub lock: OperationId,
    /// What was asked.
    pub ask: Ask,
    /// When.
    pub invoked: Time,
    /// When the answer came; none for one that never did.
    pub completed: Option<Time>,
    /// The answer.
    pub answer: Answer,
}

/// A time during which a client counted on a lock.
#[derive(Clone, Debug)]
pub struct Hold {
    /// Which client's.
    pub client: String,
    /// Its session.
    pub session: u128,
    /// The acquire whose lock it is.
    pub lock: OperationId,
    /// The resource's number.
    pub resource: usize,
    /// In this mode.
    pub mode: Mode,
    /// With this token.
    pub token: u64,
    /// From the moment when the grant was seen,
    pub from: Time,
    /// to the moment of the lease's deadline, of a loss that was told, or of the invocation of a release or downgrade.
    pub to: Time,
}

/// A run's history.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// In the order of their invocations.
    pub operations: Vec<Operation>,
    /// In the order of their ends.
    pub holds: Vec<Hold>,
    /// The ends of clients' processes that were killed or sessions that were lost: locks may be gone from then on.
    pub unfinished: usize,
}

/// A history that is being written. Clones are the same.
#[derive(Clone)]
pub(crate) struct Recorder {
    world: Arc<World>,
    history: Arc<Mutex<History>>,
}

impl Recorder {
    pub(crate) fn new(world: &Arc<World>) -> Recorder {
        Recorder { world: world.clone(), history: Arc::default() }
    }

    /// An operation begins. `lock` is the acquire's; none for an acquire.
    pub(crate) fn invoke(
        &self,
        client: &str,
        session: u128,
        resource: usize,
        lock: Option<OperationId>,
        ask: Ask,
    ) -> OperationId {
        let invoked = self.world.now();
        let mut history = self.history.lock();
        let id = history.operations.len();
        self.world.note(client, format_args!("#{id} r{resource} {ask:?} of {lock:?}"));
        history.operations.push(Operation {
            client: client.to_owned(),
            session,
            resource,
            lock: lock.unwrap_or(id),
            ask,
            invoked,
            completed: None,
            answer: Answer::Unknown,
        });
        history.unfinished += 1;
        id
    }

    /// It has an answer.
    pub(crate) fn complete(&self, id: OperationId, session: u128, answer: Answer) {
        let mut history = self.history.lock();
        let now = self.world.now();
        let operation = &mut history.operations[id];
        operation.completed = Some(now);
        operation.answer = answer;
        operation.session = session;
        self.world.note(&operation.client, format_args!("#{id} {answer:?}"));
        history.unfinished -= 1;
    }

    /// A client's process was killed: what it had under way never ends.
    pub(crate) fn killed(&self, client: &str) {
        let mut history = self.history.lock();
        let open = history.operations.iter_mut().filter(|o| o.client == client && o.completed.is_none());
        let count = open.count();
        history.unfinished -= count;
    }

    pub(crate) fn hold(&self, hold: Hold) {
        self.world.note(
            &hold.client,
            format_args!(
                "held r{} {} token {} of #{} from {:.6} to {:.6}",
                hold.resource,
                hold.mode,
                hold.token,
                hold.lock,
                hold.from.as_secs_f64(),
                hold.to.as_secs_f64()
            ),
        );
        self.history.lock().holds.push(hold);
    }

    /// How many operations of living clients have no answer.
    pub(crate) fn unfinished(&self) -> usize {
        self.history.lock().unfinished
    }

    /// The operations of living clients that have no answer, for people. Those of killed ones are among them.
    pub(crate) fn waiting(&self) -> String {
        let history = self.history.lock();
        let open = history.operations.iter().filter(|operation| operation.completed.is_none());
        open.map(|operation| format!("\n  {operation}")).collect()
    }

    pub(crate) fn take(&self) -> History {
        std::mem::take(&mut self.history.lock())
    }
}
