//! The pure heart of dlock, a distributed lock manager (DLM): no I/O, no async, no clock, no randomness.
//!
//! # What a distributed lock manager does
//!
//! Processes on many machines share *resources*: a file, a row, a job. Each [`ResourceId`] is just a name that they
//! agree on. Whoever wants to use a resource asks for a *lock* on it in a [`Mode`] that says how it means to share:
//!
//! ```
//! use dlock_core::Mode;
//! // Readers share with readers; a writer is alone.
//! assert!(Mode::ProtectedRead.compatible(Mode::ProtectedRead));
//! assert!(!Mode::ProtectedRead.compatible(Mode::Exclusive));
//! ```
//!
//! Who can't have the lock yet waits in a queue that nobody overtakes. Who holds one may *convert* it to another mode
//! without letting go, and leaves a *value block* for those who come next:
//!
//! ```
//! use dlock_core::resource::*;
//! use dlock_core::{LockId, LockKey, Mode, SessionId, Token, ValueBlock};
//!
//! let key = |session, lock| LockKey { session: SessionId(session), lock: LockId(lock) };
//! let ask = |key, mode| {
//!     let (patience, reentrant, since_unix_ms, waiters_max) = (Patience::Wait, false, 0, 1000);
//!     Command::Acquire(Acquire { key, mode, patience, reentrant, since_unix_ms, waiters_max })
//! };
//! let mut resource = Resource::new(Token::ZERO);
//!
//! // Alice writes; Bob wants to read, and waits. Alice's lock now blocks him, and she can be told.
//! resource.apply(&ask(key(1, 1), Mode::Exclusive), 0);
//! let bob = resource.apply(&ask(key(2, 1), Mode::ProtectedRead), 0);
//! assert!(matches!(bob.outcome, Outcome::Queued(place) if place.ahead == 0));
//! assert_eq!(resource.blocks(key(1, 1)), Some(Mode::ProtectedRead));
//!
//! // She goes down to reading, too, leaving a value: Bob's lock is granted in the same step, and he gets it.
//! let value = ValueUpdate::Write(ValueBlock::new("version 7").unwrap());
//! let (mode, patience) = (Mode::ProtectedRead, Patience::Wait);
//! let down = resource.apply(&Command::Convert(Convert { key: key(1, 1), mode, patience, value }), 0);
//! let grant = &down.promoted[0];
//! assert_eq!(grant.key, key(2, 1));
//! assert_eq!(grant.value.as_ref().unwrap().block.bytes().as_ref(), b"version 7");
//! ```
//!
//! # When a holder dies
//!
//! Locks belong to *sessions*, and a session lives as long as its client is heard of ([`lease`]). A client that was
//! paused may not know that its session has ended; so every grant carries a fencing [`Token`], greater than that of
//! every earlier conflicting grant, and the protected resource itself refuses what comes with an older one.
//!
//! # What is where
//!
//! - [`mode`]: the modes, their table and their lattice.
//! - [`resource`]: one resource's holders and queue; a command in, its outcome out.
//! - [`session`]: a session's record and its transitions.
//! - [`fence`]: what a protected resource keeps of the tokens that it has seen.
//! - [`lease`]: who may count on what until when.
//! - [`coordinator`]: one resource's commands on their way to a compare-and-swap store, with group commit,
//!   conflicts and commits whose outcome is unknown.
//! - [`record`]: all of it as bytes, readable by every later release.
//!
//! Time comes in as [`Timestamp`]s, decisions go out as plain data: so it can be tested by properties, checked by
//! a model checker, and run in a simulation, exactly as it is.
#![forbid(unsafe_code)]

pub mod coordinator;
pub mod fence;
pub mod id;
pub mod lease;
pub mod mode;
pub mod name;
pub mod record;
pub mod resource;
pub mod session;
pub mod time;
pub mod token;
pub mod value;

pub use fence::{Fence, StaleToken};
pub use id::{Epoch, LockId, LockKey, MemberId, SessionId};
pub use mode::{Mode, ModeSet};
pub use name::{NameError, Namespace, ResourceId, ResourceName};
pub use time::Timestamp;
pub use token::Token;
pub use value::{ValueBlock, ValueRead};
