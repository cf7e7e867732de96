//! What the SDK costs for a pair of acquire and release, against a whole server that runs in a thread of its own.
//!
//! ```console
//! $ cargo bench -p dlock-client --bench pairs                             # all scenarios
//! $ cargo bench -p dlock-client --bench pairs -- thread 64 200000         # one scenario, in flight, pairs
//! $ valgrind --tool=callgrind --separate-threads=yes PROGRAM runtime 64 20000
//! ```
//!
//! Scenarios: *thread*: driven by the SDK's own thread, the default; *runtime*: driven on the caller's runtime.
//! The processor's time is that of everything but the server's thread.
#![allow(clippy::print_stdout)]

use dlock_client::Client;
use dlock_testing::TestServer;
use rustix::time::{ClockId, clock_gettime};
use std::error::Error;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::sync::{mpsc as requests, oneshot};
use tokio::task::JoinSet;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Pairs before the measured ones, of each lock in flight.
const WARM_UP: u64 = 20;

fn main() -> Result<()> {
    // cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|text| !text.starts_with("--")).collect();
    let server = Server::start()?;
    if let [scenario, in_flight, pairs] = &arguments[..] {
        return measure(&server, scenario, in_flight.parse()?, pairs.parse()?);
    }
    for scenario in ["thread", "runtime"] {
        for (in_flight, pairs) in [(1, 20_000), (64, 400_000), (1024, 800_000)] {
            measure(&server, scenario, in_flight, pairs)?;
        }
    }
    Ok(())
}

/// A server in a thread of its own.
struct Server {
    address: String,
    /// Asks for the processor's time that it has used.
    used: requests::UnboundedSender<oneshot::Sender<Duration>>,
}

impl Server {
    fn start() -> Result<Server> {
        let (used, mut asked) = requests::unbounded_channel::<oneshot::Sender<Duration>>();
        let (started, address) = mpsc::channel();
        thread::Builder::new().name("server".to_owned()).spawn(move || -> Result<()> {
            Builder::new_current_thread().enable_all().build()?.block_on(async {
                let server = TestServer::start().await?;
                started.send(server.address().to_owned())?;
                while let Some(reply) = asked.recv().await {
                    let _ = reply.send(used_by(ClockId::ThreadCPUTime));
                }
                Ok(())
            })
        })?;
        Ok(Server { address: address.recv()?, used })
    }

    /// The processor's time that the process has used but for the server.
    fn used_by_others(&self) -> Result<Duration> {
        let (reply, used) = oneshot::channel();
        self.used.send(reply)?;
        let server = used.blocking_recv()?;
        Ok(used_by(ClockId::ProcessCPUTime).saturating_sub(server))
    }
}

fn used_by(clock: ClockId) -> Duration {
    Duration::try_from(clock_gettime(clock)).unwrap_or_default()
}

fn measure(server: &Server, scenario: &str, in_flight: u64, pairs: u64) -> Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let builder = Client::builder().endpoints([server.address.as_str()]);
    let client = runtime.block_on(async {
        match scenario {
            "thread" => Ok(builder.connect().await?),
            "runtime" => Ok(builder.on_current_runtime().connect().await?),
            _ => Result::Err(format!("{scenario} is no scenario").into()),
        }
    })?;
    runtime.block_on(load(&client, in_flight, WARM_UP))?;
    let (begin, used) = (used_by(ClockId::Monotonic), server.used_by_others()?);
    runtime.block_on(load(&client, in_flight, pairs / in_flight))?;
    let (took, used) = (used_by(ClockId::Monotonic) - begin, server.used_by_others()? - used);
    runtime.block_on(client.close())?;
    let pairs = (pairs / in_flight * in_flight) as f64;
    println!(
        "{scenario:>8} {in_flight:>5} in flight: {:>8.0} pairs per second, {:>6.2} µs of the client's CPU per pair",
        pairs / took.as_secs_f64(),
        used.as_secs_f64() * 1e6 / pairs,
    );
    Ok(())
}

/// Acquires and releases `in_flight` locks on resources of their own, `pairs_each` times.
async fn load(client: &Client, in_flight: u64, pairs_each: u64) -> Result<()> {
    let mut tasks = JoinSet::new();
    for number in 0..in_flight {
        let client = client.clone();
        tasks.spawn(async move {
            let name = format!("bench/{number}");
            for _ in 0..pairs_each {
                client.lock(name.as_str()).acquire().await?.release().await?;
            }
            Result::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}
