//! What the locks protect: registers on a machine of their own, read and written by those who hold a lock. One that is
//! fenced refuses tokens smaller than the greatest it has seen; one that isn't takes what comes, and loses updates when
//! two believe to hold the lock.

use crate::world::World;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// How long a message takes to a register or back.
const WAY: (Duration, Duration) = (Duration::from_micros(300), Duration::from_millis(20));

#[derive(Clone, Copy, Debug, Default)]
struct Register {
    value: u64,
    greatest_token: u64,
}

/// What came of the writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Writes {
    /// Taken.
    pub accepted: u64,
    /// Refused because of their token, which was too small: what fencing is for.
    pub fenced: u64,
    /// Taken, though they replaced another value than the one that had been read: a lost update.
    pub lost_updates: u64,
}

#[derive(Default)]
struct Inner {
    registers: Vec<Register>,
    writes: Writes,
}

/// All registers of a simulation. Clones are the same.
#[derive(Clone)]
pub(crate) struct Registers {
    world: Arc<World>,
    fenced: bool,
    inner: Arc<Mutex<Inner>>,
}

impl Registers {
    pub(crate) fn new(world: &Arc<World>, count: usize, fenced: bool) -> Registers {
        let inner = Inner { registers: vec![Register::default(); count], writes: Writes::default() };
        Registers { world: world.clone(), fenced, inner: Arc::new(Mutex::new(inner)) }
    }

    /// The register's value; `None` if the token is too small.
    pub(crate) async fn read(&self, register: usize, token: u64) -> Option<u64> {
        self.call(move |registers| {
            let mut inner = registers.inner.lock();
            registers.admits(&mut inner, register, token).then(|| inner.registers[register].value)
        })
        .await
    }

    /// Replaces the value `base` by the next one, as far as the register can tell.
    pub(crate) async fn write(&self, register: usize, token: u64, base: u64) {
        self.call(move |registers| {
            let inner = &mut *registers.inner.lock();
            if !registers.admits(inner, register, token) {
                inner.writes.fenced += 1;
                return;
            }
            inner.writes.accepted += 1;
            let value = &mut inner.registers[register].value;
            inner.writes.lost_updates += u64::from(*value != base);
            *value = base + 1;
        })
        .await;
    }

    pub(crate) fn writes(&self) -> Writes {
        self.inner.lock().writes
    }

    fn admits(&self, inner: &mut Inner, register: usize, token: u64) -> bool {
        let greatest = &mut inner.registers[register].greatest_token;
        if self.fenced && token < *greatest {
            return false;
        }
        *greatest = token.max(*greatest);
        true
    }

    async fn call<T: Send + 'static>(&self, call: impl FnOnce(&Registers) -> T + Send + 'static) -> T {
        let (reply, answer) = oneshot::channel();
        let registers = self.clone();
        self.world.after(self.world.between(WAY.0, WAY.1), move || {
            let result = call(&registers);
            let back = registers.world.between(WAY.0, WAY.1);
            registers.world.after(back, move || drop(reply.send(result)));
        });
        match answer.await {
            Ok(result) => result,
            Err(_) => std::future::pending().await, // the world has ended
        }
    }
}
