//! The configurations that are checked.

use crate::config::Operation::{Convert, Lock, Try, Unlock};
use crate::config::{ClientSetup, Config, Limits, Line, News, Operation};
use dlock_core::Mode::{Exclusive, ProtectedRead};
use dlock_core::lease::{LeaseTerms, TTL_MAX};
use std::time::Duration;

const CYCLE: [Operation; 2] = [Lock(Exclusive), Unlock];

fn terms(ttl: Duration) -> LeaseTerms {
    LeaseTerms::new(ttl, Duration::ZERO).expect("it is within the bounds")
}

/// A little less than a tick of 3 s: a session that was heard of at one tick has expired at the next.
pub(crate) fn short() -> LeaseTerms {
    terms(Duration::from_millis(2900))
}

/// A little less than two ticks of 3 s.
pub(crate) fn long() -> LeaseTerms {
    terms(Duration::from_millis(5900))
}

pub(crate) fn client(home: usize, script: &[Operation]) -> ClientSetup {
    let lines = script.iter().map(|operation| Line { resource: 0, operation: *operation });
    ClientSetup { home, script: lines.collect(), holds: false, roams: true, terms: short() }
}

fn on_two_resources(home: usize, script: &[(usize, Operation)]) -> ClientSetup {
    let lines =
        script.iter().map(|(resource, operation)| Line { resource: *resource, operation: *operation });
    ClientSetup { script: lines.collect(), ..client(home, &[]) }
}

/// One that has a lock from the beginning.
pub(crate) fn holder(home: usize) -> ClientSetup {
    ClientSetup { holds: true, ..client(home, &CYCLE) }
}

/// One that has a lock from the beginning, and keeps it.
pub(crate) fn keeper(home: usize) -> ClientSetup {
    ClientSetup { holds: true, ..client(home, &CYCLE[..1]) }
}

/// One that tries to take the lock, and whose session is not in danger.
pub(crate) fn taker(home: usize) -> ClientSetup {
    ClientSetup { terms: terms(TTL_MAX), roams: false, ..client(home, &[Try(Exclusive)]) }
}

/// Two servers, with one client each.
pub fn base(guards: bool) -> Config {
    Config {
        name: if guards { "guarded" } else { "unguarded" },
        about: "two clients, each at a server of its own",
        servers: 2,
        resources: 1,
        clients: vec![client(0, &CYCLE), client(1, &CYCLE)],
        guards,
        masters: false,
        mastered: false,
        members: false,
        newcomers: Vec::new(),
        steady: Vec::new(),
        ticks: 0,
        tick: Duration::from_secs(3),
        client_clock_percent: 100,
        news: News::Record,
        slow_reads: false,
        slow_commits: false,
        slow_members: false,
        prompt: false,
        limits: Limits::default(),
        without: Vec::new(),
    }
}

/// A session that moves while its requests are under way.
pub fn moving(guards: bool) -> Config {
    Config {
        name: if guards { "moving-guarded" } else { "moving-unguarded" },
        about: "a session moves while its requests are under way",
        clients: vec![client(0, &[Lock(Exclusive), Unlock, Lock(Exclusive), Unlock]), client(1, &CYCLE)],
        limits: Limits { attaches: 1, withdrawals: 1, ..Limits::default() },
        ..base(guards)
    }
}

/// A try of a session that moves, in one commit with a release of another.
pub fn trying() -> Config {
    Config {
        name: "trying-unguarded",
        about: "a session moves while its try shares a commit with another session's release",
        clients: vec![
            client(0, &[Try(Exclusive), Unlock]),
            client(0, &CYCLE),
            client(0, &[Try(ProtectedRead)]),
        ],
        limits: Limits { attaches: 1, ..Limits::default() },
        ..base(false)
    }
}

/// Conversions, on two servers.
pub fn converting(guards: bool) -> Config {
    let script = [Lock(ProtectedRead), Convert(Exclusive), Convert(ProtectedRead), Unlock];
    Config {
        name: if guards { "converting-guarded" } else { "converting-unguarded" },
        about: "two readers who both want to write",
        clients: vec![client(0, &script), client(1, &script)],
        limits: Limits { attaches: 1, ..Limits::default() },
        ..base(guards)
    }
}

/// A store that is silent at times, and does late what it was asked.
pub fn silent(guards: bool) -> Config {
    Config {
        name: if guards { "silent-guarded" } else { "silent-unguarded" },
        about: "a store that gives no answer, and does late what it was asked",
        servers: 1,
        clients: vec![client(0, &CYCLE), client(0, &[Try(Exclusive), Unlock])],
        limits: Limits { silences: 2, retries: 2, withdrawals: 1, ..Limits::default() },
        ..base(guards)
    }
}

