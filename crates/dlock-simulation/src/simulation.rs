//! The loop that turns a scenario into a run: slice by slice, each process runs up to the same moment, in an order that the
//! dice decide; between two slices arrives what was sent, and the faults happen.
//!
//! What a process sends arrives in a later slice at the earliest, so that none sees what another one has yet to do, though
//! one runs ahead of the other within a slice.

use crate::bug::Bug;
use crate::check::{self, Findings, Rule, Violation};
use crate::client::{self, Plan, Tools, resource_name};
use crate::history::{History, Recorder};
use crate::network::{Machine, Network};
use crate::process::{ClockKind, Process};
use crate::recipe::{self, Etcd};
use crate::register::{Registers, Writes};
use crate::scenario::{Fault, Options, Recipe, Scenario};
use crate::store::Cluster;
use crate::trace::{Keep, Trace};
use crate::world::{Time, World};
use crate::{determinism, panics};
use dlock_client::{Client, Mode};
use dlock_engine::{Engine, EngineConfig, Mastering};
use parking_lot::Mutex;
use rand::seq::SliceRandom;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// How long after the last fault everybody's waits must have ended. A session that died lives on for its time to live and
/// lock delay, a server for six seconds, a late write for eight; each may come after the other.
const WAITS_END: Duration = Duration::from_secs(90);
/// How long a client may take for all resources once nobody else uses them.
const PROBE_TIME: Duration = Duration::from_secs(60);
/// How long the clients may take to end their sessions.
const CLOSE_TIME: Duration = Duration::from_secs(30);

/// What came of a run.
#[derive(Debug)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// What happened, line by line.
    pub trace: Trace,
    /// What the clients did and saw.
    pub history: History,
    /// What the checker found.
    pub findings: Findings,
    /// How long it took, in the world's own time.
    pub simulated: Duration,
    /// What came of the writes to what the locks protect.
    pub writes: Writes,
    /// How many requests were answered from memory.
    pub from_memory: u64,
}

impl Report {
    /// Whether no rule was broken.
    pub fn is_good(&self) -> bool {
        self.findings.violations.is_empty()
    }

    /// How many locks were granted.
    pub fn grants(&self) -> usize {
        let granted =
            |o: &&crate::history::Operation| matches!(o.answer, crate::history::Answer::Granted { .. });
        self.history.operations.iter().filter(granted).count()
    }
}

/// Runs a seed, on a thread of its own.
///
/// # Errors
/// The harness itself has failed: a defect of this crate.
pub fn run(seed: u64, options: Options, keep: Keep) -> anyhow::Result<Report> {
    let ran = determinism::on_seeded_thread(seed, || {
        let (result, panics) = panics::noted(|| Simulation::new(Scenario::draw(seed, options), keep)?.run());
        let Some(result) = result else {
            anyhow::bail!("the simulation of seed {seed} has panicked: {panics:?}")
        };
        let mut report = result?;
        for panic in panics {
            report.findings.violations.push(Violation { rule: Rule::Panic, description: panic });
        }
        Ok(report)
    });
    ran.map_err(|_| anyhow::anyhow!("the simulation of seed {seed} panicked"))?
}

struct Server {
    address: String,
    process: Option<Process>,
    engine: Arc<Mutex<Option<Engine>>>,
    starts: u64,
}

struct ClientProcess {
    name: String,
    process: Option<Process>,
    starts: u64,
    idle: Arc<AtomicBool>,
    ended: Arc<AtomicBool>,
}

struct Simulation {
    scenario: Scenario,
    world: Arc<World>,
    network: Network,
    store: Cluster,
    recorder: Recorder,
    registers: Registers,
    /// What the clients of a recipe use.
    etcd: Etcd,
    servers: Vec<Server>,
    clients: Vec<ClientProcess>,
    prober: Option<Process>,
    values: Arc<AtomicU64>,
    earlier_tokens: Arc<Mutex<std::collections::BTreeMap<usize, u64>>>,
    complaints: Arc<Mutex<Vec<String>>>,
    close: Arc<AtomicBool>,
    findings: Findings,
    /// By servers that have ended.
    from_memory: u64,
}

