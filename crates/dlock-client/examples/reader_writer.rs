//! Readers share, a writer is alone, and an upgradable reader turns into a writer without letting go in between.
#![allow(clippy::print_stdout)] // an example's output is for people

use dlock_client::{Client, Error, Mode};
use std::time::Duration;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let client = Client::connect("127.0.0.1:5055").await?;

    let readers = [
        client.lock("catalogue").mode(Mode::ConcurrentRead).acquire().await?,
        client.lock("catalogue").mode(Mode::ConcurrentRead).acquire().await?,
    ];
    println!("{} readers at once", readers.len());

    // PW reads beside concurrent readers, and keeps other writers out: it can become EX without a deadlock.
    let mut guard = client.lock("catalogue").mode(Mode::ProtectedWrite).acquire().await?;
    match guard.convert(Mode::Exclusive).try_only().await {
        Err(Error::WouldBlock) => println!("not while they read; still {}", guard.mode()),
        other => other?,
    }

    for reader in readers {
        reader.release().await?;
    }
    guard.convert(Mode::Exclusive).wait(Duration::from_secs(3)).await?;
    println!("alone now: {} with token {}", guard.mode(), guard.token());

    guard.convert(Mode::ConcurrentRead).await?;
    println!("a reader again: {}", guard.mode());
    guard.release().await?;
    client.close().await
}
