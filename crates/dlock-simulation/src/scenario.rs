//! What one run is like: drawn from its seed, so that each run has other sizes, other faults and other clocks.

use crate::bug::Bug;
use crate::network::{Latency, Machine};
use crate::store::StoreFaults;
use crate::world::{Time, between};
use clap::ValueEnum;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use std::time::Duration;

/// Clock rates of any two machines differ by less than a tenth: that is assumed, and this is the most.
const RATES: (f64, f64) = (0.954, 1.049);

/// What a caller may decide instead of the seed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Plant a bug.
    pub bug: Option<Bug>,
    /// Let the store go back in time now and then, as one restored from a backup does. Off by default: between the
    /// restoration and its discovery, up to a second, the engine can't know, and what the checker then finds is what
    /// only fencing tokens help against.
    pub restores: bool,
    /// Nothing goes wrong.
    pub calm: bool,
    /// Let the servers master resources.
    pub mastering: bool,
    /// Let the clients lock by a recipe on etcd, instead of with dlock.
    pub recipe: Option<Recipe>,
}

/// What the clients of a recipe write to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Recipe {
    /// Registers that take what comes.
    Unfenced,
    /// Registers that check the revision of the lock's key as a fencing token.
    Fenced,
}

/// One simulated run.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    pub(crate) servers: Vec<ServerPlan>,
    pub(crate) clients: Vec<ClientPlan>,
    pub(crate) resources: usize,
    /// Whether the store can guard a commit by another record.
    pub(crate) guards: bool,
    pub(crate) network: Latency,
    pub(crate) store: Latency,
    /// The longest slice for which one process runs ahead of the others.
    pub(crate) slice_max: Duration,
    /// When the last fault ends, and nothing new is begun.
    pub(crate) calm_from: Time,
    /// By time.
    pub(crate) faults: Vec<(Time, Fault)>,
    pub(crate) idle_resource_age: Duration,
    pub(crate) sweep_interval: Duration,
    pub(crate) bug: Option<Bug>,
    pub(crate) recipe: Option<Recipe>,
    /// The order of operations is searched for.
    pub(crate) sequential: bool,
    /// Servers master resources, after so many commits in a row.
    pub(crate) master_after: Option<u32>,
    /// How probable it is that a client writes a value block where it may.
    pub(crate) values: f64,
}

#[derive(Clone, Debug)]
pub(crate) struct ServerPlan {
    pub(crate) rate: f64,
}

#[derive(Clone, Debug)]
pub(crate) struct ClientPlan {
    pub(crate) rate: f64,
    pub(crate) ttl: Duration,
    pub(crate) lock_delay: Duration,
    pub(crate) workers: usize,
    pub(crate) pause_max: Duration,
}

/// Something that happens to the world.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fault {
    /// Nothing passes from the first machine to the second.
    Block(Machine, Machine),
    /// It does again.
    Unblock(Machine, Machine),
    /// Connections of a machine break, each with this probability.
    Break(Machine, f64),
    /// A machine is killed; `true` without its connections being closed.
    Crash(Machine, bool),
    /// It starts again.
    Start(Machine),
    /// It stands still.
    Stop(Machine),
    /// It goes on.
    GoOn(Machine),
    /// A server is taken out of service in an orderly way, and ends.
    Drain(Machine),
    /// The store is like this from now on.
    Store(StoreFaults),
    /// The store goes back to what it was after this part of its writes.
    Restore(f64),
}

impl Scenario {
    /// The run of a seed.
    pub(crate) fn draw(seed: u64, options: Options) -> Scenario {
        let dice = &mut StdRng::seed_from_u64(seed ^ 0x5ce4_a210);
        let rate = |dice: &mut StdRng| match dice.random_range(0..4) {
            0 => RATES.0,
            1 => RATES.1,
            2 => 1.0,
            _ => dice.random_range(RATES.0..RATES.1),
        };
        let bug = options.bug;
        let servers = match bug {
            Some(Bug::MemberLeaseNeverEnds | Bug::LostWakeupNoRecheck | Bug::ExpiryNotBoundToEpoch) => 3,
            _ => dice.random_range(1..=3),
        };
        let servers: Vec<_> = (0..servers).map(|_| ServerPlan { rate: rate(dice) }).collect();
        let pause_max = between(dice, Duration::from_millis(20), Duration::from_millis(1500));
        let clients = (0..dice.random_range(2..=4))
            .map(|_| {
                let ttl = match dice.random_range(0..3) {
                    0 => Duration::from_secs(1),
                    1 => between(dice, Duration::from_secs(1), Duration::from_secs(4)),
                    _ => between(dice, Duration::from_secs(4), Duration::from_secs(10)),
                };
                ClientPlan {
                    rate: if bug == Some(Bug::ClientClockSlow) { 0.67 } else { rate(dice) },
                    ttl,
                    lock_delay: match dice.random_range(0..3) {
                        0 => between(dice, Duration::ZERO, Duration::from_secs(3)),
                        _ => Duration::ZERO,
                    },
                    workers: dice.random_range(1..=3),
                    pause_max,
                }
            })
            .collect::<Vec<_>>();
        let calm_from = between(dice, Duration::from_secs(5), Duration::from_secs(40));
        let guards = bug == Some(Bug::StoreIgnoresGuards) || dice.random_bool(0.5);
        let network = Latency {
            least: Duration::from_micros(200),
            most: between(dice, Duration::from_millis(1), Duration::from_millis(30)),
            spikes: if dice.random_bool(0.3) { 0.01 } else { 0.0 },
        };
        let store = Latency {
            least: Duration::from_micros(200),
            most: between(dice, Duration::from_millis(1), Duration::from_millis(30)),
            spikes: 0.01,
        };
        let mut scenario = Scenario {
            seed,
            servers,
            clients,
            resources: dice.random_range(1..=3),
            guards,
            network,
            store,
            slice_max: between(dice, Duration::from_millis(2), Duration::from_millis(20)),
            calm_from,
            faults: Vec::new(),
            idle_resource_age: Duration::from_secs(dice.random_range(1..=5)),
            sweep_interval: between(dice, Duration::from_secs(1), Duration::from_secs(30)),
            bug,
            recipe: options.recipe,
            sequential: !options.restores,
            master_after: None,
            values: 0.6,
        };
        if options.mastering {
            scenario.master_after = Some(dice.random_range(1..=2));
            // What has a value is not mastered.
            scenario.values = if dice.random_bool(0.8) { 0.0 } else { 0.02 };
        }
        if options.calm {
            (scenario.network.spikes, scenario.store.spikes) = (0.0, 0.0);
        } else {
            scenario.faults = FaultPlan::draw(&scenario, options.restores, dice);
        }
        scenario
    }

