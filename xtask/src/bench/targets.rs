//! The targets, and how far each is reached.

use super::document::{Table, shown};
use super::results::{Results, number};
use serde_json::{Value, json};

/// What a path is to reach.
struct Target {
    path: String,
    target: String,
    measured: Option<f64>,
    reached: fn(f64, f64) -> bool,
    bound: f64,
    unit: &'static str,
}

fn at_least(measured: f64, bound: f64) -> bool {
    measured >= bound
}

fn at_most(measured: f64, bound: f64) -> bool {
    measured <= bound
}

/// The table of all targets; those that were not measured say so.
pub(crate) fn table(results: &Results) -> String {
    let mut table = Table::new(&["path", "target", ">measured", ""]);
    for Target { path, target, measured, reached, bound, unit } in targets(results) {
        let verdict = match measured {
            None => "not measured",
            Some(measured) if reached(measured, bound) => "reached",
            Some(_) => "**not yet**",
        };
        let measured = measured.map_or_else(String::new, |value| format!("{}{unit}", shown(Some(value))));
        table.row(&[path, target, measured, verdict.to_owned()]);
    }
    table.into_text()
}

fn targets(results: &Results) -> Vec<Target> {
    let mut targets = Vec::new();
    let mut add = |path: String, target: String, measured, reached, bound, unit| {
        targets.push(Target { path, target, measured, reached, bound, unit });
    };
    add(
        "core `apply`, uncontended".to_owned(),
        "under 100 ns a command".to_owned(),
        criterion(results, "acquire and release, holders/0").map(|pair| pair / 2.0),
        at_most,
        100.0,
        " ns",
    );
    let growth = |few: &str, many: &str| Some(criterion(results, many)? / criterion(results, few)?);
    add(
        "core `apply`, 10,000 holders".to_owned(),
        "as with 100 (at most 2 ×)".to_owned(),
        growth("acquire and release, holders/100", "acquire and release, holders/10000"),
        at_most,
        2.0,
        " ×",
    );
    add(
        "core `apply`, 1,000 waiters".to_owned(),
        "as log n (at most 2 × that of 64)".to_owned(),
        growth("hand over and wait again, waiters/64", "hand over and wait again, waiters/1000"),
        at_most,
        2.0,
        " ×",
    );
    let streams = |in_flight: u32| {
        results.row("streams", &[("in_flight", json!(in_flight)), ("driver", json!("load"))])
    };
    for in_flight in [64, 1024] {
        add(
            format!("in memory, streams, {in_flight} in flight"),
            "0.6 of the echo's message rate".to_owned(),
            streams(in_flight).and_then(|row| number(row, "/floor/ratio/median")),
            at_least,
            0.6,
            "",
        );
    }
    add(
        "in memory, streams, one in flight".to_owned(),
        "a pair in 1.15 × two echoes".to_owned(),
        streams(1).and_then(|row| number(row, "/floor/latency_ratio")),
        at_most,
        1.15,
        " ×",
    );
    for in_flight in [64, 1024] {
        let row = results.row("unary", &[("in_flight", json!(in_flight))]);
        add(
            format!("unary calls, {in_flight} in flight"),
            "0.85 of unary echo".to_owned(),
            row.and_then(|row| number(row, "/floor/ratio/median")),
            at_least,
            0.85,
            "",
        );
    }
    for store in ["embedded", "etcd", "redis", "nats"] {
        for in_flight in [64, 512] {
            let pairs = listed(results, store, "pairs", "in_flight", &json!(in_flight));
            let (path, bound) = match store {
                "embedded" => (format!("durable, {in_flight} in flight"), 0.7),
                _ => (format!("{store}, {in_flight} in flight"), 0.9),
            };
            let what = if store == "embedded" { "the disk's group commit" } else { "raw compare-and-swaps" };
            let measured = pairs.and_then(|row| number(row, "/dlock_to_raw"));
            add(path.clone(), format!("{bound} of {what}"), measured, at_least, bound, "");
            let times = match store {
                "embedded" => continue,
                "redis" => 1.2,
                _ => 3.0,
            };
            let measured = pairs.and_then(|row| number(row, "/dlock_to_recipe"));
            add(path.clone(), format!("{times} × the recipe"), measured, at_least, times, " ×");
            let mastered = listed(results, store, "mastered", "in_flight", &json!(in_flight));
            for (field, bound, what, unit) in [
                ("/dlock_to_raw", bound, format!("{bound} of {what}"), ""),
                ("/dlock_to_recipe", times, format!("{times} × the recipe"), " ×"),
            ] {
                let measured = mastered.and_then(|row| number(row, field));
                add(format!("{path}, mastered"), what, measured, at_least, bound, unit);
            }
        }
    }
    for (store, (who, kind)) in ["etcd", "redis", "nats"].into_iter().flat_map(|store| {
        [("dlock, one server", ""), ("dlock, mastered", ", mastered")].map(|who| (store, who))
    }) {
        let value = |list: &str, who: &str, field: &str| {
            number(listed(results, store, list, "who", &json!(who))?, field)
        };
        let ratio = |dlock: Option<f64>, other: Option<f64>| Some(dlock? / other?);
        add(
            format!("hot, {store}{kind}"),
            "a hand-over in 1.3 × a raw commit and notification".to_owned(),
            ratio(
                value("hand_over", who, "/p50"),
                value("hand_over", "a raw commit that is told elsewhere", "/p50"),
            ),
            at_most,
            1.3,
            " ×",
        );
        add(
            format!("hot, {store}{kind}, 64 waiting"),
            "2 × the recipe".to_owned(),
            ratio(
                value("contended", who, "/hand_overs_per_second"),
                value("contended", "recipe", "/hand_overs_per_second"),
            ),
            at_least,
            2.0,
            " ×",
        );
    }
    let hot = results.row("hot", &[("in_flight", json!(64)), ("server", json!("dlock"))]);
    add(
        "hot, in memory, 64 waiting".to_owned(),
        "a hand-over in 1.3 × an echo".to_owned(),
        hot.and_then(|row| number(row, "/floor/latency_ratio")),
        at_most,
        1.3,
        " ×",
    );
    let shared = results.rows("shared");
    add(
        "read-shared, most holders".to_owned(),
        "the server's time as with the fewest (at most 1.2 ×)".to_owned(),
        ends(shared, "/server_cpu_seconds_per_million").map(|[few, many]| many / few),
        at_most,
        1.2,
        " ×",
    );
    let idle = results.rows("idle").last();
    add(
        "idle sessions".to_owned(),
        "under 25 % of a processor".to_owned(),
        idle.and_then(|row| number(row, "/server_processors")).map(|busy| busy * 100.0),
        at_most,
        25.0,
        " %",
    );
    add(
        "idle sessions".to_owned(),
        "under 2 KiB each".to_owned(),
        idle.and_then(|row| number(row, "/server_bytes_each")),
        at_most,
        2048.0,
        " B",
    );
    let held = results.rows("million");
    add(
        "one million locks held".to_owned(),
        "under 400 bytes each".to_owned(),
        held.last().and_then(|row| number(row, "/held/server_bytes_each")),
        at_most,
        400.0,
        " B",
    );
    add(
        "one million locks held".to_owned(),
        "latency as with a thousand (at most 1.2 ×)".to_owned(),
        ends(held, "/pair/p50").map(|[few, many]| many / few),
        at_most,
        1.2,
        " ×",
    );
    for store in ["etcd", "redis", "nats"] {
        let scale = results.row("stores", &[("backend", json!(store))]);
        let servers = scale.and_then(|row| row["confined"].as_array()).map_or(&[][..], Vec::as_slice);
        add(
            format!("servers over {store}, a fifth of a processor each"),
            "more with more servers".to_owned(),
            ends(servers, "/pairs_per_second").map(|[one, many]| many / one),
            at_least,
            1.0,
            " ×",
        );
    }
    targets
}

fn criterion(results: &Results, name: &str) -> Option<f64> {
    let row = results.row("criterion", &[("group", json!("apply")), ("name", json!(name))])?;
    number(row, "/nanoseconds")
}

/// An entry of a store's list.
fn listed<'a>(
    results: &'a Results,
    store: &str,
    list: &str,
    field: &str,
    value: &Value,
) -> Option<&'a Value> {
    let store = results.row("stores", &[("backend", json!(store))])?;
    store[list].as_array()?.iter().find(|row| row[field] == *value)
}

/// A number of the first row and of the last one.
fn ends(rows: &[Value], pointer: &str) -> Option<[f64; 2]> {
    Some([number(rows.first()?, pointer)?, number(rows.last()?, pointer)?])
}