impl Simulation {
    fn new(scenario: Scenario, keep: Keep) -> anyhow::Result<Simulation> {
        let world = World::new(scenario.seed, Trace::new(keep));
        let network = Network::new(&world, scenario.network);
        let store = Cluster::new(&network, &world, 0, scenario.store, scenario.guards, scenario.bug);
        let recorder = Recorder::new(&world);
        let registers = Registers::new(&world, scenario.resources, scenario.recipe != Some(Recipe::Unfenced));
        let etcd = Etcd::new(&world, &network, scenario.store);
        let servers = scenario.server_machines().map(|machine| Server {
            address: format!("server{machine}:5055"),
            process: None,
            engine: Arc::default(),
            starts: 0,
        });
        let clients = (0..scenario.clients.len()).map(|number| ClientProcess {
            name: format!("client{number}"),
            process: None,
            starts: 0,
            idle: Arc::default(),
            ended: Arc::default(),
        });
        let (servers, clients) = (servers.collect(), clients.collect());
        let mut simulation = Simulation {
            world,
            network,
            store,
            recorder,
            registers,
            etcd,
            servers,
            clients,
            prober: None,
            values: Arc::new(AtomicU64::new(1)),
            earlier_tokens: Arc::default(),
            complaints: Arc::default(),
            close: Arc::default(),
            findings: Findings::default(),
            from_memory: 0,
            scenario,
        };
        for machine in 1..=simulation.servers.len() + simulation.clients.len() {
            simulation.start(machine)?;
        }
        Ok(simulation)
    }

    fn run(mut self) -> anyhow::Result<Report> {
        let mut faults = std::mem::take(&mut self.scenario.faults);
        faults.reverse();
        while let Some((at, fault)) = faults.pop() {
            self.run_to(at, |_| false);
            self.happen(fault)?;
        }
        let calm_from = self.scenario.calm_from;
        self.run_to(calm_from, |_| false);
        self.settle()?;
        for machine in self.scenario.server_machines() {
            self.count_from_memory(machine);
        }
        let trace = self.end();
        let history = self.recorder.take();
        let mut findings = self.findings;
        let checked = check::check(
            &history,
            self.scenario.resources,
            self.scenario.sequential,
            self.scenario.master_after.is_some(),
        );
        findings.violations.extend(checked.violations);
        findings.inconclusive += checked.inconclusive;
        for complaint in self.complaints.lock().drain(..) {
            findings.add(Rule::Complaint, complaint);
        }
        let writes = self.registers.writes();
        if writes.lost_updates > 0 {
            findings.add(Rule::LostUpdate, format!("{} updates lost", writes.lost_updates));
        }
        let (seed, simulated) = (self.scenario.seed, self.world.now());
        let from_memory = self.from_memory;
        Ok(Report { seed, trace, history, findings, simulated, writes, from_memory })
    }

    /// Lets everybody run up to a moment, or until `done`.
    fn run_to(&mut self, until: Time, done: impl Fn(&Simulation) -> bool) {
        while self.world.now() < until && !done(self) {
            let now = self.world.now();
            // Short slices while something is under way, so that latencies are what they are.
            let next = self.world.next_due().unwrap_or(Time::MAX).max(now + Duration::from_millis(1));
            let to = until.min(now + self.scenario.slice_max).min(next);
            let world = self.world.clone();
            let mut processes: Vec<&mut Process> = self.processes().collect();
            world.roll(|dice| processes.shuffle(dice));
            for process in processes {
                process.run_to(to);
            }
            world.advance_to(to);
        }
    }

    fn processes(&mut self) -> impl Iterator<Item = &mut Process> {
        let servers = self.servers.iter_mut().filter_map(|server| server.process.as_mut());
        let clients = self.clients.iter_mut().filter_map(|client| client.process.as_mut());
        servers.chain(clients).chain(&mut self.prober)
    }

    /// The process of a machine, if it runs.
    fn process(&mut self, machine: Machine) -> Option<&mut Process> {
        self.slot(machine).as_mut()
    }

    fn slot(&mut self, machine: Machine) -> &mut Option<Process> {
        match machine.checked_sub(self.servers.len() + 1) {
            None => &mut self.servers[machine - 1].process,
            Some(client) => &mut self.clients[client].process,
        }
    }

