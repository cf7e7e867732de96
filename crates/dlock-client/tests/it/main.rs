//! The SDK against the real server, in this process.

mod cancellation;
mod locks;
mod looking;
mod outages;
mod proxy;
mod service;
