//! The results as tables.

use super::document::{Table, milliseconds, shown};
use super::results::{Results, number};
use serde_json::Value;

/// The parts of the document, by name, that can be made of what was measured.
pub(crate) fn all(results: &Results) -> Vec<(&'static str, String)> {
    let mut parts = vec![
        ("machine", machine(results)),
        ("streams", with_floor(results, "streams")),
        ("unary", with_floor(results, "unary")),
        ("durable", plain(results, "durable")),
        ("hot", hot(results)),
        ("shared", shared(results)),
        ("workloads", plain(results, "workloads")),
        ("rates", rates(results)),
        ("idle", idle(results)),
        ("million", held(results)),
        ("stores", pairs(results, "pairs")),
        ("mastered", pairs(results, "mastered")),
        ("contended", contended(results)),
        ("hand-over", hand_over(results)),
        ("servers", servers(results, "servers")),
        ("confined", servers(results, "confined")),
        ("criterion", criterion(results)),
        ("instructions", instructions(results)),
    ];
    parts.retain(|(_, text)| !text.is_empty());
    parts
}

fn text(row: &Value, field: &str) -> String {
    row[field].as_str().unwrap_or_default().to_owned()
}

fn memory(row: &Value, pointer: &str) -> String {
    number(row, pointer)
        .map_or_else(String::new, |bytes| format!("{} MiB", shown(Some(bytes / f64::from(1 << 20)))))
}

/// A table of a part's rows, and the command lines that made them; nothing if there are none.
fn table(results: &Results, part: &str, columns: &[&str], cells: impl Fn(&Value) -> Vec<String>) -> String {
    let rows = results.rows(part);
    if rows.is_empty() {
        return String::new();
    }
    let mut table = Table::new(columns);
    rows.iter().for_each(|row| table.row(&cells(row)));
    format!("{}{}", table.into_text(), commands(rows))
}

fn commands(rows: &[Value]) -> String {
    let mut lines: Vec<String> = rows
        .iter()
        .filter(|row| row["command"].is_string())
        .map(|row| format!("{} & {}", text(row, "server"), text(row, "command")))
        .collect();
    lines.dedup();
    if lines.is_empty() {
        return String::new();
    }
    format!("\n```console\n$ {}\n```\n", lines.join("\n$ "))
}

fn machine(results: &Results) -> String {
    let Some(machine) = results.part("machine") else { return String::new() };
    format!(
        "Measured on {} at commit `{}`: {} × {}, {} GiB, {}, Linux {}, {} ({}).\n",
        text(machine, "date"),
        text(machine, "commit"),
        shown(number(machine, "/processors")).trim_end_matches(".00"),
        text(machine, "processor"),
        shown(number(machine, "/memory_gib")).trim_end_matches(".0"),
        text(machine, "system"),
        text(machine, "kernel"),
        text(machine, "file_system"),
        text(machine, "rust"),
    )
}

fn with_floor(results: &Results, part: &str) -> String {
    let columns = [
        ">in flight",
        "SDK driven by",
        ">pairs/s",
        ">p50",
        ">p99",
        ">p99.9",
        ">echoes/s",
        ">rate ratio (min–max)",
        ">CPU ratio",
        ">latency ratio",
        ">server CPU",
        ">client CPU",
        ">server memory",
    ];
    table(results, part, &columns, |row| {
        let ratio = |which: &str| shown(number(row, &format!("/floor/ratio/{which}")));
        vec![
            shown_count(row, "/in_flight"),
            driver(row),
            shown(number(row, "/pairs_per_second")),
            milliseconds(number(row, "/pair/p50")),
            milliseconds(number(row, "/pair/p99")),
            milliseconds(number(row, "/pair/p999")),
            shown(number(row, "/floor/echoes_per_second")),
            format!("**{}** ({}–{})", ratio("median"), ratio("min"), ratio("max")),
            shown(number(row, "/floor/cpu_ratio")),
            shown(number(row, "/floor/latency_ratio")),
            seconds(row, "/server_cpu_seconds_per_million"),
            seconds(row, "/client_cpu_seconds_per_million"),
            memory(row, "/server_bytes_peak"),
        ]
    })
}

fn driver(row: &Value) -> String {
    match row["driver"].as_str() {
        Some("own") => "its own thread".to_owned(),
        Some(_) => "the load's".to_owned(),
        None => "calls".to_owned(),
    }
}

