//! Stops the work at the moment when the lock is lost: stop the server, or take the lock away with
//! `dlockctl release --force nightly-report`, while this runs.
#![allow(clippy::print_stdout)] // an example's output is for people

use dlock_client::{Client, Error};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Work in steps, that stops between two of them when it is told to.
async fn work(stop: CancellationToken) {
    for step in 1..=60 {
        println!("step {step}");
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            () = stop.cancelled() => return println!("stopped after step {step}"),
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let client = Client::connect("127.0.0.1:5055").await?;
    let guard = client.lock("nightly-report").acquire().await?;

    work(guard.cancellation_token()).await;

    match guard.loss() {
        Some(reason) => println!("the report is not finished: {reason}"),
        None => guard.release().await?,
    }
    client.close().await
}
