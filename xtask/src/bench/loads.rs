//! Loads: a server, and `dlockctl bench` against it.

use super::plan::Run;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// Runs all, each against a server of its own.
pub(crate) fn measure(programs: &Path, runs: &[Run]) -> Result<Value> {
    let mut rows = Vec::new();
    for run in runs {
        let server = Server::start(programs, run.durable)?;
        let command = format!("dlockctl {}", run.arguments.join(" "));
        eprintln!("{} <- {command}", server.command);
        let output = Command::new(programs.join("dlockctl"))
            .args(&run.arguments)
            .args(["--output", "json"])
            .env("DLOCK_ENDPOINTS", &server.address)
            .stderr(Stdio::inherit())
            .output()
            .context("dlockctl does not start")?;
        if !output.status.success() {
            bail!("`{command}` has failed: {}", output.status);
        }
        let mut row: Value = serde_json::from_slice(&output.stdout).context("dlockctl's report")?;
        row["server"] = json!(server.command);
        row["command"] = json!(command);
        rows.push(row);
    }
    Ok(json!({ "rows": rows }))
}

/// A running server. It is killed when this is dropped.
struct Server {
    process: Child,
    address: String,
    command: &'static str,
    _directory: TempDir,
}

impl Server {
    fn start(programs: &Path, durable: bool) -> Result<Server> {
        let directory = tempfile::tempdir()?;
        let mut command = Command::new(programs.join("dlock"));
        command.args(["--addr", "127.0.0.1:0", "--log-level", "error"]);
        if durable {
            command.arg("--data-dir").arg(directory.path());
        }
        let mut process = command.stdout(Stdio::piped()).spawn().context("dlock does not start")?;
        let output = process.stdout.take().context("its output")?;
        // The second of the lines that it greets with: `at ADDRESS (gRPC)`.
        let line = BufReader::new(output).lines().nth(1).context("dlock has ended")??;
        let address = line.trim_start_matches("at ").trim_end_matches(" (gRPC)").to_owned();
        let command = if durable { "dlock --data-dir DIR" } else { "dlock" };
        Ok(Server { process, address, command, _directory: directory })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has nothing to lose, and may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
