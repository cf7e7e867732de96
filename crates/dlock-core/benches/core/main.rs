//! What the state machine, the codec and the coordinator cost, each beside a baseline that was measured in the same run.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

mod apply;
mod codec;
mod coordinator;
mod ratios;
mod states;

use criterion::Criterion;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    apply::bench(&mut criterion);
    codec::bench(&mut criterion);
    coordinator::bench(&mut criterion);
    criterion.final_summary();
    ratios::print(&[apply::GROUP, codec::ENCODE, codec::DECODE, coordinator::GROUP]);
}