fn seconds(row: &Value, pointer: &str) -> String {
    number(row, pointer).map_or_else(String::new, |value| format!("{} s", shown(Some(value))))
}

fn shown_count(row: &Value, pointer: &str) -> String {
    number(row, pointer).map_or_else(String::new, |value| {
        let text = shown(Some(value));
        text.trim_end_matches(".00").trim_end_matches(".0").to_owned()
    })
}

/// Loads without a floor.
fn plain(results: &Results, part: &str) -> String {
    let columns = [
        "workload",
        ">in flight",
        ">pairs/s",
        ">refused/s",
        ">p50",
        ">p99",
        ">p99.9",
        ">server CPU",
        ">client CPU",
        ">server memory",
    ];
    table(results, part, &columns, |row| {
        vec![
            text(row, "workload"),
            shown_count(row, "/in_flight"),
            shown(number(row, "/pairs_per_second")),
            shown_count(row, "/refused_per_second"),
            milliseconds(number(row, "/pair/p50")),
            milliseconds(number(row, "/pair/p99")),
            milliseconds(number(row, "/pair/p999")),
            seconds(row, "/server_cpu_seconds_per_million"),
            seconds(row, "/client_cpu_seconds_per_million"),
            memory(row, "/server_bytes_peak"),
        ]
    })
}

fn hot(results: &Results) -> String {
    let columns = [
        "store",
        ">waiting",
        ">hand-overs/s",
        ">hand-over p50",
        ">p99",
        ">wait p50",
        ">p99",
        ">echo p50, one in flight",
        ">hand-over / echo",
        ">server CPU",
    ];
    table(results, "hot", &columns, |row| {
        vec![
            store(row),
            shown_count(row, "/in_flight"),
            shown(number(row, "/pairs_per_second")),
            milliseconds(number(row, "/hand_over/p50")),
            milliseconds(number(row, "/hand_over/p99")),
            milliseconds(number(row, "/acquire/p50")),
            milliseconds(number(row, "/acquire/p99")),
            milliseconds(number(row, "/floor/echo/p50")),
            shown(number(row, "/floor/latency_ratio")),
            seconds(row, "/server_cpu_seconds_per_million"),
        ]
    })
}

fn store(row: &Value) -> String {
    if row["server"].as_str().is_some_and(|server| server.contains("--data-dir")) {
        "durable".to_owned()
    } else {
        "in memory".to_owned()
    }
}

fn shared(results: &Results) -> String {
    let columns =
        [">holders", ">pairs/s", ">acquire p50", ">p99", ">server CPU per million pairs", ">server memory"];
    table(results, "shared", &columns, |row| {
        vec![
            shown_count(row, "/held/locks"),
            shown(number(row, "/pairs_per_second")),
            milliseconds(number(row, "/acquire/p50")),
            milliseconds(number(row, "/acquire/p99")),
            seconds(row, "/server_cpu_seconds_per_million"),
            memory(row, "/server_bytes_peak"),
        ]
    })
}

fn rates(results: &Results) -> String {
    let columns = [
        ">pairs/s asked for",
        ">pairs/s done",
        ">too late to begin",
        ">p50",
        ">p90",
        ">p99",
        ">p99.9",
        ">max",
    ];
    table(results, "rates", &columns, |row| {
        let mut cells = vec![
            shown_count(row, "/rate"),
            shown(number(row, "/pairs_per_second")),
            shown_count(row, "/omitted"),
        ];
        let quantiles = ["p50", "p90", "p99", "p999", "max"];
        cells.extend(quantiles.map(|quantile| milliseconds(number(row, &format!("/pair/{quantile}")))));
        cells
    })
}

fn idle(results: &Results) -> String {
    let columns = [
        ">sessions",
        ">opened/s",
        ">heartbeats/s",
        ">p50",
        ">p99",
        ">server, of a processor",
        ">client",
        ">server memory each",
        ">client",
    ];
    table(results, "idle", &columns, |row| {
        let percent = |pointer| {
            number(row, pointer).map_or_else(String::new, |busy| format!("{} %", shown(Some(busy * 100.0))))
        };
        let bytes =
            |pointer| number(row, pointer).map_or_else(String::new, |b| format!("{} B", shown(Some(b))));
        vec![
            shown_count(row, "/sessions"),
            shown(number(row, "/opened_per_second")),
            shown(number(row, "/acknowledged_per_second")),
            milliseconds(number(row, "/heartbeat/p50")),
            milliseconds(number(row, "/heartbeat/p99")),
            percent("/server_processors"),
            percent("/client_processors"),
            bytes("/server_bytes_each"),
            bytes("/client_bytes_each"),
        ]
    })
}

