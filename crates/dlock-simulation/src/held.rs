//! A lock that a client holds, and for how long it was counted on.

use crate::bug::Bug;
use crate::client::{Plan, Tools};
use crate::history::{Answer, Hold, OperationId};
use crate::world::Time;
use dlock_client::{Guard, Mode, ValueRead};
use std::time::Duration;

/// A guard, and until when it was good as far as was seen.
pub(crate) struct Held {
    guard: Option<Guard>,
    tools: Tools,
    client: String,
    rate: f64,
    bug: Option<Bug>,
    resource: usize,
    operation: OperationId,
    mode: Mode,
    token: u64,
    /// Since when it is counted on, while it is.
    from: Option<Time>,
    /// The last deadline that was seen while it was good, in the world's time.
    good_until: Time,
    /// A conversion has no answer: the mode may be another one by now.
    pub(crate) unsure: bool,
}

impl Held {
    /// A lock that was just granted, and what the grant said.
    pub(crate) fn new(
        plan: &Plan,
        tools: &Tools,
        guard: Guard,
        resource: usize,
        operation: OperationId,
    ) -> (Held, Answer) {
        let mut held = Held {
            guard: Some(guard),
            tools: tools.clone(),
            client: plan.name.clone(),
            rate: plan.rate,
            bug: plan.bug,
            resource,
            operation,
            mode: Mode::Null,
            token: 0,
            from: None,
            good_until: Time::ZERO,
            unsure: false,
        };
        let answer = held.take_in(true);
        if held.bug == Some(Bug::ClientReusesTokens) {
            let earlier = tools.earlier_tokens.lock().insert(resource, held.token);
            held.token = earlier.filter(|_| tools.world.chance(0.2)).unwrap_or(held.token);
            let Answer::Granted { mode, value, .. } = answer else { return (held, answer) };
            let answer = Answer::Granted { mode, token: held.token, value };
            return (held, answer);
        }
        (held, answer)
    }

    fn guard(&self) -> &Guard {
        self.guard.as_ref().expect("the guard is there until it is taken, at the end")
    }

    pub(crate) fn guard_mut(&mut self) -> &mut Guard {
        self.guard.as_mut().expect("the guard is there until it is taken, at the end")
    }

    pub(crate) fn session(&self) -> u128 {
        self.guard().session_id().0
    }

    pub(crate) fn resource(&self) -> usize {
        self.resource
    }

    pub(crate) fn operation(&self) -> OperationId {
        self.operation
    }

    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    pub(crate) fn token(&self) -> u64 {
        self.token
    }

    /// Whether another guard's lock was granted later.
    pub(crate) fn is_older_than(&self, other: &Guard) -> bool {
        other.session_id() != self.guard().session_id() || other.token() > self.guard().token()
    }

    /// Completes when the lock is lost.
    pub(crate) fn lost(&self) -> impl Future<Output = ()> + use<> {
        let careless = self.bug == Some(Bug::ClientIgnoresDeadline);
        let lost = self.guard().lost();
        async move {
            lost.await;
            if careless {
                std::future::pending().await
            }
        }
    }

    /// Looks whether the lock is still held, and until when it is for sure.
    pub(crate) fn still_good(&mut self) -> bool {
        if self.bug == Some(Bug::ClientIgnoresDeadline) {
            self.good_until = Time::MAX;
            return true;
        }
        let good = self.guard().is_valid();
        if good {
            let left = self.guard().deadline().since(self.tools.environment.clock.now());
            // Clocks of other rates are rounded to nanoseconds.
            let left = left.div_f64(self.rate).saturating_sub(Duration::from_micros(1));
            self.good_until = self.tools.world.now() + left;
        }
        good
    }

    /// It is not counted on from now on.
    pub(crate) fn end(&mut self) {
        self.still_good();
        self.write_down();
    }

    fn write_down(&mut self) {
        let Some(from) = self.from.take() else { return };
        let to = self.good_until.min(self.tools.world.now());
        if to > from {
            self.tools.recorder.hold(Hold {
                client: self.client.clone(),
                session: self.guard.as_ref().map_or(0, |guard| guard.session_id().0),
                lock: self.operation,
                resource: self.resource,
                mode: self.mode,
                token: self.token,
                from,
                to,
            });
        }
    }

    /// A conversion got no answer: what the guard says is counted on.
    pub(crate) fn rely_on_guard(&mut self) {
        self.end();
        self.unsure = true;
        (self.mode, self.token) = (self.guard().mode(), self.guard().token().get());
        self.go_on();
    }

    /// It is counted on again, as before.
    pub(crate) fn go_on(&mut self) {
        if self.from.is_none() && self.still_good() {
            self.from = Some(self.tools.world.now());
        }
    }

    /// A conversion was done; what it said. `reads` if it returned the value block.
    pub(crate) fn converted(&mut self, reads: bool) -> Answer {
        self.end();
        self.take_in(reads)
    }

    fn take_in(&mut self, reads: bool) -> Answer {
        let (mode, token) = (self.guard().mode(), self.guard().token().get());
        let confused = self.bug == Some(Bug::ClientConfusesModes);
        self.mode = if confused { Mode::Exclusive } else { mode };
        self.token = token;
        self.go_on();
        let value = self.guard().value().filter(|_| reads && mode.reads_value()).map(number);
        Answer::Granted { mode: self.mode, token, value }
    }

    /// It is let go: the guard.
    pub(crate) fn take(mut self) -> Guard {
        self.end();
        self.guard.take().expect("a guard is taken once")
    }
}

/// Only a process that is killed drops what it holds: it counted on that until then, or until the deadline it had seen.
impl Drop for Held {
    fn drop(&mut self) {
        self.write_down();
    }
}

/// The number that a value block holds; 0 for the empty one.
fn number(read: &ValueRead) -> (u64, bool) {
    let bytes = <[u8; 8]>::try_from(&**read.block.bytes()).unwrap_or_default();
    (u64::from_be_bytes(bytes), read.valid)
}
