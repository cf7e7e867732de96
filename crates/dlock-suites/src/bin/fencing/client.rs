//! A client process: locks, reads, checks its guard, writes, releases, and again.

use crate::wire::{Answer, Request, Wire};
use dlock_client::{Client, Error};
use dlock_core::lease::TTL_MIN;
use std::net::TcpStream;
use std::time::Duration;

/// Longer than all others together may hold the lock.
const PATIENCE: Duration = Duration::from_secs(300);
const COUNTER: &str = "counter";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where the resource listens.
    #[arg(long)]
    resource: String,
    /// The servers.
    #[arg(long, value_delimiter = ',')]
    endpoints: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) {
    let resource = Wire::over(TcpStream::connect(&arguments.resource).unwrap());
    tokio::runtime::Runtime::new().unwrap().block_on(count(&arguments.endpoints, resource));
}

async fn count(endpoints: &[String], mut resource: Wire) {
    let client = Client::builder().endpoints(endpoints).ttl(TTL_MIN).connect().await.unwrap();
    loop {
        let guard = match client.lock(COUNTER).wait(PATIENCE).acquire().await {
            Ok(guard) => guard,
            // What a process finds that was stopped: the next lock opens a new session.
            Err(Error::SessionLost { .. } | Error::LockLost { .. }) => continue,
            Err(error) => panic!("{error}"),
        };
        let token = guard.token().get();
        let Answer::Value(value) = resource.call(Request::Read { token }) else { continue };
        if !guard.is_valid() {
            continue;
        }
        if let Answer::Leave = resource.call(Request::Ready) {
            break;
        }
        // A process can be stopped here, after the check, for longer than its lock is held. It does not know.
        resource.call(Request::Write { token, value: value + 1 });
    }
    client.close().await.unwrap();
}
