//! A few holders stopped past their leases: `cargo xtask fencing` stops more.
#![allow(clippy::print_stdout)] // a report is what there is to see

use std::process::Command;

#[test]
fn late_writes_do_harm_without_a_check_and_are_refused_with_one() {
    let ran =
        Command::new(env!("CARGO_BIN_EXE_fencing")).args(["--pauses", "4"]).output().expect("the program");
    let report = String::from_utf8_lossy(&ran.stdout);
    println!("{report}");
    assert!(ran.status.success(), "{report}{}", String::from_utf8_lossy(&ran.stderr));
    let lost = |check: &str| {
        let row = report.lines().find(|line| line.starts_with(&format!("| {check} |"))).expect("a row");
        row.rsplit("**").nth(1).expect("a figure").parse::<u64>().expect("a number")
    };
    assert!(lost("never") >= 4, "{report}");
    assert!(lost("by writes only") >= 2, "{report}");
    assert_eq!(lost("by reads and writes"), 0, "{report}");
}
