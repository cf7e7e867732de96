//! Clients through the command line: `dlockctl lock NAME -- COMMAND`, whose command writes down when it ran.

use dlock_client::{LockId, Mode, SessionId, Timestamp, Token};
use dlock_runtime::{BootClock, Clock as _};
use dlock_suites::history::Held;
use dlock_suites::program;
use rand::RngExt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often a command writes that it still runs.
const STEP: Duration = Duration::from_millis(2);

/// Clients under way.
pub(crate) struct Commands {
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<Worker>>,
    /// The programs that run at the moment.
    running: Vec<Arc<Mutex<Option<Child>>>>,
}

/// What came of one client.
#[derive(Default)]
struct Worker {
    held: Vec<Held>,
    runs: usize,
    failed: usize,
}

/// What came of all.
pub(crate) struct Ran {
    pub(crate) held: Vec<Held>,
    pub(crate) runs: usize,
    /// With a status other than 0: killed, or its lock lost, or no lock within the time it would wait.
    pub(crate) failed: usize,
}

impl Commands {
    pub(crate) fn start(count: usize, endpoints: &[String], directory: &Path) -> Commands {
        let stop = Arc::new(AtomicBool::new(false));
        let numbers = Arc::new(AtomicU64::new(0));
        let mut commands = Commands { stop, workers: Vec::new(), running: Vec::new() };
        for worker in 0..count {
            let running = Arc::new(Mutex::new(None));
            let context = Context {
                name: format!("dlockctl {worker}"),
                endpoints: endpoints.join(","),
                log: directory.join(format!("command-{worker}")),
                numbers: numbers.clone(),
                running: running.clone(),
                stop: commands.stop.clone(),
            };
            commands.running.push(running);
            commands.workers.push(std::thread::spawn(move || context.run()));
        }
        commands
    }

    /// SIGKILL to one of them, with its command.
    pub(crate) fn kill_one(&self, random: &mut impl rand::Rng) {
        let chosen = &self.running[random.random_range(0..self.running.len())];
        if let Some(child) = chosen.lock().unwrap().as_mut() {
            let _it_may_have_ended = child.kill();
        }
    }

    /// Lets everybody finish; kills those who wait if nobody is served any more.
    pub(crate) fn finish(self, served: bool) -> Ran {
        self.stop.store(true, Ordering::Relaxed);
        for child in self.running.iter().filter(|_| !served) {
            if let Some(child) = child.lock().unwrap().as_mut() {
                let _it_may_have_ended = child.kill();
            }
        }
        let mut ran = Ran { held: Vec::new(), runs: 0, failed: 0 };
        for worker in self.workers {
            let worker = worker.join().unwrap();
            ran.held.extend(worker.held);
            ran.runs += worker.runs;
            ran.failed += worker.failed;
        }
        ran
    }
}

struct Context {
    name: String,
    endpoints: String,
    log: PathBuf,
    numbers: Arc<AtomicU64>,
    running: Arc<Mutex<Option<Child>>>,
    stop: Arc<AtomicBool>,
}

impl Context {
    fn run(self) -> Worker {
        let mut worker = Worker::default();
        let hold = std::env::current_exe().unwrap();
        while !self.stop.load(Ordering::Relaxed) {
            let resource = format!("command/{}", rand::rng().random_range(0..3));
            let _it_may_not_be_there = std::fs::remove_file(&self.log);
            let milliseconds = rand::rng().random_range(1..60).to_string();
            let child = Command::new(program("dlockctl", "dlock-cli"))
                .args([
                    "--endpoints",
                    &self.endpoints,
                    "lock",
                    "--ttl",
                    "5s",
                    "--wait",
                    "20s",
                    &resource,
                    "--",
                ])
                .arg(&hold)
                .arg("hold")
                .arg(&self.log)
                .arg(&milliseconds)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            *self.running.lock().unwrap() = Some(child);
            worker.runs += 1;
            worker.failed += usize::from(!self.wait());
            let number = self.numbers.fetch_add(1, Ordering::Relaxed);
            worker.held.extend(self.read(&resource, number));
        }
        worker
    }

    /// Waits for the end, without keeping others from killing it. Returns whether it went well.
    fn wait(&self) -> bool {
        loop {
            let mut running = self.running.lock().unwrap();
            if let Some(status) = running.as_mut().unwrap().try_wait().unwrap() {
                *running = None;
                return status.success();
            }
            drop(running);
            std::thread::sleep(STEP);
        }
    }

    /// When the command ran, by what it has written: until its last word, if it had no time to say that it ends.
    fn read(&self, resource: &str, number: u64) -> Option<Held> {
        let text = std::fs::read_to_string(&self.log).ok()?;
        let mut lines = text.lines();
        let token = Token::from_u64(lines.next()?.parse().ok()?)?;
        let times: Vec<u64> = lines.map_while(|line| line.parse().ok()).collect();
        Some(Held {
            resource: resource.to_owned(),
            client: self.name.clone(),
            lock: (SessionId(u128::MAX), LockId(number)),
            mode: Mode::Exclusive,
            token,
            from: Timestamp(*times.first()?),
            until: Timestamp(*times.last()?),
        })
    }
}

/// Writes the token, and then the time, again and again.
pub(crate) fn hold(log: &Path, duration: Duration) {
    let mut log = std::fs::File::create(log).unwrap();
    let token = std::env::var("DLOCK_TOKEN").expect("dlockctl sets it");
    let begun = BootClock.now();
    writeln!(log, "{token}").unwrap();
    loop {
        let now = BootClock.now();
        writeln!(log, "{}", now.0).unwrap();
        if now.since(begun) >= duration {
            return;
        }
        std::thread::sleep(STEP);
    }
}
