//! Leaves a little data with the lock for whoever holds it next.
#![allow(clippy::print_stdout)] // an example's output is for people

use dlock_client::{Client, Error, ValueBlock};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let client = Client::connect("127.0.0.1:5055").await?;

    let guard = client.lock("import/cursor").acquire().await?;
    let cursor: u64 = match guard.value() {
        // Not valid: a writer died in the middle of its work, and the cursor may be behind.
        Some(value) if !value.valid && !value.block.is_empty() => {
            println!("the last import did not end well");
            parse(value.block.bytes())
        }
        Some(value) => parse(value.block.bytes()),
        None => 0,
    };
    println!("going on from {cursor}");

    let next = ValueBlock::new((cursor + 100).to_string()).expect("a number is shorter than 1 KiB");
    guard.release_with_value(next).await?;
    client.close().await
}

fn parse(bytes: &[u8]) -> u64 {
    std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}
