//! Keeps a lock for as long as nobody else wants it, and goes down to what they leave when somebody does: how a cache
//! stays coherent.
#![allow(clippy::print_stdout)] // an example's output is for people

use dlock_client::{Client, Error, Mode};
use futures::StreamExt;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let client = Client::connect("127.0.0.1:5055").await?;
    let mut guard = client.lock("cache/users").acquire().await?;
    let mut wanted = guard.blocking();

    let reader = tokio::spawn({
        let client = client.clone();
        async move {
            client
                .lock("cache/users")
                .mode(Mode::ProtectedRead)
                .acquire()
                .await?
                .release()
                .await
                .map_err(Error::from)
        }
    });

    if let Some(mode) = wanted.next().await {
        println!("somebody wants {mode}: writing the cache back, and going down to PR");
        guard.convert(Mode::ProtectedRead).await?;
    }
    reader.await.expect("the reader does not panic")?;
    println!("the reader was there, and we still hold {}", guard.mode());
    guard.release().await?;
    client.close().await
}
