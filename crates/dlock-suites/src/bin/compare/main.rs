//! Measures dlock over each store beside the store itself and the recipe that its users would write by hand, in one run.
//!
//! *Raw* is what a lock costs at the least: two compare-and-swaps of a record of 200 bytes, one after the other, without
//! anybody who waits, dies or is told. The *recipe* is etcd's lock API, `SET NX PX` with a scripted delete on Redis, and
//! a create and a delete in a NATS bucket; where it is contended, those who don't get it ask again after some milliseconds,
//! except with etcd's API, which waits.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods)]

mod drive;
mod etcd;
mod locks;
mod nats;
mod redis;

use dlock_suites::{Backend, Deployment};
use drive::{Locker, Names, drive};
use std::sync::Arc;
use std::time::Duration;

const IN_FLIGHT: [usize; 3] = [1, 64, 512];

struct Contenders {
    raw: Arc<dyn Locker>,
    recipe: Arc<dyn Locker>,
    dlock: Arc<dyn Locker>,
}

async fn contenders(deployment: &Deployment, servers: usize) -> Contenders {
    let address = deployment.store.addresses().swap_remove(0);
    let dlock: Arc<dyn Locker> = Arc::new(locks::Sdk::connect(deployment, servers).await);
    let (raw, recipe): (Arc<dyn Locker>, Arc<dyn Locker>) = match deployment.backend {
        Backend::Etcd => {
            (Arc::new(etcd::Raw::connect(&address).await), Arc::new(etcd::Recipe::connect(&address).await))
        }
        Backend::Redis => {
            (Arc::new(redis::Raw::connect(&address).await), Arc::new(redis::Recipe::connect(&address).await))
        }
        Backend::Nats => {
            (Arc::new(nats::Raw::connect(&address).await), Arc::new(nats::Recipe::connect(&address).await))
        }
        other => panic!("{other:?} is not compared"),
    };
    Contenders { raw, recipe, dlock }
}

fn main() {
    let seconds = std::env::args().nth(1).map_or(3, |argument| argument.parse().expect("seconds"));
    let duration = Duration::from_secs(seconds);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for backend in [Backend::Etcd, Backend::Redis, Backend::Nats] {
        let deployment = Deployment::start(backend, 2);
        runtime.block_on(compare(backend.title(), &deployment, duration));
    }
}

async fn compare(name: &str, deployment: &Deployment, duration: Duration) {
    let one = contenders(deployment, 1).await;
    println!("### {name}: each lock on a name of its own\n");
    println!("| in flight | raw pairs/s | recipe | **dlock** | p50 | p99 | dlock / raw | dlock / recipe |");
    println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for in_flight in IN_FLIGHT {
        let raw = drive(&one.raw, Names::Own, in_flight, duration).await;
        let recipe = drive(&one.recipe, Names::Own, in_flight, duration).await;
        let dlock = drive(&one.dlock, Names::Own, in_flight, duration).await;
        println!(
            "| {in_flight} | {:.0} | {:.0} | {:.0} | {:.2} ms | {:.2} ms | {:.2} | {:.2} |",
            raw.rate(),
            recipe.rate(),
            dlock.rate(),
            dlock.percentile(0.5),
            dlock.percentile(0.99),
            dlock.rate() / raw.rate(),
            dlock.rate() / recipe.rate(),
        );
    }
    println!("\n### {name}: 64 on one name\n");
    println!("| | hand-overs/s | p50 of a wait | p99 |");
    println!("| --- | ---: | ---: | ---: |");
    let two = contenders(deployment, 2).await;
    let rows =
        [("recipe", &one.recipe), ("dlock, one server", &one.dlock), ("dlock, two servers", &two.dlock)];
    for (row, locker) in rows {
        let measured = drive(locker, Names::One, 64, duration).await;
        let (rate, p50, p99) = (measured.rate(), measured.percentile(0.5), measured.percentile(0.99));
        println!("| {row} | {rate:.0} | {p50:.1} ms | {p99:.1} ms |");
    }
    println!("\n### {name}: from one client's release to the other's grant\n");
    println!("| | p50 | p99 |");
    println!("| --- | ---: | ---: |");
    for (row, locker) in rows {
        let measured = drive::hand_over(locker, 300).await;
        println!("| {row} | {:.2} ms | {:.2} ms |", measured.percentile(0.5), measured.percentile(0.99));
    }
    println!();
}
