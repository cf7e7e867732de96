//! The lock engine: sessions, queues, waits, batching and notifications over any store. No gRPC in it: a server puts
//! one on top, and a program can embed it to lock without a server.
#![forbid(unsafe_code)]

mod caller;
mod config;
mod directory;
mod engine;
mod error;
mod generation;
mod home;
mod io;
mod keys;
mod mastering;
mod membership;
mod query;
mod recovery;
mod request;
mod sessions;
mod shard;
mod shared;
mod submit;
mod sweeper;
mod tell;
mod ticket;
mod timers;
mod view;

pub use caller::{Caller, Reply};
pub use config::{EngineConfig, Mastering};
pub use engine::{
    AttachSession, Claim, ClaimState, Engine, Health, OpenSession, Secret, Session, StartError, Statistics,
    TokenCheck,
};
pub use error::{RequestError, SessionError};
pub use request::{Event, EventSink, LockRef, Patience, Request, RequestId};
pub use view::{HolderView, MemberView, PageOf, QueuedView, ResourceEvent, ResourceView, SessionView};
