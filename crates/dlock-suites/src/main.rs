//! Runs both levels of the conformance suite over all backends, and prints a table: one row for each behaviour, one
//! column for each backend. With `--write`, it becomes `docs/conformance.md`, and README's matrix of features is made
//! from it.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods)]

use dlock_backend_embedded::EmbeddedStore;
use dlock_store::Store;
use dlock_store::conformance::run_all;
use dlock_suites::{Backend, Deployment, service};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// README's features, and the behaviours that each of them is.
const FEATURES: [(&str, &[&str]); 12] = [
    (
        "NL, CR, CW, PR, PW, EX",
        &["two_modes_are_held_at_once_exactly_if_the_table_says_so", "many_readers_share_one_resource"],
    ),
    (
        "conversion, deadlock refused",
        &[
            "a_conversion_waits_for_holders_elsewhere",
            "two_conversions_that_wait_for_each_other_are_a_deadlock",
        ],
    ),
    (
        "try, wait with a deadline, cancel",
        &[
            "a_try_fails_fast_when_it_is_held",
            "a_wait_ends_at_its_deadline",
            "a_blocked_wait_can_be_cancelled",
        ],
    ),
    (
        "one fair queue for all servers",
        &[
            "the_queue_is_first_come_first_served_across_servers",
            "readers_do_not_overtake_a_writer_that_waits",
        ],
    ),
    ("places in the queue", &["a_place_in_the_queue_is_told"]),
    ("blocking notifications", &["a_holder_is_told_whom_it_blocks_elsewhere"]),
    (
        "value blocks",
        &["a_value_goes_from_a_writer_to_readers_elsewhere", "the_death_of_a_writer_marks_the_value"],
    ),
    (
        "fencing tokens that grow",
        &["tokens_grow_from_holder_to_holder", "absence_remembers_the_greatest_floor"],
    ),
    (
        "sessions expire and close",
        &["a_silent_clients_locks_pass_on", "a_closed_sessions_locks_are_free_at_once"],
    ),
    ("sessions move between servers", &["a_session_moves_with_its_locks_and_places"]),
    ("any name", &["any_name_can_be_locked", "odd_keys_are_told_apart"]),
    (
        "no ABA: versions grow across deletions",
        &["versions_grow_across_deletions", "an_old_absence_is_not_taken_for_a_new_one"],
    ),
];

type Results = BTreeMap<&'static str, bool>;

/// Three, as of three servers; the embedded store has one.
async fn handles(deployment: &Deployment) -> Vec<Arc<dyn Store>> {
    if deployment.backend == Backend::Embedded {
        return vec![Arc::new(EmbeddedStore::in_memory_shared())];
    }
    let mut handles = Vec::new();
    for _ in 0..3 {
        handles.push(deployment.open_store().await.unwrap());
    }
    handles
}

fn run(runtime: &tokio::runtime::Runtime, backend: Backend) -> Results {
    let deployment = Arc::new(Deployment::start(backend, 3));
    let store = runtime.block_on(async { run_all(&handles(&deployment).await).await });
    let mut results: Results = store.into_iter().map(|report| (report.behaviour, report.passed)).collect();
    results.extend(runtime.block_on(service::run_all(&deployment)));
    results
}

fn table(columns: &[(&str, Results)], rows: &[&'static str]) -> String {
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let mut table = format!("| | {} |\n|---|{}\n", names.join(" | "), "---|".repeat(names.len()));
    for row in rows {
        let passed = columns.iter().map(|(_, results)| if results[row] { "yes" } else { "**no**" });
        table.push_str(&format!(
            "| {} | {} |\n",
            row.replace('_', " "),
            passed.collect::<Vec<_>>().join(" | ")
        ));
    }
    table
}

fn features(columns: &[(&str, Results)]) -> String {
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let mut table = format!("| | {} |\n|---|{}\n", names.join(" | "), "---|".repeat(names.len()));
    for (feature, behaviours) in FEATURES {
        let has = |results: &Results| behaviours.iter().all(|behaviour| results[behaviour]);
        let cells = columns.iter().map(|(_, results)| if has(results) { "yes" } else { "**no**" });
        table.push_str(&format!("| {feature} | {} |\n", cells.collect::<Vec<_>>().join(" | ")));
    }
    table
}

/// Puts the text between the marks.
fn replace(path: &Path, mark: &str, text: &str) {
    let old = std::fs::read_to_string(path).unwrap();
    let (begin, end) = (format!("<!-- {mark} -->\n"), format!("<!-- /{mark} -->"));
    let (before, rest) = old.split_once(&begin).expect("the mark");
    let (_, after) = rest.split_once(&end).expect("the end mark");
    std::fs::write(path, format!("{before}{begin}{text}{end}{after}")).unwrap();
}

fn main() {
    let write = std::env::args().nth(1).is_some_and(|argument| argument == "--write");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let columns: Vec<(&str, Results)> =
        Backend::ALL.into_iter().map(|backend| (backend.title(), run(&runtime, backend))).collect();
    let store: Vec<&str> =
        dlock_store::conformance::BEHAVIOURS.iter().map(|behaviour| behaviour.name).collect();
    let service: Vec<&str> = service::BEHAVIOURS.iter().map(|behaviour| behaviour.name).collect();
    let (store, service) = (table(&columns, &store), table(&columns, &service));
    println!("{store}\n{service}\n{}", features(&columns));
    if write {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        replace(&root.join("docs/conformance.md"), "store", &store);
        replace(&root.join("docs/conformance.md"), "service", &service);
        replace(&root.join("README.md"), "features", &features(&columns));
    }
    let passed = columns.iter().all(|(_, results)| results.values().all(|passed| *passed));
    std::process::exit(i32::from(!passed));
}
