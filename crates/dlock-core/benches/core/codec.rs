//! Records to bytes and back.

use crate::states::{held_by, waited_for_by};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion};
use dlock_core::Mode;
use dlock_core::resource::Resource;
use std::hint::black_box;

pub(crate) const ENCODE: &str = "encode";
pub(crate) const DECODE: &str = "decode";

fn resources() -> [(&'static str, Resource); 5] {
    [
        ("nobody", held_by(0, Mode::Exclusive)),
        ("a holder", held_by(1, Mode::Exclusive)),
        ("64 holders", held_by(64, Mode::ProtectedRead)),
        ("1,000 holders", held_by(1_000, Mode::ProtectedRead)),
        ("a holder and 64 waiters", waited_for_by(64)),
    ]
}

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group(ENCODE);
    copy(&mut group);
    for (state, resource) in resources() {
        group.bench_function(BenchmarkId::from_parameter(state), |bencher| {
            bencher.iter(|| black_box(black_box(&resource).encode()));
        });
    }
    group.finish();
    let mut group = criterion.benchmark_group(DECODE);
    copy(&mut group);
    for (state, resource) in resources() {
        let bytes = resource.encode();
        group.bench_function(BenchmarkId::from_parameter(state), |bencher| {
            bencher.iter(|| black_box(Resource::decode(black_box(&bytes)).unwrap()));
        });
    }
    group.finish();
}

/// The bytes of a record with one holder, copied.
fn copy(group: &mut BenchmarkGroup<'_, WallTime>) {
    let bytes = held_by(1, Mode::Exclusive).encode();
    group.bench_function(crate::ratios::BASELINE, |bencher| {
        bencher.iter(|| black_box(black_box(&bytes).to_vec()));
    });
}
