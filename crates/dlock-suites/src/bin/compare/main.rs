//! Measures dlock over each store beside the store itself and the recipe that its users would write by hand, in one run.
//!
//! *Raw* is what a lock costs at the least: two compare-and-swaps of a record of 200 bytes, one after the other, without
//! anybody who waits, dies or is told; for the embedded store two records of that length, each on the disk, with as many
//! to a sync as there are. The *recipe* is etcd's lock API, `SET NX PX` with a scripted delete on Redis, and a create and
//! a delete in a NATS bucket; where it is contended, those who don't get it ask again after some milliseconds, except with
//! etcd's API, which waits. All take turns in several rounds.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods)]

mod confined;
mod disk;
mod drive;
mod etcd;
mod locks;
mod nats;
mod redis;
mod report;

use clap::Parser;
use confined::Confined;
use dlock_suites::{Backend, Between, Deployment, DlockServer};
use drive::{Locker, Measured, Names, drive};
use report::{Contended, HandOver, Pairs, Report, Scale};
use std::sync::Arc;
use std::time::Duration;

#[derive(Parser)]
#[command(about = "Measures dlock over stores beside the stores themselves and the usual recipes")]
struct Arguments {
    /// The stores: embedded, etcd, redis, nats.
    #[arg(long, value_parser = Backend::from_name, value_delimiter = ',', default_value = "embedded,etcd,redis,nats")]
    backend: Vec<Backend>,
    /// How long each figure takes, all rounds together.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// In how many rounds: in each, all take their turn.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// How many locks are under way at a time.
    #[arg(long, value_delimiter = ',', default_value = "1,64,512")]
    in_flight: Vec<usize>,
    /// Over how many servers the load is spread, one after the other.
    #[arg(long, value_delimiter = ',', default_value = "1,2,3")]
    servers: Vec<usize>,
    /// The share of a processor that each server has, when they are measured as if on machines of their own.
    #[arg(long, default_value_t = 0.2)]
    share: f64,
    /// One JSON value for each store, on a line of its own.
    #[arg(long)]
    json: bool,
}

/// How many wait for the contended resource.
const WAITERS: usize = 64;
/// How many hand-overs between two are timed, and how many commits that are told elsewhere.
const TURNS: usize = 300;

struct Contenders {
    raw: Arc<dyn Locker>,
    recipe: Option<Arc<dyn Locker>>,
    dlock: Arc<dyn Locker>,
    /// On resources that its server masters.
    mastered: Option<Arc<dyn Locker>>,
}

/// The namespace of which servers master resources.
const MASTERED: &str = "mastered";

fn main() {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for backend in arguments.backend.clone() {
        let most = arguments.servers.iter().copied().max().unwrap_or(1).max(2);
        let between = Between { mastered: Some(MASTERED), ..Between::default() };
        let deployment = Deployment::build(backend, most, between);
        let report = runtime.block_on(compare(&deployment, &arguments));
        if arguments.json {
            println!("{}", serde_json::to_string(&report).unwrap());
        } else {
            println!("{report}");
        }
    }
}

async fn contenders(deployment: &Deployment) -> Contenders {
    let dlock = Arc::new(locks::Sdk::connect(deployment, 1).await);
    let mastered = locks::Sdk::connect_in(deployment, 1, MASTERED).await;
    // In a store of its own, there is nobody to master anything against.
    let shared = deployment.backend != Backend::Embedded;
    let mastered = shared.then(|| Arc::new(mastered) as Arc<dyn Locker>);
    let address = deployment.store.addresses().first().cloned().unwrap_or_default();
    let (raw, recipe): (Arc<dyn Locker>, Option<Arc<dyn Locker>>) = match deployment.backend {
        Backend::Embedded => (Arc::new(disk::Raw::start()), None),
        Backend::Etcd => (
            Arc::new(etcd::Raw::connect(&address).await),
            Some(Arc::new(etcd::Recipe::connect(&address).await)),
        ),
        Backend::Redis => (
            Arc::new(redis::Raw::connect(&address).await),
            Some(Arc::new(redis::Recipe::connect(&address).await)),
        ),
        Backend::Nats => (
            Arc::new(nats::Raw::connect(&address).await),
            Some(Arc::new(nats::Recipe::connect(&address).await)),
        ),
        other => panic!("{other:?} is not compared"),
    };
    Contenders { raw, recipe, dlock, mastered }
}