/// A store that is silent while a session moves.
pub fn silent_moving(guards: bool) -> Config {
    Config {
        name: if guards { "silent-moving-guarded" } else { "silent-moving-unguarded" },
        about: "a session moves while the store gives no answer",
        limits: Limits { silences: 1, retries: 1, attaches: 1, ..Limits::default() },
        ..base(guards)
    }
}

/// A store whose answers are under way while others write.
pub fn answering_late(guards: bool) -> Config {
    Config {
        name: if guards { "late-answers-guarded" } else { "late-answers-unguarded" },
        about: "the store's answers are under way while others write and a session moves",
        slow_reads: true,
        slow_commits: true,
        limits: Limits { attaches: 1, ..Limits::default() },
        ..base(guards)
    }
}

/// The network repeats what it delivers.
pub fn repeating(guards: bool) -> Config {
    Config {
        name: if guards { "repeating-guarded" } else { "repeating-unguarded" },
        about: "requests come twice, and out of their order",
        limits: Limits { duplicates: 2, withdrawals: 1, ..Limits::default() },
        ..base(guards)
    }
}

/// Records come and go.
pub fn collecting(guards: bool) -> Config {
    Config {
        name: if guards { "collecting-guarded" } else { "collecting-unguarded" },
        about: "records that nobody uses are deleted",
        limits: Limits { collections: 2, attaches: 1, ..Limits::default() },
        ..base(guards)
    }
}

/// Time goes on: heartbeats, deadlines, expiries.
pub fn expiring(guards: bool) -> Config {
    Config {
        name: if guards { "expiring-guarded" } else { "expiring-unguarded" },
        about: "sessions expire, or are attached just before",
        clients: vec![holder(0), taker(1)],
        ticks: 2,
        limits: Limits { attaches: 1, ..Limits::default() },
        ..base(guards)
    }
}

/// Clients whose clocks are slower by nearly a tenth.
pub fn slow_clocks() -> Config {
    Config {
        name: "slow-clocks",
        about: "the clients' clocks are slower than the servers' by nearly a tenth",
        client_clock_percent: 91,
        ..expiring(true)
    }
}

/// A server that judges another, whose sessions it ends.
pub fn members(guards: bool) -> Config {
    Config {
        name: if guards { "members-guarded" } else { "members-unguarded" },
        about: "a server falls silent and comes back, and its orphans are ended",
        clients: vec![keeper(0), taker(1)],
        members: true,
        steady: vec![1],
        slow_members: true,
        ticks: 3,
        limits: Limits { attaches: 1, ..Limits::default() },
        ..base(guards)
    }
}

/// A server that has just started, and knows nobody.
pub fn newcomer() -> Config {
    Config {
        name: "newcomer",
        about: "a server that has just started judges another",
        newcomers: vec![1],
        slow_members: false,
        ticks: 4,
        limits: Limits::default(),
        ..members(true)
    }
}

/// Servers that judge each other, each of which may fall silent, stop or leave.
pub fn leaving() -> Config {
    Config {
        name: "leaving",
        about: "servers judge each other, and fall silent, stop or leave",
        steady: Vec::new(),
        slow_members: false,
        limits: Limits { crashes: 1, departures: 1, ..Limits::default() },
        ..members(true)
    }
}

/// A session that moves among three servers.
pub fn wandering(guards: bool) -> Config {
    Config {
        name: if guards { "wandering-guarded" } else { "wandering-unguarded" },
        about: "sessions move among three servers while their requests are under way",
        servers: 3,
        clients: vec![client(0, &CYCLE), taker(1)],
        limits: Limits { attaches: 2, ..Limits::default() },
        ..base(guards)
    }
}

/// Two resources, and a session that moves while it has a lock on one and asks for the other.
pub fn two_resources(guards: bool) -> Config {
    let both = [(0, Lock(Exclusive)), (1, Lock(Exclusive)), (0, Unlock), (1, Unlock)];
    let one_by_one = [(1, Try(Exclusive)), (1, Unlock), (0, Try(Exclusive))];
    Config {
        name: if guards { "two-resources-guarded" } else { "two-resources-unguarded" },
        about: "a session with locks on two resources moves, and another wants them, too",
        resources: 2,
        clients: vec![
            on_two_resources(0, &both),
            ClientSetup { roams: false, ..on_two_resources(1, &one_by_one) },
        ],
        limits: Limits { attaches: 1, ..Limits::default() },
        ..base(guards)
    }
}

