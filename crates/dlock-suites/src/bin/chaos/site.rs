//! The deployment, and what is done to it.

use crate::Arguments;
use crate::commands::Commands;
use crate::disk::{Disk, Hoarder};
use crate::fault::{Fault, Way};
use crate::report::{self, Report};
use dlock_suites::{Backend, Between, Deployment, Load, Proxy};
use rand::RngExt;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

const SERVERS: usize = 3;
const RESOURCES: usize = 4;
const TTL: Duration = Duration::from_secs(10);
/// So many grants show that all are served again.
const MANY: usize = 50;
/// Longer than dlock stands still after a store has lost what it had acknowledged.
const RECOVERY_MAX: Duration = Duration::from_secs(120);

/// Makes faults for as long as is asked for.
pub(crate) fn disturb(arguments: &Arguments) -> Report {
    let mut site = Site::start(arguments);
    let begun = Instant::now();
    let end = Duration::from_secs_f64(arguments.minutes * 60.0);
    let mut recoveries: BTreeMap<String, Vec<Duration>> = BTreeMap::new();
    let mut unserved = site.wait_until_served("the start").err();
    while begun.elapsed() < end && unserved.is_none() {
        let faults = Fault::next(&site.possible, &mut site.random);
        let name = report::name(&faults);
        let longest = faults.iter().map(|fault| fault.duration(&mut site.random)).max().unwrap_or_default();
        eprintln!("{:7.1} s  {name}, for {longest:.1?}", begun.elapsed().as_secs_f64());
        for fault in &faults {
            site.begin(*fault);
        }
        std::thread::sleep(longest);
        // What a server needs comes back before it.
        let (of_servers, others): (Vec<Fault>, Vec<Fault>) =
            faults.iter().partition(|fault| matches!(fault, Fault::ServerKilled));
        for fault in others.into_iter().chain(of_servers) {
            site.end(fault);
        }
        let name = if site.disk_was_noticed() { name } else { format!("{name} (nobody noticed)") };
        match site.wait_until_served(&name) {
            Ok(took) => recoveries.entry(name).or_default().push(took),
            Err(error) => unserved = Some(error),
        }
    }
    let title = format!(
        "{}, seed {}, {} clients and {} commands",
        arguments.backend.name(),
        arguments.seed,
        arguments.clients,
        arguments.commands
    );
    let took = begun.elapsed();
    let ran = site.commands.finish(unserved.is_none());
    let load = site.runtime.block_on(site.load.finish());
    let report = Report::new(title, took, load, ran, recoveries, unserved);
    if !report.is_safe() {
        eprintln!("the servers' logs are in {}", site.deployment.keep_logs().display());
    }
    report
}

struct Site {
    runtime: Runtime,
    load: Load,
    commands: Commands,
    deployment: Deployment,
    random: StdRng,
    possible: Vec<Fault>,
    /// The server that the fault of the moment is about.
    victim: usize,
    clocks: Option<Clocks>,
    disk: Option<Disk>,
    hoarder: Option<Hoarder>,
    /// The server has said that the disk was full, when it was so last.
    disk_noticed: bool,
    _directory: tempfile::TempDir,
}

impl Site {
    fn start(arguments: &Arguments) -> Site {
        let directory = tempfile::tempdir().unwrap();
        let backend = arguments.backend;
        let clocks = Clocks::find(directory.path());
        let disk =
            (backend == Backend::Embedded).then(|| Disk::mount(&directory.path().join("disk"))).flatten();
        let between = Between {
            store: backend.can_be_proxied(),
            clients: true,
            data: disk.as_ref().map(Disk::path),
            environment: clocks
                .iter()
                .flat_map(|clocks| (0..SERVERS).map(|server| clocks.of(server)))
                .collect(),
            mastered: arguments.mastered.then_some("*"),
        };
        let deployment = Deployment::build(backend, SERVERS, between);
        let runtime = Runtime::new().unwrap();
        let load = runtime.block_on(async {
            if arguments.mastered {
                Load::start_in_groups(&deployment, arguments.clients, RESOURCES, TTL).await
            } else {
                Load::start(&deployment, arguments.clients, RESOURCES, TTL).await
            }
        });
        let commands = Commands::start(arguments.commands, &deployment.endpoints(), directory.path());
        let possible = Fault::possible(backend, clocks.is_some(), disk.is_some());
        let random = StdRng::seed_from_u64(arguments.seed);
        Site {
            runtime,
            load,
            commands,
            deployment,
            random,
            possible,
            victim: 0,
            clocks,
            disk,
            hoarder: None,
            disk_noticed: true,
            _directory: directory,
        }
    }

    /// Waits until locks are granted as if nothing had been.
    fn wait_until_served(&self, after: &str) -> Result<Duration, String> {
        let served = self.runtime.block_on(self.load.try_wait_for_grants(MANY, RECOVERY_MAX));
        served.map_err(|missing| format!("after {after}: {missing}"))
    }

