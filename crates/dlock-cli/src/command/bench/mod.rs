//! `dlockctl bench`: a load on a whole system, and what it takes.
//!
//! ```text
//!  crew (threads) ── load ── workload ── locker ─┬─ the SDK: sessions on streams
//!                     │                          └─ unary
//!                     ├─ floor ── echo           the same without locks, in turns
//!                     └─ usage                   CPU and memory of both sides
//! ```

mod connection;
mod counts;
mod crew;
mod echo;
mod floor;
mod idle;
mod load;
mod locker;
mod names;
mod pace;
mod report;
mod unary;
mod usage;
mod workload;

use crate::arguments::{Bench, Global, Workload};
use crate::exit::{self, Exit};
use crew::Crew;
use dlock_runtime::{BootClock, Clock};
use floor::Floor;
use load::Load;
use locker::{EachItsSession, Locker};
use report::{Held, Report, Results};
use std::time::Duration;
use unary::Unary;
use usage::Servers;

pub(crate) use echo::serve as serve_echo;

/// Into how many slices the load and its floor are cut, which take turns: a machine that changes its speed changes it
/// for both.
const SLICES: u32 = 4;
/// A server drops once a second what it keeps in memory for locks that were asked for a moment ago.
const REST: Duration = Duration::from_secs(3);

pub(crate) async fn run(global: &Global, arguments: Bench) -> Result<u8, Exit> {
    check(&arguments)?;
    let crew = Crew::start(arguments.threads.unwrap_or_else(crew::threads_default).min(arguments.in_flight))?;
    let servers = Servers::connect(global).await?;
    match arguments.workload {
        Workload::IdleSessions => {
            idle::run(global, &arguments, &crew, &servers).await?.show(global.output)?;
        }
        Workload::Sessions => {
            let lockers = (0..arguments.clients)
                .map(|number| {
                    EachItsSession(locker::builder(global, arguments.ttl, arguments.driver, number))
                })
                .collect();
            measure(global, &arguments, &crew, &servers, lockers).await?;
        }
        _ if arguments.unary => {
            let lockers = unary_clients(global, &arguments, &crew).await?;
            measure(global, &arguments, &crew, &servers, lockers).await?;
        }
        _ => {
            let mut lockers = Vec::new();
            for number in 0..arguments.clients {
                let builder = locker::builder(global, arguments.ttl, arguments.driver, number);
                let connecting = crew.member(number).spawn(builder.connect());
                lockers.push(connecting.await.map_err(|error| Exit::new(exit::FAILURE, error))??);
            }
            measure(global, &arguments, &crew, &servers, lockers).await?;
        }
    }
    Ok(0)
}

/// Refuses what makes no sense together.
fn check(arguments: &Bench) -> Result<(), Exit> {
    let Bench { workload, clients, in_flight, floor, unary, rate, held, .. } = arguments;
    let sessions = matches!(workload, Workload::Sessions | Workload::IdleSessions);
    let usage = |text: &str| Err(Exit::usage(text));
    if in_flight < clients {
        return usage("--in-flight: give each client at least one lock (--clients is greater)");
    }
    if *floor && (sessions || rate.is_some()) {
        return usage("--floor: an echo has no sessions and no rate to be compared with");
    }
    if sessions && (*unary || *held > 0) {
        return usage("--unary, --held: the workloads of sessions have neither");
    }
    if arguments.connections.is_some_and(|connections| connections != *clients)
        && !*unary
        && *workload != Workload::IdleSessions
    {
        return usage("--connections: the SDK gives each client a connection of its own");
    }
    Ok(())
}

async fn unary_clients(global: &Global, arguments: &Bench, crew: &Crew) -> Result<Vec<Unary>, Exit> {
    let connections = arguments.connections.unwrap_or(arguments.clients);
    let mut channels = Vec::new();
    for number in 0..connections {
        let endpoint = &global.endpoints[number as usize % global.endpoints.len()];
        channels.push(connection::connect(endpoint, crew.member(number)).await?);
    }
    let mut clients = Vec::new();
    for number in 0..arguments.clients {
        let channel = channels[(number % connections) as usize].clone();
        let (namespace, ttl) = (global.namespace.clone(), arguments.ttl);
        let opening = crew.member(number).spawn(async move { Unary::open(channel, &namespace, ttl).await });
        let opened = opening.await.map_err(|error| Exit::new(exit::FAILURE, error))?;
        clients.push(opened.map_err(|error| Exit::new(exit::FAILURE, error))?);
    }
    Ok(clients)
}

/// Runs the load, in turns with its floor if there is to be one, and reports.
async fn measure<L: Locker>(
    global: &Global,
    arguments: &Bench,
    crew: &Crew,
    servers: &Servers,
    lockers: Vec<L>,
) -> Result<(), Exit> {
    let connections = arguments.connections.unwrap_or(arguments.clients);
    let mut load = Load::new(crew, arguments, lockers);
    let held = hold(arguments, servers, &mut load).await?;
    // On a hot resource there is one message under way, whoever waits.
    let in_flight = if arguments.workload == Workload::Hot { 1 } else { arguments.in_flight };
    let floor = match arguments.floor {
        true => Some(Floor::start(crew, connections.min(in_flight), in_flight, arguments.unary).await?),
        false => None,
    };
    let slices = if arguments.floor { SLICES } else { 1 };
    let (mut measured, mut echoes) = (Vec::new(), Vec::new());
    for number in 0..slices {
        let warm_up = if number == 0 { arguments.warm_up } else { arguments.warm_up / SLICES };
        measured.push(load.slice(servers, warm_up, arguments.duration / slices).await?);
        if let Some(floor) = &floor {
            echoes.push(floor.slice(warm_up, arguments.duration / slices).await?);
        }
    }
    let used = servers.used().await?;
    let threads = crew.numbers().end;
    let echoes = floor.map(|_| (in_flight, echoes));
    let results = Results { connections, threads, slices: measured, echoes, held, used };
    Report::new(arguments, results)?.show(global.output)?;
    load.close().await
}

/// Takes the locks that are held all the while, and weighs them when both sides have come to rest.
async fn hold<L: Locker>(
    arguments: &Bench,
    servers: &Servers,
    load: &mut Load<'_, L>,
) -> Result<Option<Held>, Exit> {
    if arguments.held == 0 {
        return Ok(None);
    }
    let (before, begun) = (servers.used().await?, BootClock.now());
    load.hold().await?;
    let taken = BootClock.now().since(begun);
    BootClock.sleep(REST).await;
    let after = servers.used().await?;
    let each = |from: Option<u64>, to: Option<u64>| {
        Some(to?.saturating_sub(from?) as f64 / f64::from(arguments.held))
    };
    Ok(Some(Held {
        locks: arguments.held,
        acquired_per_second: f64::from(arguments.held) / taken.as_secs_f64(),
        server_bytes_each: each(before.server_resident(), after.server_resident()),
        client_bytes_each: each(before.client_resident(), after.client_resident()),
    }))
}