/// A session with locks on two resources expires.
pub fn two_resources_expiring(guards: bool) -> Config {
    let both = [(0, Lock(Exclusive)), (1, Lock(Exclusive))];
    let tries = [(0, Try(Exclusive)), (1, Try(Exclusive))];
    Config {
        name: if guards { "two-resources-expiring-guarded" } else { "two-resources-expiring-unguarded" },
        about: "a session with locks on two resources expires, or is attached just before",
        resources: 2,
        clients: vec![
            ClientSetup { holds: true, ..on_two_resources(0, &both) },
            ClientSetup { script: on_two_resources(1, &tries).script, ..taker(1) },
        ],
        ticks: 1,
        ..expiring(guards)
    }
}

/// Two servers where all that can be done is done before time goes on.
fn prompt(name: &'static str, about: &'static str, ticks: u8, limits: Limits) -> Config {
    Config { name, about, prompt: true, ticks, limits, ..base(true) }
}

fn patient(home: usize) -> ClientSetup {
    ClientSetup { terms: terms(TTL_MAX), ..client(home, &CYCLE) }
}

/// Wake-ups are lost, and those who wait come to know all the same.
pub fn served_without_news() -> Config {
    let (name, about) = ("served-without-news", "wake-ups are lost, and everybody is served all the same");
    let limits = Limits { lost_news: 3, ..Limits::default() };
    let clients = vec![patient(0), patient(1), patient(0)];
    Config { clients, news: News::Key, ..prompt(name, about, 8, limits) }
}

/// The store is silent at times, and everybody is served in the end.
pub fn served_by_a_silent_store(guards: bool) -> Config {
    let name = if guards { "served-by-silent-guarded" } else { "served-by-silent-unguarded" };
    let about = "the store is silent at times, and everybody is served in the end";
    let limits = Limits { silences: 2, lost_news: 1, ..Limits::default() };
    Config { clients: vec![patient(0), patient(1)], guards, ..prompt(name, about, 8, limits) }
}

/// A client dies, or a server, or both: whoever is left is served.
pub fn served_after_deaths(guards: bool) -> Config {
    let name = if guards { "served-after-deaths-guarded" } else { "served-after-deaths-unguarded" };
    let about = "a client and a server stop for ever, and whoever is left is served";
    let limits = Limits { deaths: 1, crashes: 1, lost_news: 1, silences: 1, ..Limits::default() };
    // A heartbeat is due at each tick, and another server at the second without an acknowledgement.
    let terms = terms(Duration::from_millis(8900));
    let mortal = |home| ClientSetup { terms, ..client(home, &CYCLE) };
    let clients = vec![mortal(0), mortal(1)];
    let config = prompt(name, about, 14, limits);
    Config { clients, guards, members: true, steady: vec![0, 1], ..config }
}

/// One whose session is not in danger.
pub(crate) fn safe(home: usize, script: &[Operation]) -> ClientSetup {
    ClientSetup { terms: terms(TTL_MAX), ..client(home, script) }
}

pub(crate) fn staying(client: ClientSetup) -> ClientSetup {
    ClientSetup { roams: false, ..client }
}

pub(crate) fn holding(client: ClientSetup) -> ClientSetup {
    ClientSetup { holds: true, ..client }
}

/// Two servers, the first of which masters the resource; with a client each.
pub(crate) fn mastered(guards: bool) -> Config {
    Config { masters: true, mastered: true, ..base(guards) }
}

/// A client of another server wants what a server masters.
pub fn recalled(guards: bool) -> Config {
    Config {
        name: if guards { "recalled-guarded" } else { "recalled-unguarded" },
        about: "a server masters the resource, and a client of another wants it",
        clients: vec![safe(0, &[Lock(Exclusive), Unlock, Lock(Exclusive), Unlock]), safe(1, &CYCLE)],
        ..mastered(guards)
    }
}

/// A session moves away from its master, which is asked for the resource.
pub fn recalled_moving(guards: bool) -> Config {
    Config {
        name: if guards { "recalled-moving-guarded" } else { "recalled-moving-unguarded" },
        about: "a session moves away from the master of its resource, which lives",
        clients: vec![safe(0, &[Lock(Exclusive), Unlock]), staying(safe(1, &CYCLE))],
        limits: Limits { attaches: 1, withdrawals: 1, ..Limits::default() },
        ..mastered(guards)
    }
}

/// A server becomes the master while a session moves away from it.
pub fn taking(guards: bool) -> Config {
    Config {
        name: if guards { "taking-guarded" } else { "taking-unguarded" },
        about: "a server becomes the master of a resource while a session moves away from it",
        mastered: false,
        clients: vec![safe(0, &CYCLE), staying(safe(0, &CYCLE)), staying(safe(1, &[Try(Exclusive)]))],
        limits: Limits { attaches: 1, ..Limits::default() },
        ..mastered(guards)
    }
}

