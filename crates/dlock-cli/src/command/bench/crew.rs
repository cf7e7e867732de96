//! The threads that make the load, each with a runtime of its own: what runs on one wakes no other.

use crate::exit::Exit;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// The threads. They end when this is dropped.
pub(super) struct Crew(Vec<Member>);

struct Member {
    handle: Handle,
    _stop: oneshot::Sender<()>,
}

impl Crew {
    pub(super) fn start(threads: u32) -> Result<Crew, Exit> {
        let members = (0..threads).map(|_| Member::start()).collect::<Result<_, _>>();
        members.map(Crew).map_err(Exit::system)
    }

    /// The thread for a client, or for a connection, with this number.
    pub(super) fn member(&self, number: u32) -> &Handle {
        &self.0[number as usize % self.0.len()].handle
    }

    /// Their numbers.
    pub(super) fn numbers(&self) -> std::ops::Range<u32> {
        0..self.0.len() as u32
    }
}

impl Member {
    fn start() -> std::io::Result<Member> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        std::thread::Builder::new().name("load".to_owned()).spawn(move || {
            // The sender is never used: its being dropped is the signal.
            let _ = runtime.block_on(stopped);
        })?;
        Ok(Member { handle, _stop: stop })
    }
}

/// How many threads are half of the processors, at least one: the server needs the others.
pub(super) fn threads_default() -> u32 {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(processors / 2).unwrap_or(1).max(1)
}
