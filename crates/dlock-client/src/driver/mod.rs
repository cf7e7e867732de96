//! The I/O around a session's state machine: one task that owns its links, its timer and those who wait for it.
//!
//! ```text
//!  guards ── commands ──▶ ┌────────┐ ── frames ──▶ link ─▶ server
//!                         │ Driver │
//!  callers ◀── answers ── └────────┘ ◀─ frames ─── link ◀─ server
//!                             │ inputs ▲ effects
//!                             ▼        │
//!                        session::Machine
//! ```
//!
//! Each turn takes in everything that is there, and only then sends: one frame takes up what gathered meanwhile.

pub(crate) mod cell;
pub(crate) mod command;
#[cfg(test)]
mod fake;
pub(crate) mod link;
#[cfg(test)]
mod tests;
pub(crate) mod thread;
mod tracked;
pub(crate) mod transport;
mod waiters;

use crate::driver::cell::SessionCell;
use crate::driver::command::{Command, SessionHandle};
#[cfg(not(test))]
use crate::driver::link::Link;
use crate::driver::link::LinkEvent;
use crate::driver::transport::Transport;
use crate::driver::waiters::Waiters;
#[cfg(test)]
use crate::interleaving::link::Link;
use crate::session::machine::{Effect, End, LinkId, Machine, Settings};
use crate::sync::{self, mpsc, oneshot};
use crate::wire::ClientIdentity;
use crate::{Error, SessionEvent};
use dlock_core::Timestamp;
use dlock_runtime::Environment;
use futures::future::BoxFuture;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::broadcast;

/// How many commands one turn takes in.
const COMMANDS_PER_TURN: usize = 1024;
/// How many frames of one link one turn takes in.
const FRAMES_PER_TURN: usize = 32;

/// Starts a session's driver: the session is opened at once.
pub(crate) fn start(
    settings: Settings,
    environment: &Environment,
    transport: Arc<Transport>,
    identity: ClientIdentity,
    events: broadcast::Sender<SessionEvent>,
) -> SessionHandle {
    let cell = Arc::new(SessionCell::new(environment.clock.clone()));
    let (sender, commands) = mpsc::unbounded_channel();
    let driver = Driver {
        machine: Machine::new(settings, environment.entropy.clone()),
        transport: transport.clone(),
        identity,
        cell: cell.clone(),
        commands,
        orphaned: false,
        links: Vec::new(),
        waiters: Waiters::default(),
        events,
        closers: Vec::new(),
        timer: None,
    };
    sync::spawn(&transport.executor, driver.run());
    SessionHandle { commands: sender, cell }
}

struct Driver {
    machine: Machine,
    transport: Arc<Transport>,
    identity: ClientIdentity,
    cell: Arc<SessionCell>,
    commands: mpsc::UnboundedReceiver<Command>,
    /// Nobody is left who could command anything.
    orphaned: bool,
    /// The current one and the attempt.
    links: Vec<Link>,
    waiters: Waiters,
    events: broadcast::Sender<SessionEvent>,
    closers: Vec<oneshot::Sender<Result<(), Error>>>,
    timer: Option<(Timestamp, BoxFuture<'static, ()>)>,
}

/// What a turn takes in.
#[derive(Default)]
struct Inputs {
    commands: Vec<Command>,
    events: Vec<(LinkId, LinkEvent)>,
}

impl Driver {
    async fn run(mut self) {
        let mut inputs = Inputs::default();
        let end = loop {
            let now = self.cell.clock().now();
            self.take_events(&mut inputs, now);
            self.machine.handle_timeout(now);
            self.waiters.handle_timeout(now, self.transport.request_timeout);
            // Before the commands: an answer among them is for who waits now, not for who is about to.
            if let Some(end) = self.apply_effects() {
                break end;
            }
            self.take_commands(&mut inputs, now);
            poll_fn(|cx| {
                self.transmit(now, cx);
                Poll::Ready(())
            })
            .await;
            self.arm_timer(now);
            poll_fn(|cx| self.poll_inputs(&mut inputs, cx)).await;
        };
        self.finish(end, inputs);
    }

    /// Ready when there is something to take in, to send, or to do at this time.
    fn poll_inputs(&mut self, inputs: &mut Inputs, cx: &mut Context<'_>) -> Poll<()> {
        let mut ready = false;
        for link in &mut self.links {
            for _ in 0..FRAMES_PER_TURN {
                let Poll::Ready(event) = link.poll_event(cx) else { break };
                inputs.events.push((link.id, event));
                ready = true;
            }
            ready |= link.is_blocked() && link.poll_room(cx).is_ready();
        }
        if !self.orphaned
            && let Poll::Ready(count) =
                self.commands.poll_recv_many(cx, &mut inputs.commands, COMMANDS_PER_TURN)
        {
            self.orphaned = count == 0;
            ready = true;
        }
        if let Some((_, timer)) = &mut self.timer
            && timer.as_mut().poll(cx).is_ready()
        {
            self.timer = None;
            ready = true;
        }
        if ready { Poll::Ready(()) } else { Poll::Pending }
    }