async fn compare(deployment: &Deployment, arguments: &Arguments) -> Report {
    let Contenders { raw, recipe, dlock, mastered } = contenders(deployment).await;
    let mut report = Report::of(deployment.backend);
    for in_flight in arguments.in_flight.iter().copied() {
        let lockers = [Some(&raw), recipe.as_ref(), Some(&dlock), mastered.as_ref()];
        let [raw, recipe, dlock, mastered] = rounds(lockers, Names::Own, in_flight, arguments).await;
        let (raw, recipe) = (raw.as_ref(), recipe.as_ref());
        report.pairs.push(Pairs::of(in_flight, raw, recipe, dlock.as_ref()));
        report.mastered.extend(mastered.map(|mastered| Pairs::of(in_flight, raw, recipe, Some(&mastered))));
    }
    let two: Arc<dyn Locker> = Arc::new(locks::Sdk::connect(deployment, 2).await);
    let two = (deployment.servers.len() > 1).then_some(&two);
    let names = ["recipe", "dlock, one server", "dlock, mastered", "dlock, two servers"];
    let lockers = [recipe.as_ref(), Some(&dlock), mastered.as_ref(), two];
    let contended = rounds(lockers, Names::One, WAITERS, arguments).await;
    for (who, measured) in names.into_iter().zip(contended) {
        report.contended.extend(measured.map(|measured| Contended::of(who, &measured)));
    }
    for (who, locker) in names.into_iter().zip(lockers) {
        if let Some(locker) = locker {
            report.hand_over.push(HandOver::of(who, &drive::hand_over(locker, TURNS).await));
        }
    }
    let told = told(deployment).await;
    report.hand_over.extend(told.map(|told| HandOver::of("a raw commit that is told elsewhere", &told)));
    report.servers = scale(deployment, arguments).await;
    if deployment.servers.len() > 1 {
        let processes = deployment.servers.iter().map(DlockServer::process_id);
        match Confined::each(processes, arguments.share) {
            Ok(_confined) => report.confined = scale(deployment, arguments).await,
            Err(error) => eprintln!("servers with a share of a processor each are not measured: {error}"),
        }
    }
    report
}

/// The greatest load, spread over one server, and over more.
async fn scale(deployment: &Deployment, arguments: &Arguments) -> Vec<Scale> {
    let most = arguments.in_flight.iter().copied().max().unwrap_or(1);
    let mut scale = Vec::new();
    for servers in arguments.servers.iter().copied().filter(|servers| *servers <= deployment.servers.len()) {
        let locker: Arc<dyn Locker> = Arc::new(locks::Sdk::connect(deployment, servers).await);
        let [measured] = rounds([Some(&locker)], Names::Own, most, arguments).await;
        scale.extend(measured.map(|measured| Scale { servers, pairs_per_second: measured.rate() }));
    }
    scale
}

/// Lets all that are there take turns.
async fn rounds<const N: usize>(
    lockers: [Option<&Arc<dyn Locker>>; N],
    names: Names,
    in_flight: usize,
    arguments: &Arguments,
) -> [Option<Measured>; N] {
    let duration = Duration::from_secs_f64(arguments.seconds / f64::from(arguments.rounds));
    let mut all = [const { None }; N];
    for _ in 0..arguments.rounds {
        for (locker, measured) in lockers.iter().zip(&mut all) {
            if let Some(locker) = locker {
                let slice = drive(locker, names, in_flight, duration).await;
                measured.get_or_insert_with(Measured::default).add(slice);
            }
        }
    }
    all
}

/// How long it takes from a commit to its being known on another connection: one commit and one notification, by the
/// store's own means.
async fn told(deployment: &Deployment) -> Option<Measured> {
    let address = deployment.store.addresses().first().cloned()?;
    match deployment.backend {
        Backend::Etcd => Some(etcd::told(&address, TURNS).await),
        Backend::Redis => Some(redis::told(&address, TURNS).await),
        Backend::Nats => Some(nats::told(&address, TURNS).await),
        _ => None,
    }
}
