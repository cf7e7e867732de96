//! The dlock SDK: distributed locks as guards that know their fencing token and tell when they are lost.
//!
//! ```no_run
//! # async fn example() -> Result<(), dlock_client::Error> {
//! use dlock_client::{Client, Mode};
//! use std::time::Duration;
//!
//! let client = Client::connect("127.0.0.1:5055").await?;
//!
//! let guard = client.lock("orders/42").acquire().await?;
//! if guard.is_valid() {
//!     println!("writing order 42, fenced by token {}", guard.token());
//! }
//! guard.release().await?;
//!
//! let reader = client.lock("orders/42").mode(Mode::ProtectedRead).wait(Duration::from_secs(3)).acquire().await?;
//! if let Some(writer) = client.lock("orders/43").try_acquire().await? {
//!     drop(writer); // releases in the background
//! }
//! # drop(reader);
//! client.close().await
//! # }
//! ```
//!
//! # What a guard promises
//!
//! A lock is a *lease*. While heartbeats are acknowledged the guard's [deadline](Guard::deadline) moves on; it is
//! counted from the moment a heartbeat was *sent*, on a clock that goes on while the machine sleeps, and it lies before
//! the moment at which the service would give the lock to somebody else. Until the deadline nobody else can hold a
//! conflicting lock. When the connection breaks or a server dies, the session moves to another server and keeps its
//! locks, their tokens and its places in queues; nothing of that is visible but in [`Client::events`].
//!
//! When no acknowledgement comes until the deadline, the guard is lost, for ever: [`Guard::is_valid`] turns false,
//! [`Guard::lost`] completes and [`Guard::cancellation_token`] is cancelled, with [`LossReason::Jeopardy`]. That the
//! session may live on and the service may still count the lock as held makes no difference to the guard: release
//! it, and acquire the lock anew.
//!
//! ```no_run
//! # async fn example(client: dlock_client::Client) -> Result<(), dlock_client::Error> {
//! # async fn work() {}
//! let guard = client.lock("nightly-report").acquire().await?;
//! tokio::select! {
//!     () = work() => guard.release().await?,
//!     reason = guard.lost() => println!("stopped: {reason}"),
//! }
//! # Ok(()) }
//! ```
//!
//! What no lease can prevent is a process that is paused between the check and the action. Only a resource that
//! compares [fencing tokens](Token) stops it: hand [`Guard::token`] to whatever can compare it, and refuse what comes
//! with a smaller one than before. [`Fence`] is that comparison; `docs/fencing.md` has it for PostgreSQL and for object
//! stores.
//!
//! # What is cancel-safe
//!
//! Every future. Dropping [`Lock::acquire`] withdraws the request, and gives back a lock that was granted to it
//! meanwhile; dropping a conversion takes it back or leaves it done, and [`Guard::mode`] tells which; dropping
//! [`Guard::release`] releases all the same.
//!
//! # Where it runs
//!
//! The SDK needs tokio. Its connection is driven by a thread of its own, shared by all clients of the process, so that
//! heartbeats go on while the program's runtime is busy or blocked; [`ClientBuilder::on_current_runtime`] drives it on
//! the caller's runtime instead. A process that ends right after dropping a guard or a client may be gone before the
//! service has heard of it, and the locks then stay locked for the session's time to live: await [`Guard::release`]
//! or [`Client::close`] first.
//!
//! # Testing what uses it
//!
//! The crate `dlock-testing` runs the whole server in the test's process: no mock is needed.
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
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod guard;
#[cfg(test)]
mod interleaving;
mod lock;
mod query;
mod session;
mod sync;
mod view;
mod wait;
mod wire;

pub use admin::AdminClient;
pub use builder::ClientBuilder;
pub use client::Client;
pub use connector::{BoxIo, Connector, Io};
pub use convert::Convert;
pub use dlock_core::resource::ValueUpdate;
pub use dlock_core::{
    Epoch, Fence, LockId, MemberId, Mode, Namespace, ResourceId, ResourceName, SessionId, StaleToken,
    Timestamp, Token, ValueBlock, ValueRead,
};
pub use dlock_runtime::{Environment, ProcessUsage};
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