    fn take_events(&mut self, inputs: &mut Inputs, now: Timestamp) {
        for (link, event) in inputs.events.drain(..) {
            match event {
                LinkEvent::Connected => self.machine.handle_connected(link),
                LinkEvent::Frame(messages) => self.machine.handle_frame(link, messages, now),
                LinkEvent::Gone(error) => self.machine.handle_disconnected(link, error, now),
            }
        }
    }

    fn take_commands(&mut self, inputs: &mut Inputs, now: Timestamp) {
        for command in inputs.commands.drain(..) {
            match command {
                // Dropped unanswered, as if it had never arrived.
                Command::Acquire { .. } if self.machine.is_closing() => {}
                Command::Acquire { lock, ask, place, reply } => {
                    self.waiters.acquire(lock, ask.resource.clone(), place, reply);
                    self.machine.acquire(lock, ask);
                }
                Command::Withdraw { lock } => {
                    self.waiters.forget(lock);
                    self.machine.withdraw(lock);
                }
                // A lock that is gone tells its guard so; who gets no answer looks there.
                Command::Convert { lock, ask, reply } => {
                    if self.machine.convert(lock, ask) {
                        self.waiters.convert(lock, reply);
                    }
                }
                Command::CancelConversion { lock } => {
                    let under_way = self.machine.cancel_conversion(lock);
                    self.waiters.give_up_conversion(lock, !under_way);
                }
                Command::Release { lock, value, reply } => {
                    if self.machine.release(lock, value) {
                        self.waiters.release(lock, reply, now + self.transport.request_timeout);
                    }
                }
                Command::Close { reply } => {
                    self.closers.push(reply);
                    self.waiters.close();
                    self.machine.close(now);
                }
            }
        }
        if self.orphaned {
            self.machine.close(now);
        }
    }

    /// Does what the machine wants done; the end of the session, if this is it.
    fn apply_effects(&mut self) -> Option<End> {
        while let Some(effect) = self.machine.poll_effect() {
            match effect {
                Effect::Connect { link, endpoint } => {
                    // The first link shares the connection of calls. Later ones come of trouble with one.
                    let fresh = self.cell.session().is_some();
                    let (transport, identity) = (self.transport.clone(), self.identity.clone());
                    self.links.push(Link::connect(link, endpoint, fresh, transport, identity));
                }
                Effect::Disconnect { link } => self.links.retain(|other| other.id != link),
                Effect::Outcome { lock, outcome } => self.waiters.outcome(lock, outcome),
                Effect::Blocking { lock, wanted } => self.waiters.blocking(lock, wanted),
                Effect::Lost { lock, reason } => self.waiters.lost(lock, reason),
                Effect::Deadline(deadline) => self.cell.set_deadline(deadline),
                Effect::Jeopardy => self.waiters.jeopardy(),
                Effect::Event(event) => {
                    if let SessionEvent::Connected { session, .. } = &event {
                        self.cell.set_session(*session);
                    }
                    // Without anybody who listens there is nobody to be told.
                    let _ = self.events.send(event);
                }
                Effect::Finished(end) => return Some(end),
            }
        }
        None
    }

    /// Sends what the machine wants to send, as far as there is room for it.
    fn transmit(&mut self, now: Timestamp, cx: &mut Context<'_>) {
        for link in &mut self.links {
            while link.poll_room(cx).is_ready()
                && let Some(frame) = self.machine.poll_frame(link.id, now)
            {
                link.send(frame);
            }
        }
    }

    fn arm_timer(&mut self, now: Timestamp) {
        let next = [self.machine.poll_timeout(now), self.waiters.next_timeout()];
        let Some(at) = next.into_iter().flatten().min() else { return };
        // A timer that goes off too early does no harm, and most are moved on before they go off.
        if self.timer.as_ref().is_none_or(|(armed, _)| *armed > at) {
            self.timer = Some((at, self.cell.clock().sleep_until(at)));
        }
    }

    fn finish(mut self, end: End, mut inputs: Inputs) {
        self.links.clear();
        self.waiters.finish(&end);
        self.commands.close();
        while let Ok(command) = self.commands.try_recv() {
            inputs.commands.push(command);
        }
        for command in inputs.commands {
            match (command, &end) {
                (Command::Acquire { reply, .. }, End::OpenFailed(error)) => {
                    drop(reply.send(Err(error.clone())))
                }
                (Command::Close { reply }, _) => self.closers.push(reply),
                // Dropped unanswered: it was never taken. Acquires go to a new session.
                _ => {}
            }
        }
        for closer in self.closers {
            let result = match end {
                End::Closed { confirmed: false } => {
                    Err(Error::Timeout { timeout: self.transport.request_timeout })
                }
                End::Closed { confirmed: true } | End::Lost(_) | End::OpenFailed(_) => Ok(()),
            };
            drop(closer.send(result));
        }
    }
}