/// The store is silent while a resource is asked for and given back.
pub fn recalled_silent(guards: bool) -> Config {
    Config {
        name: if guards { "recalled-silent-guarded" } else { "recalled-silent-unguarded" },
        about: "the store gives no answer while a resource is asked for and given back",
        clients: vec![safe(0, &CYCLE), safe(1, &CYCLE)],
        limits: Limits { silences: 1, retries: 1, ..Limits::default() },
        ..mastered(guards)
    }
}

/// The master dies, its client moves, and another waits.
pub fn recovered(guards: bool) -> Config {
    Config {
        name: if guards { "recovered-guarded" } else { "recovered-unguarded" },
        about: "a master dies, its client moves and claims its lock, and another waits",
        clients: vec![holding(safe(0, &CYCLE)), staying(safe(1, &CYCLE[..1]))],
        members: true,
        steady: vec![0, 1],
        slow_members: true,
        ticks: 1,
        limits: Limits { attaches: 1, departures: 1, ..Limits::default() },
        ..mastered(guards)
    }
}

/// The master falls silent and comes back, while its client moves and another waits.
pub fn returning(guards: bool) -> Config {
    Config {
        name: if guards { "returning-guarded" } else { "returning-unguarded" },
        about: "a master falls silent and comes back, while its client moves and another waits",
        clients: vec![safe(0, &CYCLE[..1]), staying(safe(1, &[Try(Exclusive)]))],
        members: true,
        steady: vec![1],
        ticks: 2,
        news: News::Never,
        limits: Limits { attaches: 1, ..Limits::default() },
        ..mastered(guards)
    }
}

/// The same, where it takes time to write and to read the members' counters, and news are heard.
pub fn returning_slowly(guards: bool) -> Config {
    Config {
        name: if guards { "returning-slowly-guarded" } else { "returning-slowly-unguarded" },
        clients: vec![safe(0, &CYCLE), staying(safe(1, &CYCLE[..1]))],
        slow_members: true,
        news: News::Record,
        ..returning(guards)
    }
}

/// A session leaves a dead master for a server that dies before the claims are answered.
pub fn moving_twice() -> Config {
    Config {
        name: "moving-twice",
        about: "a session leaves a dead master for a server that dies, too, and another waits",
        servers: 3,
        clients: vec![holding(safe(0, &CYCLE[..1])), staying(safe(2, &[Try(Exclusive)]))],
        steady: vec![0, 1, 2],
        slow_members: false,
        news: News::Never,
        limits: Limits { attaches: 2, departures: 2, ..Limits::default() },
        ..recovered(true)
    }
}

/// A server that may be a master dies, or a client, or both: whoever is left is served.
pub fn served_after_masters_death(guards: bool) -> Config {
    let name = if guards { "served-after-master-guarded" } else { "served-after-master-unguarded" };
    let about = "a master stops for ever while it is asked for the resource, and whoever is left is served";
    let limits = Limits { crashes: 1, lost_news: 1, ..Limits::default() };
    let terms = terms(Duration::from_millis(8900));
    let mortal = |home, script: &[Operation]| ClientSetup { terms, ..client(home, script) };
    let clients = vec![mortal(0, &CYCLE), mortal(1, &CYCLE)];
    let config = prompt(name, about, 14, limits);
    let config = Config { clients, guards, members: true, steady: vec![0, 1], ..config };
    Config { masters: true, mastered: true, ..config }
}

/// The configurations that are explored to the end.
pub fn all() -> Vec<Config> {
    vec![
        base(true),
        base(false),
        moving(true),
        moving(false),
        trying(),
        converting(true),
        converting(false),
        silent(true),
        silent(false),
        silent_moving(true),
        silent_moving(false),
        answering_late(true),
        answering_late(false),
        repeating(true),
        repeating(false),
        collecting(true),
        collecting(false),
        expiring(true),
        expiring(false),
        slow_clocks(),
        wandering(true),
        two_resources(true),
        two_resources(false),
        two_resources_expiring(true),
        two_resources_expiring(false),
        served_without_news(),
        served_by_a_silent_store(true),
        served_by_a_silent_store(false),
        served_after_deaths(true),
        served_after_deaths(false),
        recalled(true),
        recalled(false),
        recalled_moving(true),
        recalled_moving(false),
        taking(true),
        taking(false),
        recalled_silent(true),
        recalled_silent(false),
        recovered(true),
        recovered(false),
        returning(true),
        returning(false),
        moving_twice(),
        served_after_masters_death(true),
        served_after_masters_death(false),
    ]
}

/// Those that are too large for that: `--steps` says how far to go.
pub fn large() -> Vec<Config> {
    vec![
        members(true),
        members(false),
        newcomer(),
        leaving(),
        wandering(false),
        returning_slowly(true),
        returning_slowly(false),
    ]
}