fn held(results: &Results) -> String {
    let columns = [
        ">locks held",
        ">acquired/s",
        ">server memory each",
        ">client",
        ">pairs/s beside them",
        ">p50",
        ">p99",
        ">server memory",
    ];
    table(results, "million", &columns, |row| {
        let bytes =
            |pointer| number(row, pointer).map_or_else(String::new, |b| format!("{} B", shown(Some(b))));
        vec![
            shown_count(row, "/held/locks"),
            shown(number(row, "/held/acquired_per_second")),
            bytes("/held/server_bytes_each"),
            bytes("/held/client_bytes_each"),
            shown(number(row, "/pairs_per_second")),
            milliseconds(number(row, "/pair/p50")),
            milliseconds(number(row, "/pair/p99")),
            memory(row, "/server_bytes_peak"),
        ]
    })
}

/// A table over all stores, of a list that each has.
fn over_stores(
    results: &Results,
    list: &str,
    columns: &[&str],
    cells: impl Fn(&Value) -> Vec<String>,
) -> String {
    let mut table = Table::new(columns);
    let mut any = false;
    for store in results.rows("stores") {
        for row in store[list].as_array().into_iter().flatten() {
            let mut all = vec![text(store, "title")];
            all.extend(cells(row));
            table.row(&all);
            any = true;
        }
    }
    if any { table.into_text() } else { String::new() }
}

/// One of the lists of pairs over stores.
fn pairs(results: &Results, list: &str) -> String {
    let columns = [
        "store",
        ">in flight",
        ">raw",
        ">recipe",
        ">**dlock**",
        ">p50",
        ">p99",
        ">dlock / raw",
        ">dlock / recipe",
    ];
    over_stores(results, list, &columns, |row| {
        let rate = |field: &str| shown(number(row, field));
        let time = |field: &str| milliseconds(number(row, field).map(|ms| ms * 1000.0));
        vec![
            shown_count(row, "/in_flight"),
            rate("/raw_per_second"),
            rate("/recipe_per_second"),
            rate("/dlock_per_second"),
            time("/dlock_p50"),
            time("/dlock_p99"),
            rate("/dlock_to_raw"),
            rate("/dlock_to_recipe"),
        ]
    })
}

fn contended(results: &Results) -> String {
    let columns = ["store", "", ">hand-overs/s", ">p50 of a wait", ">p99"];
    over_stores(results, "contended", &columns, |row| {
        let time = |field: &str| milliseconds(number(row, field).map(|ms| ms * 1000.0));
        vec![
            text(row, "who"),
            shown(number(row, "/hand_overs_per_second")),
            time("/wait_p50"),
            time("/wait_p99"),
        ]
    })
}

fn hand_over(results: &Results) -> String {
    over_stores(results, "hand_over", &["store", "", ">p50", ">p99"], |row| {
        let time = |field: &str| milliseconds(number(row, field).map(|ms| ms * 1000.0));
        vec![text(row, "who"), time("/p50"), time("/p99")]
    })
}

fn servers(results: &Results, which: &str) -> String {
    over_stores(results, which, &["store", ">servers", ">pairs/s"], |row| {
        vec![shown_count(row, "/servers"), shown(number(row, "/pairs_per_second"))]
    })
}

fn criterion(results: &Results) -> String {
    table(results, "criterion", &["what", "", ">median", ">of the baseline"], |row| {
        let time = number(row, "/nanoseconds").map(|time| format!("{} ns", shown(Some(time))));
        vec![text(row, "group"), text(row, "name"), time.unwrap_or_default(), shown(number(row, "/ratio"))]
    })
}

fn instructions(results: &Results) -> String {
    table(results, "instructions", &["path", ">instructions", ">limit", "of these"], |row| {
        vec![
            text(row, "path"),
            shown_count(row, "/instructions"),
            shown_count(row, "/limit"),
            text(row, "largest"),
        ]
    })
}
