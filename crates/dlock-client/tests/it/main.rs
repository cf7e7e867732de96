//! The SDK against the real server, in this process.

#![allow(clippy::unwrap_used)] // in what the tests share, too

mod cancellation;
mod locks;
mod looking;
mod outages;
mod proxy;
mod service;
