//! Metrics and health over HTTP, for Prometheus and for load balancers.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use dlock_engine::{Engine, Statistics};
use dlock_runtime::ProcessUsage;
use std::fmt::Display;
use std::future::Future;
use tokio::net::TcpListener;

/// Serves `/metrics` (Prometheus' text format) and `/healthz` (200 or 503) until `stop` completes.
pub async fn serve(
    listener: TcpListener,
    engine: Engine,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let router =
        Router::new().route("/metrics", get(metrics)).route("/healthz", get(health)).with_state(engine);
    axum::serve(listener, router).with_graceful_shutdown(stop).await
}

async fn metrics(State(engine): State<Engine>) -> impl IntoResponse {
    let mut text = render(&engine.statistics(), engine.health().borrow().serving);
    text.extend(ProcessUsage::now().as_ref().map(render_process));
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}

async fn health(State(engine): State<Engine>) -> impl IntoResponse {
    let health = engine.health().borrow().clone();
    let status = if health.serving { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut text = if health.serving { "serving\n" } else { "not serving\n" }.to_owned();
    for condition in health.conditions {
        text.push_str(&format!("{}: {}\n", condition.code, condition.message));
    }
    (status, text)
}

fn render(statistics: &Statistics, serving: bool) -> String {
    let Statistics {
        sessions,
        resources,
        grants,
        releases,
        waiting,
        commits,
        conflicts,
        expired,
        from_memory,
    } = statistics;
    let mut text = String::new();
    let mut metric = |name: &str, kind: &str, help: &str, value: u64| {
        write(&mut text, &format!("dlock_{name}"), kind, help, value);
    };
    metric("serving", "gauge", "1 if requests are served.", u64::from(serving));
    metric("sessions", "gauge", "Sessions at home here.", *sessions as u64);
    metric("resources", "gauge", "Resources in memory.", *resources as u64);
    metric("waiting", "gauge", "Requests that wait, of sessions at home here.", *waiting as u64);
    metric("grants_total", "counter", "Grants since the start.", *grants);
    metric("releases_total", "counter", "Releases since the start.", *releases);
    metric("commits_total", "counter", "Commits sent to the store since the start.", *commits);
    metric("conflicts_total", "counter", "Commits that met a newer version.", *conflicts);
    metric("sessions_expired_total", "counter", "Sessions expired by this server since the start.", *expired);
    metric("from_memory_total", "counter", "Requests answered from memory since the start.", *from_memory);
    text
}

/// What every process shows to Prometheus, by the names that it has for them.
fn render_process(usage: &ProcessUsage) -> String {
    let ProcessUsage { cpu, resident_bytes, resident_bytes_peak: _ } = usage;
    let mut text = String::new();
    let cpu = cpu.as_secs_f64();
    write(
        &mut text,
        "process_cpu_seconds_total",
        "counter",
        "User and system CPU time spent, in seconds.",
        cpu,
    );
    write(&mut text, "process_resident_memory_bytes", "gauge", "Resident memory, in bytes.", resident_bytes);
    text
}

fn write(text: &mut String, name: &str, kind: &str, help: &str, value: impl Display) {
    text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn metrics_have_help_type_and_value() {
        let text = render(&Statistics { grants: 7, ..Statistics::default() }, true);
        assert!(text.contains("# TYPE dlock_grants_total counter\ndlock_grants_total 7\n"));
        assert!(text.contains("dlock_serving 1\n"));
        let usage =
            ProcessUsage { cpu: Duration::from_millis(1500), resident_bytes: 7, resident_bytes_peak: 9 };
        assert!(render_process(&usage).contains("\nprocess_cpu_seconds_total 1.5\n"));
        assert_eq!(text.lines().filter(|line| line.starts_with("# HELP")).count(), text.lines().count() / 3);
    }
}
