//! `dlockctl bench`: that each load runs, and that what it says of it adds up. Nothing is said of how fast it is.

use crate::world::Server;
use serde_json::Value;

/// Runs a short bench.
fn bench(server: &Server, arguments: &[&str]) -> Value {
    let short = ["bench", "--duration", "200ms", "--warm-up", "50ms"];
    let report = server.json(&[&short, arguments].concat());
    assert_eq!(report["errors"], 0, "{arguments:?}: {report}");
    report
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn a_bench_measures_both_sides() {
    let server = Server::start();
    let report = bench(&server, &["--clients", "2", "--in-flight", "8", "--threads", "2"]);
    assert!(number(&report["pairs"]) > 0.0 && number(&report["pair"]["p50"]) > 0.0);
    assert_eq!(report["loop"], "closed");
    for used in ["client_cpu_seconds_per_million", "server_cpu_seconds_per_million", "server_bytes_peak"] {
        assert!(number(&report[used]) > 0.0, "{used}");
    }
}

#[test]
fn every_workload_runs_by_streams_and_by_calls() {
    let server = Server::start();
    let workloads = ["hot", "mixed", "read-shared", "convert", "try", "sessions"];
    for workload in workloads {
        let load = ["--workload", workload, "--clients", "2", "--in-flight", "4"];
        let report = bench(&server, &load);
        assert!(number(&report["pairs"]) + number(&report["refused"]) > 0.0, "{workload}");
        if workload != "sessions" {
            bench(&server, &[&load[..], &["--unary", "--connections", "1"]].concat());
        }
        bench(&server, &[&load[..], &["--driver", "load"]].concat());
    }
    let report = bench(&server, &["--workload", "hot", "--in-flight", "4"]);
    assert!(number(&report["hand_over"]["p50"]) > 0.0);
    let report = bench(&server, &["--workload", "try", "--in-flight", "4"]);
    assert!(number(&report["refused"]) > 0.0);
}

#[test]
fn an_open_loop_begins_as_many_as_it_is_told_to() {
    let server = Server::start();
    let report = bench(&server, &["--in-flight", "64", "--rate", "500"]);
    assert_eq!(report["loop"], "open");
    // 200 ms of them, one more or less at either end.
    let all = number(&report["pairs"]) + number(&report["omitted"]);
    assert!((99.0..=101.0).contains(&all), "{all}");
}

#[test]
fn a_floor_is_measured_in_turns() {
    let server = Server::start();
    for calls in [&[][..], &["--unary"]] {
        let report = bench(&server, &[&["--in-flight", "4", "--floor"], calls].concat());
        assert_eq!(report["slices"], 4);
        let floor = &report["floor"];
        let ratio = |which| number(&floor["ratio"][which]);
        // A machine that is busy elsewhere may do nothing in the 50 ms of a slice.
        assert!(0.0 <= ratio("min") && ratio("min") <= ratio("median") && ratio("median") <= ratio("max"));
        assert!(ratio("max") > 0.0);
        assert!(number(&floor["cpu_ratio"]) > 0.0 && number(&floor["latency_ratio"]) > 0.0);
    }
}

#[test]
fn locks_are_held_beside_the_load_and_weighed() {
    let server = Server::start();
    let report = bench(&server, &["--workload", "read-shared", "--held", "2000"]);
    assert_eq!(report["held"]["locks"], 2000);
    // So many that they don't fit into what the server's allocator had in reserve.
    let report = bench(&server, &["--held", "30000"]);
    assert_eq!(report["held"]["locks"], 30000);
    assert!(number(&report["held"]["server_bytes_each"]) > 0.0);
    let sessions = server.json(&["sessions"]);
    assert!(sessions.as_array().unwrap().iter().all(|session| session["active"] == false), "{sessions}");
}

#[test]
fn idle_sessions_live_by_their_heartbeats() {
    let server = Server::start();
    let load = ["--workload", "idle-sessions", "--sessions", "50", "--connections", "2", "--ttl", "1s"];
    let long = ["bench", "--duration", "1s", "--warm-up", "50ms"];
    let report = server.json(&[&long[..], &load].concat());
    assert_eq!(report["errors"], 0, "{report}");
    assert_eq!(report["sessions"], 50);
    assert!(number(&report["acknowledged"]) > 0.0 && number(&report["server_processors"]) > 0.0);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let server = Server::start();
    for arguments in [
        &["--clients", "2"][..],
        &["--floor", "--rate", "5"],
        &["--workload", "sessions", "--floor"],
        &["--workload", "idle-sessions", "--unary"],
        &["--in-flight", "2", "--clients", "2", "--connections", "1"],
    ] {
        assert_eq!(server.code(&[&["bench"], arguments].concat()), 64, "{arguments:?}");
    }
}
