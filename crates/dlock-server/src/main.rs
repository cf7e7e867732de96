//! `dlock`, the server.

use clap::Parser;
use dlock_engine::{Engine, EngineConfig, StartError};
use dlock_runtime::Environment;
use dlock_server::config::{Config, ConfigError, Flags, StoreConfig};
use dlock_server::store::StoreOpenError;
use dlock_server::{WorkerError, drain, log, metrics, routes, serve_on_threads, store};
use dlock_store::{Store, StoreError, StoreInfo};
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Most of what a request costs is memory that lives as long as the request, which this one gives out faster.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The server could not start as it was told.
const EXIT_CONFIG: u8 = 2;

/// How long the store may fail at the start, once it has answered, before the server gives up.
const START_PATIENCE: Duration = Duration::from_secs(20);

/// How long after a failure the next attempt comes.
const START_RETRY: Duration = Duration::from_millis(500);

/// Why the server does not run.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Store(#[from] StoreOpenError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("the address {address} is in use: stop the program that has it, or give another with {flag}")]
    AddressInUse { address: SocketAddr, flag: &'static str },
    #[error("can't listen on {address} ({source}): give another address with {flag}")]
    Listen { address: SocketAddr, flag: &'static str, source: std::io::Error },
    #[error("the system refuses something that the server needs: {0}")]
    System(#[from] std::io::Error),
    #[error("the server failed: {0}")]
    Serve(#[from] WorkerError),
}

impl Failure {
    fn exit_code(&self) -> u8 {
        match self {
            Failure::Config(_)
            | Failure::Store(_)
            | Failure::Start(_)
            | Failure::AddressInUse { .. }
            | Failure::Listen { .. } => EXIT_CONFIG,
            Failure::System(_) | Failure::Serve(_) => 1,
        }
    }
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    let result = Config::load(&flags).map_err(Failure::from).and_then(|config| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let result = runtime.block_on(run(config));
        runtime.shutdown_background();
        result
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}

async fn run(config: Config) -> Result<(), Failure> {
    log::start(&config.log_level, config.log_format);
    let signals = Signals::new()?;
    let listener = listen(config.addr, "--addr").await?;
    let addr = listener.local_addr()?;
    let metrics_listener = match config.metrics_addr {
        Some(address) => Some(listen(address, "--metrics-addr").await?),
        None => None,
    };
    let environment = Environment::real();
    let opened = store::open(&config.store).await?;
    for caveat in opened.info().caveats {
        tracing::warn!("{caveat}");
    }
    let place = opened.info();
    let address = config.advertise_addr.clone().unwrap_or_else(|| addr.to_string());
    let engine = EngineConfig { address, ..config.engine };
    let mut signals = signals;
    let engine = tokio::select! {
        started = start(opened, &environment, engine) => started?,
        signal = signals.next() => {
            tracing::info!(signal, "stopped before it served");
            return Ok(());
        }
    };
    greet(addr, &config.store, &place);
    tracing::info!(%addr, member = %engine.member(), "serving");

    let stop = CancellationToken::new();
    let threads = std::thread::available_parallelism()?;
    let served =
        tokio::spawn(serve_on_threads(routes(&engine, &environment), listener, threads, stop.clone()));
    if let Some(listener) = metrics_listener {
        tracing::info!(addr = %listener.local_addr()?, "serving metrics");
        tokio::spawn(metrics::serve(listener, engine.clone(), stop.clone().cancelled_owned()));
    }
    tokio::select! {
        signal = signals.next() => tracing::info!(signal, grace = ?config.drain_grace, "stopping: no new sessions"),
        ended = served => return ended.map_err(std::io::Error::other)?.map_err(Failure::from),
    }
    tokio::select! {
        () = drain(&engine, &environment, config.drain_grace) => {}
        signal = signals.next() => {
            tracing::warn!(signal, "stopping at once");
            engine.shutdown().await;
        }
    }
    stop.cancel();
    tracing::info!("stopped");
    Ok(())
}

/// Starts the engine, with patience for a store that is electing a leader or finds its way back from a failure.
async fn start(
    store: Arc<dyn Store>,
    environment: &Environment,
    config: EngineConfig,
) -> Result<Engine, StartError> {
    let begun = environment.clock.now();
    loop {
        let started = Engine::start(store.clone(), environment.clone(), config.clone()).await;
        match started {
            Err(StartError::Store(StoreError::Unavailable { reason } | StoreError::Ambiguous { reason }))
                if environment.clock.now().since(begun) < START_PATIENCE =>
            {
                tracing::warn!(reason, "the store does not serve yet");
                environment.clock.sleep(START_RETRY).await;
            }
            other => return other,
        }
    }
}

async fn listen(address: SocketAddr, flag: &'static str) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        ErrorKind::AddrInUse => Failure::AddressInUse { address, flag },
        _ => Failure::Listen { address, flag, source },
    })
}

/// Three lines for who starts it by hand.
fn greet(addr: SocketAddr, store: &StoreConfig, info: &StoreInfo) {
    let (what, next) = match store {
        StoreConfig::Memory => (
            "locks in memory: they are lost when this process ends".to_owned(),
            "durable: dlock --data-dir DIR".to_owned(),
        ),
        StoreConfig::Directory(directory) => (
            format!(
                "locks in {}: every grant and release is on disk before it is answered",
                directory.display()
            ),
            format!("try it: dlockctl --endpoints {addr} lock NAME -- COMMAND"),
        ),
        StoreConfig::Etcd(_) | StoreConfig::Redis(_) | StoreConfig::Nats(_) => (
            format!("locks in {} at {}", info.backend, info.place),
            format!("try it: dlockctl --endpoints {addr} ls"),
        ),
    };
    say(&format!("dlock {} serves {what}\nat {addr} (gRPC)\n{next}", env!("CARGO_PKG_VERSION")));
}

fn say(text: &str) {
    // Whoever started it may have closed its output: that is no reason to stop.
    drop(writeln!(std::io::stdout(), "{text}"));
}

fn complain(failure: &Failure) {
    drop(writeln!(std::io::stderr(), "dlock: {failure}"));
}

/// The signals that ask the server to stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
