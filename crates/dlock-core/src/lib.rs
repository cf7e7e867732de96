//! The pure heart of dlock, a distributed lock manager.
#![forbid(unsafe_code)]

pub mod id;
pub mod mode;
pub mod name;
pub mod resource;
pub mod time;
pub mod token;
pub mod value;

pub use id::{Epoch, LockId, LockKey, MemberId, SessionId};
pub use mode::Mode;
pub use name::{Namespace, ResourceId, ResourceName};
pub use time::Timestamp;
pub use token::Token;
pub use value::{ValueBlock, ValueRead};
