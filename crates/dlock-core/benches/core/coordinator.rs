//! Commands through the coordinator, with a store that answers at once.

use crate::states::{OWN, acquire, release};
use criterion::{BenchmarkId, Criterion};
use dlock_core::coordinator::{
    Action, Commit, CommitResult, Content, Coordinator, Loaded, Rules, SessionGuard,
};
use dlock_core::resource::{Command, Patience, Resource};
use dlock_core::{LockId, LockKey, Mode, Token};
use std::hint::black_box;

pub(crate) const GROUP: &str = "coordinator";

/// A coordinator, and the version that its store has reached.
struct Played {
    coordinator: Coordinator<u64>,
    version: u64,
    actions: Vec<Action<u64>>,
}

impl Played {
    fn new() -> Played {
        Played { coordinator: Coordinator::new(), version: 0, actions: Vec::new() }
    }

    /// Takes commands until nothing is left to be done; how many were answered.
    fn take(&mut self, commands: &[Command]) -> usize {
        let guard = SessionGuard { session: OWN.session, version: 1, moved: false, claims_all: true };
        for (ticket, command) in commands.iter().enumerate() {
            self.coordinator.submit(
                ticket as u64,
                command.clone(),
                Some(guard),
                &Rules::ALONE,
                &mut self.actions,
            );
        }
        let mut answers = 0;
        while let Some(action) = self.actions.pop() {
            match action {
                Action::Load => {
                    let absent = Loaded { version: self.version, content: Content::Absent { floor: 0 } };
                    self.coordinator.loaded(Ok(absent), &Rules::ALONE, &mut self.actions);
                }
                Action::Commit(commit) => {
                    let result = self.commit(&commit);
                    self.coordinator.committed(result, &Rules::ALONE, &mut self.actions);
                }
                other => {
                    black_box(other);
                    answers += 1;
                }
            }
        }
        answers
    }

    fn commit(&mut self, commit: &Commit) -> CommitResult {
        assert_eq!(commit.expected, self.version);
        black_box(&commit.change);
        self.version += 1;
        CommitResult::Committed { version: self.version }
    }
}

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group(GROUP);
    let commands = [acquire(OWN, Mode::Exclusive, Patience::Wait), release(OWN)];
    // The same without a store: only what the commands do.
    group.bench_function(crate::ratios::BASELINE, |bencher| {
        let mut resource = Resource::new(Token::ZERO);
        bencher.iter(|| {
            for command in &commands {
                black_box(resource.apply(black_box(command), 0));
            }
        });
    });
    group.bench_function("acquire and release, a commit each", |bencher| {
        let mut played = Played::new();
        bencher.iter(|| {
            for command in &commands {
                assert_eq!(played.take(black_box(std::slice::from_ref(command))), 1);
            }
        });
    });
    for count in [16, 256] {
        let locks = (1..=count).map(|lock| LockKey { session: OWN.session, lock: LockId(lock) });
        let acquires = locks.clone().map(|key| acquire(key, Mode::ProtectedRead, Patience::Wait));
        let (acquires, releases): (Vec<_>, Vec<_>) = (acquires.collect(), locks.map(release).collect());
        group.bench_function(BenchmarkId::new("acquires and releases that gathered", count), |bencher| {
            let mut played = Played::new();
            bencher.iter(|| {
                assert_eq!(played.take(black_box(&acquires)), acquires.len());
                assert_eq!(played.take(black_box(&releases)), releases.len());
            });
        });
    }
    group.finish();
}
