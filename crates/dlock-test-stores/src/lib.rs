//! Real servers for dlock's own tests, of its stores and of what its locks protect: each on ports and in a directory of its own, killed when the test that
//! started it ends, however it ends.
//!
//! The programs (`etcd`, `redis-server`, `nats-server`, `postgres`) are taken from the `PATH`, else from containers where the feature
//! `containers` is on; `cargo xtask test` sees to it that they are there. Everything here blocks: a test under tokio
//! needs the multi-threaded flavour.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // what a test needs and does not get is a panic

mod authority;
#[cfg(feature = "containers")]
mod container;
mod etcd;
mod http;
mod nats;
mod port;
mod postgres;
mod process;
mod program;
mod redis;
mod redis_cluster;
mod redis_quorum;
mod redis_sentinel;
mod redis_tls;

pub use authority::Authority;
pub use etcd::{EtcdCluster, EtcdServer, EtcdTls};
pub use nats::{NatsCluster, NatsServer};
pub use port::Port;
pub use postgres::PostgresServer;
pub use process::Process;
pub use redis::RedisServer;
pub use redis_cluster::RedisCluster;
pub use redis_quorum::RedisQuorum;
pub use redis_sentinel::RedisSentinels;
pub use redis_tls::RedisTls;