    /// False once after a full disk that did not matter.
    fn disk_was_noticed(&mut self) -> bool {
        std::mem::replace(&mut self.disk_noticed, true)
    }

    fn begin(&mut self, fault: Fault) {
        self.victim = self.random.random_range(0..self.deployment.servers.len());
        let Deployment { servers, store, proxies, fronts, .. } = &mut self.deployment;
        let server = &mut servers[self.victim];
        let all_proxies = || proxies.iter().flatten();
        match fault {
            Fault::ServerKilled => server.process().kill(),
            Fault::ServerPaused => server.process().pause(),
            Fault::RollingRestart => {
                for server in servers {
                    server.process().terminate();
                    server.restart();
                    std::thread::sleep(Duration::from_secs(1));
                }
            }
            Fault::StoreKilled => store.kill(),
            Fault::StorePaused => store.pause(),
            Fault::StoreCut(way) => proxies[self.victim].iter().for_each(|proxy| cut(proxy, way)),
            Fault::StoreSlow => all_proxies().for_each(|proxy| {
                proxy.set(|fault| fault.delay = Duration::from_millis(60));
            }),
            Fault::StoreBroken => {
                for _ in 0..5 {
                    all_proxies().for_each(Proxy::break_connections);
                    std::thread::sleep(Duration::from_millis(200));
                }
            }
            Fault::ClientsCut(way) => cut(&fronts[self.victim], way),
            Fault::ClientsSlow => fronts.iter().for_each(|proxy| {
                proxy.set(|fault| fault.delay = Duration::from_millis(100));
            }),
            Fault::CommandKilled => self.commands.kill_one(&mut self.random),
            Fault::ClockJump => {
                let hours = self.random.random_range(-5..=5);
                if let Some(clocks) = &self.clocks {
                    clocks.set(self.victim, hours);
                }
            }
            Fault::DiskFull => {
                self.disk.iter().for_each(Disk::fill);
                let endpoints = self.deployment.endpoints();
                self.hoarder = Some(Hoarder::start(&self.runtime, endpoints));
            }
        }
    }

    /// Mends everything of the kind, whomever it was about.
    fn end(&mut self, fault: Fault) {
        let Deployment { servers, store, proxies, fronts, .. } = &mut self.deployment;
        match fault {
            Fault::ServerKilled => {
                for server in servers {
                    if !server.is_running() {
                        server.restart();
                    }
                }
            }
            Fault::ServerPaused => servers.iter_mut().for_each(|server| server.process().resume()),
            Fault::StoreKilled => store.restart(),
            Fault::StorePaused => store.resume(),
            Fault::StoreCut(_) | Fault::StoreSlow | Fault::StoreBroken => {
                proxies.iter().flatten().for_each(Proxy::mend);
            }
            Fault::ClientsCut(_) | Fault::ClientsSlow => fronts.iter().for_each(Proxy::mend),
            Fault::DiskFull => {
                self.disk_noticed = self.hoarder.take().is_some_and(|hoarder| hoarder.end(&self.runtime));
                self.disk.iter().for_each(Disk::empty);
            }
            Fault::RollingRestart | Fault::CommandKilled | Fault::ClockJump => {}
        }
    }
}

fn cut(proxy: &Proxy, way: Way) {
    proxy.set(|fault| match way {
        Way::Both => (fault.requests_cut, fault.answers_cut) = (true, true),
        Way::Requests => fault.requests_cut = true,
        Way::Answers => fault.answers_cut = true,
    });
}

/// The servers' wall clocks, where libfaketime is installed; their monotonic clocks stay true.
struct Clocks {
    library: PathBuf,
    directory: PathBuf,
}

impl Clocks {
    fn find(directory: &Path) -> Option<Clocks> {
        let folders = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"];
        let library = |folder: &&str| Path::new(folder).join("faketime/libfaketime.so.1");
        let library = folders.iter().map(library).find(|library| library.exists())?;
        let clocks = Clocks { library, directory: directory.to_owned() };
        (0..SERVERS).for_each(|server| clocks.set(server, 0));
        Some(clocks)
    }

    fn file(&self, server: usize) -> PathBuf {
        self.directory.join(format!("clock-{server}"))
    }

    /// The variables of a server whose clock can jump.
    fn of(&self, server: usize) -> Vec<(OsString, OsString)> {
        vec![
            ("LD_PRELOAD".into(), self.library.clone().into()),
            ("FAKETIME_TIMESTAMP_FILE".into(), self.file(server).into()),
            ("FAKETIME_NO_CACHE".into(), "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC".into(), "1".into()),
        ]
    }

    fn set(&self, server: usize, hours: i32) {
        std::fs::write(self.file(server), format!("{hours:+}h\n")).unwrap();
    }
}
