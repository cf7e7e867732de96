//! The servers start, stand still, end, and come back.
#![allow(clippy::unwrap_used)]

use dlock_test_stores::{EtcdServer, NatsServer, RedisServer};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

fn ping(address: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_millis(500)))?;
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[test]
fn redis_is_paused_killed_and_restarted() {
    let mut redis = RedisServer::start();
    let address = redis.address();
    assert_eq!(ping(&address).unwrap(), "+PONG\r\n");
    redis.process().pause();
    ping(&address).unwrap_err();
    redis.process().resume();
    assert_eq!(ping(&address).unwrap(), "+PONG\r\n");
    redis.process().kill();
    assert!(!redis.process().is_running());
    ping(&address).unwrap_err();
    redis.restart();
    assert_eq!(ping(&address).unwrap(), "+PONG\r\n");
}

#[test]
fn etcd_and_nats_start_twice_side_by_side() {
    let etcd = [EtcdServer::start(), EtcdServer::start()];
    let nats = [NatsServer::start(), NatsServer::start()];
    assert_ne!(etcd[0].endpoint(), etcd[1].endpoint());
    assert_ne!(nats[0].url(), nats[1].url());
}

#[test]
fn a_dropped_server_is_gone() {
    let redis = RedisServer::start();
    let address = redis.address();
    drop(redis);
    TcpStream::connect(address).unwrap_err();
}

#[test]
fn a_server_may_end_by_itself() {
    let mut redis = RedisServer::start();
    redis.process().terminate();
    let output = redis.process().output();
    assert!(output.contains("Redis is now ready to exit"), "{output}");
}

/// Else the kernel continues it when the test's shell ends: `setpgid(2)`, of groups that become orphaned.
#[test]
fn a_paused_server_is_continued_by_nobody_else() {
    let mut redis = RedisServer::start();
    let Some(pid) = redis.process().id() else { return }; // a container
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap());
    assert_ne!(rustix::process::getpgid(pid).unwrap(), rustix::process::getpgrp());
}
