//! Locks a name, shows the fencing token, and lets go.
//!
//! Start a server with `cargo run --release --bin dlock`, then `cargo run --example quickstart`.
#![allow(clippy::print_stdout)] // an example's output is for people

use dlock_client::{Client, Error};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let client = Client::connect("127.0.0.1:5055").await?;

    let guard =
        client.lock("orders/42").on_queued(|place| println!("{} go first", place.ahead)).acquire().await?;
    println!(
        "{} is ours, with token {}, for {:?} at least",
        guard.resource(),
        guard.token(),
        guard.remaining()
    );

    // Check right before each action on what the lock protects, and hand the token to whatever can check it.
    if guard.is_valid() {
        println!("writing order 42, fenced by {}", guard.token());
    }

    guard.release().await?;
    client.close().await
}