    fn happen(&mut self, fault: Fault) -> anyhow::Result<()> {
        self.world.note("fault", format_args!("{fault:?}"));
        let now = self.world.now();
        match fault {
            Fault::Block(from, to) => self.network.block(from, to),
            Fault::Unblock(from, to) => {
                self.network.unblock(from, to);
                self.store.resume_watches();
            }
            Fault::Break(machine, probability) => self.network.break_connections(machine, probability),
            Fault::Crash(machine, silent) => self.crash(machine, silent),
            Fault::Start(machine) => self.start(machine)?,
            Fault::Stop(machine) => self.process(machine).into_iter().for_each(Process::stop),
            Fault::GoOn(machine) => {
                self.process(machine).into_iter().for_each(|process| process.go_on(now));
            }
            Fault::Drain(machine) => self.drain(machine),
            Fault::Store(faults) => self.store.set_faults(faults),
            Fault::Restore(part) => {
                let writes = self.store.writes() as f64 * part;
                self.store.restore(writes as usize);
            }
        }
        Ok(())
    }

    fn crash(&mut self, machine: Machine, silent: bool) {
        if self.process(machine).is_none() {
            return;
        }
        self.count_from_memory(machine);
        self.network.crash(machine, silent);
        *self.slot(machine) = None;
        if let Some(client) = machine.checked_sub(self.servers.len() + 1) {
            let client = &self.clients[client];
            self.recorder.killed(&format!("{}.{}", client.name, client.starts));
        }
    }

    /// Adds what a machine has answered from memory, if it is a server, before it ends.
    fn count_from_memory(&mut self, machine: Machine) {
        let Some(server) = self.servers.get(machine - 1) else { return };
        let ended = server.engine.lock().take();
        self.from_memory += ended.map_or(0, |engine| engine.statistics().from_memory);
    }

    /// Starts a machine that is not running.
    fn start(&mut self, machine: Machine) -> anyhow::Result<()> {
        if self.process(machine).is_some() {
            return Ok(());
        }
        self.network.restart(machine);
        let process = Process::start(&self.world, self.scenario.seed)?;
        match machine.checked_sub(self.servers.len() + 1) {
            None => self.start_server(machine, &process),
            Some(client) => self.start_client(client, &process),
        }
        *self.slot(machine) = Some(process);
        Ok(())
    }

    fn start_server(&mut self, machine: Machine, process: &Process) {
        let server = &mut self.servers[machine - 1];
        server.starts += 1;
        let seed = self.scenario.seed ^ ((machine as u64) << 32) ^ (server.starts << 48);
        let rate = self.scenario.servers[machine - 1].rate;
        let environment = process.environment(seed, rate, ClockKind::CountsPauses);
        let config = EngineConfig {
            address: server.address.clone(),
            idle_resource_age: self.scenario.idle_resource_age,
            sweep_interval: self.scenario.sweep_interval,
            mastering: self.scenario.master_after.map(|_| Mastering::All),
            master_after: self.scenario.master_after.unwrap_or_default(),
            ..EngineConfig::default()
        };
        let store = Arc::new(self.store.from(machine));
        let (network, address, running) =
            (self.network.clone(), server.address.clone(), server.engine.clone());
        process.spawn(async move {
            let engine = loop {
                match Engine::start(store.clone(), environment.clone(), config.clone()).await {
                    Ok(engine) => break engine,
                    // As a supervisor would, after a while.
                    Err(_) => tokio::time::sleep(Duration::from_millis(500)).await,
                }
            };
            *running.lock() = Some(engine.clone());
            let routes = dlock_server::routes(&engine, &environment);
            let incoming = network.listen(machine, &address);
            // Nothing stops it but its process's end.
            drop(dlock_server::serve(routes, incoming, std::future::pending()).await);
        });
    }

    fn start_client(&mut self, number: usize, process: &Process) {
        let machine = self.scenario.client_machine(number);
        let client = &mut self.clients[number];
        client.starts += 1;
        (client.idle, client.ended) = Default::default();
        let scenario = &self.scenario;
        let setup = &scenario.clients[number];
        let seed = scenario.seed ^ ((machine as u64) << 32) ^ (client.starts << 48);
        let plan = Plan {
            name: format!("{}.{}", client.name, client.starts),
            seed,
            endpoints: self.servers.iter().map(|server| server.address.clone()).collect(),
            ttl: setup.ttl,
            lock_delay: setup.lock_delay,
            workers: setup.workers,
            resources: scenario.resources,
            rate: setup.rate,
            pause_max: setup.pause_max,
            until: scenario.calm_from,
            bug: scenario.bug,
            values: scenario.values,
        };
        let clock = match scenario.bug {
            Some(Bug::ClientClockStopsInPause) => ClockKind::StopsInPauses,
            _ => ClockKind::CountsPauses,
        };
        let tools = Tools {
            world: self.world.clone(),
            recorder: self.recorder.clone(),
            registers: self.registers.clone(),
            environment: process.environment(seed, setup.rate, clock),
            connector: self.network.connector(machine),
            earlier_tokens: self.earlier_tokens.clone(),
            values: self.values.clone(),
            complaints: self.complaints.clone(),
            close: self.close.clone(),
            idle: client.idle.clone(),
            ended: client.ended.clone(),
        };
        match scenario.recipe {
            None => process.spawn(client::run(plan, tools)),
            Some(_) => process.spawn(recipe::run(plan, tools, self.etcd.from(machine))),
        }
    }