    /// The store is machine 0, servers follow, and then clients.
    pub(crate) fn server_machines(&self) -> std::ops::RangeInclusive<Machine> {
        1..=self.servers.len()
    }

    pub(crate) fn client_machine(&self, client: usize) -> Machine {
        self.servers.len() + 1 + client
    }
}

/// Kinds of faults; each run has some of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Partition,
    OneWayPartition,
    StoreCut,
    Break,
    ServerCrash,
    ClientCrash,
    ServerPause,
    ClientPause,
    Drain,
    StoreFaults,
    LostWatches,
    Restore,
}

struct FaultPlan {
    events: Vec<(Time, Fault)>,
}

impl FaultPlan {
    fn draw(scenario: &Scenario, restores: bool, dice: &mut StdRng) -> Vec<(Time, Fault)> {
        let mut kinds = vec![
            Kind::Partition,
            Kind::OneWayPartition,
            Kind::StoreCut,
            Kind::Break,
            Kind::ServerCrash,
            Kind::ClientCrash,
            Kind::ServerPause,
            Kind::ClientPause,
            Kind::Drain,
            Kind::StoreFaults,
            Kind::LostWatches,
        ];
        kinds.shuffle(dice);
        kinds.truncate(dice.random_range(1..=6));
        if restores {
            kinds.push(Kind::Restore);
        }
        let mut plan = FaultPlan { events: Vec::new() };
        let gap = between(dice, Duration::from_millis(500), Duration::from_secs(6));
        let mut at = between(dice, Duration::ZERO, Duration::from_secs(2));
        while at < scenario.calm_from {
            let kind = kinds[dice.random_range(0..kinds.len())];
            plan.add(kind, at, scenario, dice);
            at += between(dice, Duration::ZERO, gap * 2);
        }
        plan.events.sort_by_key(|(at, _)| *at); // stable: what was drawn first comes first
        plan.events
    }

    fn add(&mut self, kind: Kind, at: Time, scenario: &Scenario, dice: &mut StdRng) {
        let longest = match dice.random_range(0..3) {
            0 => Duration::from_secs(1),
            1 => Duration::from_secs(8),
            _ => Duration::from_secs(20),
        };
        let end = (at + between(dice, Duration::from_millis(10), longest)).min(scenario.calm_from);
        let servers = scenario.servers.len();
        let machines = 1 + servers + scenario.clients.len();
        let server = dice.random_range(1..=servers);
        let client = dice.random_range(servers + 1..machines);
        let mut between_times = |from: Fault, to: Fault| self.events.extend([(at, from), (end, to)]);
        match kind {
            Kind::Partition => {
                for (from, to) in [(server, client), (client, server)] {
                    between_times(Fault::Block(from, to), Fault::Unblock(from, to));
                }
            }
            Kind::OneWayPartition => {
                let (from, to) = if dice.random_bool(0.5) { (server, client) } else { (client, server) };
                between_times(Fault::Block(from, to), Fault::Unblock(from, to));
            }
            Kind::StoreCut => {
                let ways = dice.random_range(0..3);
                if ways != 1 {
                    between_times(Fault::Block(server, 0), Fault::Unblock(server, 0));
                }
                if ways != 0 {
                    between_times(Fault::Block(0, server), Fault::Unblock(0, server));
                }
            }
            Kind::Break => self.events.push((at, Fault::Break(dice.random_range(1..machines), 0.7))),
            Kind::ServerCrash => {
                between_times(Fault::Crash(server, dice.random_bool(0.5)), Fault::Start(server));
            }
            Kind::ClientCrash => {
                between_times(Fault::Crash(client, dice.random_bool(0.5)), Fault::Start(client));
            }
            Kind::ServerPause => between_times(Fault::Stop(server), Fault::GoOn(server)),
            Kind::ClientPause => between_times(Fault::Stop(client), Fault::GoOn(client)),
            Kind::Drain => {
                between_times(Fault::Drain(server), Fault::Crash(server, false));
                self.events.push((end, Fault::Start(server)));
            }
            Kind::StoreFaults | Kind::LostWatches => {
                let mut draw =
                    |most: f64| if dice.random_bool(0.7) { dice.random_range(0.0..most) } else { 0.0 };
                let faults = if kind == Kind::StoreFaults {
                    StoreFaults { unavailable: draw(0.3), ambiguous: draw(0.4), ..StoreFaults::default() }
                } else {
                    StoreFaults { lost_watch: draw(1.0), broken_watch: draw(0.3), ..StoreFaults::default() }
                };
                between_times(Fault::Store(faults), Fault::Store(StoreFaults::default()));
            }
            Kind::Restore => self.events.push((at, Fault::Restore(dice.random_range(0.5..1.0)))),
        }
    }
}
