//! The dlock SDK: distributed locks as guards that know their fencing token and tell when they are lost.
//!
//! ```no_run
//! # async fn example() -> Result<(), dlock_client::Error> {
//! use dlock_client::Client;
//!
//! let client = Client::connect("127.0.0.1:5055").await?;
//! let guard = client.lock("orders/42").acquire().await?;
//! println!("held with token {}", guard.token());
//! guard.release().await?;
//! # Ok(()) }
//! ```
#![forbid(unsafe_code)]

mod admin;
mod builder;
mod client;
mod connector;
mod convert;
mod driver;
mod endpoint;
mod error;
mod event;
mod guard;
mod lock;
mod query;
mod session;
mod view;
mod wait;

pub use admin::AdminClient;
pub use builder::ClientBuilder;
pub use client::Client;
pub use connector::{BoxIo, Connector, Io};
pub use convert::Convert;
pub use dlock_core::resource::ValueUpdate;
pub use dlock_core::{
    Epoch, LockId, MemberId, Mode, Namespace, ResourceId, ResourceName, SessionId, Timestamp, Token,
    ValueBlock, ValueRead,
};
pub use dlock_runtime::Environment;
pub use endpoint::Endpoint;
pub use error::{Error, LossReason, ReleaseError, Source};
pub use event::SessionEvent;
pub use guard::Guard;
pub use lock::{Lock, Place};
pub use query::QueryClient;
pub use view::{
    ClientInfo, Health, HolderInfo, LockAddress, MemberInfo, QueuedInfo, ResourceEvent, ResourceInfo,
    ServerInfo, SessionInfo, TokenCheck,
};