    /// Asks a server to let its clients go elsewhere, and to end.
    fn drain(&mut self, machine: Machine) {
        let server = &self.servers[machine - 1];
        let (Some(process), Some(engine)) = (&server.process, server.engine.lock().clone()) else { return };
        let environment = process.environment(0, 1.0, ClockKind::CountsPauses);
        process.spawn(async move {
            dlock_server::drain(&engine, &environment, Duration::from_secs(3)).await;
        });
    }

    /// Nothing is broken any more: everybody must come to an end, and every lock must be free then.
    fn settle(&mut self) -> anyhow::Result<()> {
        self.world.note("fault", format_args!("no more"));
        let machines = 1 + self.servers.len() + self.clients.len();
        for machine in 1..machines {
            self.happen(Fault::GoOn(machine))?;
            self.start(machine)?;
        }
        self.store.set_faults(Default::default());
        self.store.resume_watches();
        self.network.calm();
        let idle = |simulation: &Simulation| {
            simulation.recorder.unfinished() == 0
                && simulation.clients.iter().all(|client| client.idle.load(Ordering::Relaxed))
        };
        self.run_to(self.world.now() + WAITS_END, idle);
        if !idle(self) {
            let waiting = self.recorder.waiting();
            let records = self.store.describe_resources();
            self.findings.add(
                Rule::Liveness,
                format!("not ended {WAITS_END:?} after the last fault:{waiting}{records}"),
            );
            return Ok(());
        }
        let probed = self.start_prober()?;
        self.run_to(self.world.now() + PROBE_TIME, |_| probed.load(Ordering::Relaxed));
        if !probed.load(Ordering::Relaxed) {
            let records = self.store.describe_resources();
            self.findings
                .add(Rule::Liveness, format!("a lock can't be had though all are released:{records}"));
            return Ok(());
        }
        self.close.store(true, Ordering::Relaxed);
        let ended = |simulation: &Simulation| {
            simulation.clients.iter().all(|client| client.ended.load(Ordering::Relaxed))
        };
        self.run_to(self.world.now() + CLOSE_TIME, ended);
        if !ended(self) {
            self.findings.add(Rule::Liveness, "a client could not be closed".to_owned());
        }
        Ok(())
    }

    /// A client that takes every lock once.
    fn start_prober(&mut self) -> anyhow::Result<Arc<AtomicBool>> {
        let machine = 1 + self.servers.len() + self.clients.len();
        let process = Process::start(&self.world, self.scenario.seed)?;
        let environment = process.environment(self.scenario.seed ^ 0x9407e4, 1.0, ClockKind::CountsPauses);
        let builder = Client::builder()
            .endpoints(self.servers.iter().map(|server| server.address.clone()))
            .connector(self.network.connector(machine))
            .environment(environment)
            .on_current_runtime();
        let done = Arc::new(AtomicBool::new(false));
        let (resources, flag, world) = (self.scenario.resources, done.clone(), self.world.clone());
        process.spawn(async move {
            let client = loop {
                match builder.clone().connect().await {
                    Ok(client) => break client,
                    // The servers may have been started just now.
                    Err(error) => world.note("prober", format_args!("{error}")),
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            };
            for resource in 0..resources {
                let name = resource_name(resource);
                loop {
                    let lock = client.lock(&name).mode(Mode::Exclusive);
                    match lock.wait(PROBE_TIME).acquire().await {
                        Ok(guard) => {
                            world.note("prober", format_args!("r{resource} token {}", guard.token()));
                            drop(guard.release().await);
                            break;
                        }
                        Err(error) => world.note("prober", format_args!("r{resource} {error}")),
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
            flag.store(true, Ordering::Relaxed);
        });
        self.prober = Some(process);
        Ok(done)
    }

    /// Ends all processes; the trace.
    fn end(&mut self) -> Trace {
        self.servers.clear();
        self.clients.clear();
        self.prober = None;
        self.world.clear();
        self.world.take_trace()
    }
}
