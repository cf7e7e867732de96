//! `Resource::apply`, command by command, by the number of holders and of those who wait.

use crate::states::{OWN, acquire, convert, held_by, release, waited_for_by};
use criterion::{BenchmarkId, Criterion};
use dlock_core::resource::{Command, Outcome, Patience, Resource};
use dlock_core::{LockKey, Mode};
use std::collections::HashMap;
use std::hint::black_box;

pub(crate) const GROUP: &str = "apply";

/// Two commands one after the other, after which all is as before.
fn pair(resource: &mut Resource, [first, second]: &[Command; 2]) {
    assert!(black_box(resource.apply(black_box(first), 0)).changed);
    assert!(black_box(resource.apply(black_box(second), 0)).changed);
}

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group(GROUP);
    // What no bookkeeping of who holds what can do without.
    group.bench_function(crate::ratios::BASELINE, |bencher| {
        let mut map: HashMap<LockKey, u64, foldhash::fast::RandomState> = HashMap::default();
        bencher.iter(|| {
            map.insert(black_box(OWN), black_box(7));
            black_box(map.remove(black_box(&OWN)))
        });
    });
    for holders in [0, 1, 100, 10_000] {
        let mode = if holders == 0 { Mode::Exclusive } else { Mode::ProtectedRead };
        let mut resource = held_by(holders, Mode::ProtectedRead);
        let commands = [acquire(OWN, mode, Patience::Wait), release(OWN)];
        group.bench_function(BenchmarkId::new("acquire and release, holders", holders), |bencher| {
            bencher.iter(|| pair(&mut resource, &commands));
        });
    }
    for holders in [0, 100, 10_000] {
        let mut resource = held_by(holders, Mode::ConcurrentRead);
        resource.apply(&acquire(OWN, Mode::ConcurrentRead, Patience::Wait), 0);
        let commands = [convert(OWN, Mode::ProtectedRead), convert(OWN, Mode::ConcurrentRead)];
        group.bench_function(BenchmarkId::new("convert up and down, other holders", holders), |bencher| {
            bencher.iter(|| pair(&mut resource, &commands));
        });
    }
    for holders in [1, 100, 10_000] {
        let mut resource = held_by(holders, Mode::ProtectedRead);
        let attempt = acquire(OWN, Mode::Exclusive, Patience::Try);
        group.bench_function(BenchmarkId::new("a try refused, holders", holders), |bencher| {
            bencher.iter(|| black_box(resource.apply(black_box(&attempt), 0)));
        });
    }
    for waiters in [0, 64, 1_000] {
        let mut resource = waited_for_by(waiters);
        let commands = [acquire(OWN, Mode::Exclusive, Patience::Wait), release(OWN)];
        group.bench_function(BenchmarkId::new("wait and withdraw, waiters", waiters), |bencher| {
            bencher.iter(|| pair(&mut resource, &commands));
        });
    }
    for waiters in [1, 64, 1_000] {
        let mut resource = waited_for_by(waiters);
        group.bench_function(BenchmarkId::new("hand over and wait again, waiters", waiters), |bencher| {
            let mut holder = resource.holders().next().unwrap().key;
            bencher.iter(|| {
                let released = resource.apply(&release(holder), 0);
                let next = released.promoted[0].key;
                let again = resource.apply(&acquire(holder, Mode::Exclusive, Patience::Wait), 0);
                assert!(matches!(again.outcome, Outcome::Queued(_)));
                holder = next;
            });
        });
    }
    group.finish();
}
