//! A short run of faults over each kind of store: `cargo xtask chaos` makes long ones.
#![allow(clippy::print_stdout)] // a report is what there is to see

use std::process::Command;

fn disturb(backend: &str) {
    let ran = Command::new(env!("CARGO_BIN_EXE_chaos"))
        .args(["--backend", backend, "--minutes", "0.4", "--clients", "4", "--commands", "2"])
        .output()
        .expect("the program");
    let report = String::from_utf8_lossy(&ran.stdout);
    println!("{report}");
    assert!(ran.status.success(), "{report}{}", String::from_utf8_lossy(&ran.stderr));
    assert!(report.contains("| **violations** | **0** |"), "{report}");
}

#[test]
fn embedded() {
    disturb("embedded");
}

#[test]
fn etcd_cluster() {
    disturb("etcd-cluster");
}

#[test]
fn redis() {
    disturb("redis");
}

#[test]
fn redis_quorum() {
    disturb("redis-quorum");
}

#[test]
fn nats_cluster() {
    disturb("nats-cluster");
}
