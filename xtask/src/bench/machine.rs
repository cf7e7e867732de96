//! What it was measured on.

use serde_json::{Value, json};
use xshell::{Shell, cmd};

/// The machine, its system and the state of the sources.
pub(crate) fn describe(sh: &Shell) -> Value {
    let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once([':', '=']).map_or("unknown", |(_, value)| value.trim().trim_matches('"')).to_owned()
    };
    let (processors, memory, system) =
        (file("/proc/cpuinfo"), file("/proc/meminfo"), file("/etc/os-release"));
    let kibibytes: u64 = field(&memory, "MemTotal").trim_end_matches(" kB").parse().unwrap_or(0);
    let said =
        |text: std::result::Result<String, xshell::Error>| text.unwrap_or_else(|_| "unknown".to_owned());
    let temporary = std::env::temp_dir();
    json!({
        "processor": field(&processors, "model name"),
        "processors": std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        "memory_gib": (kibibytes as f64 / f64::from(1 << 20)).round(),
        "system": field(&system, "PRETTY_NAME"),
        "kernel": said(cmd!(sh, "uname --kernel-release").quiet().read()),
        "file_system": said(cmd!(sh, "findmnt --noheadings --output FSTYPE --target {temporary}").quiet().read()),
        "rust": said(cmd!(sh, "rustc --version").quiet().read()),
        "commit": said(cmd!(sh, "git rev-parse --short HEAD").quiet().read()),
        "date": said(cmd!(sh, "date --utc +%Y-%m-%d").quiet().read()),
    })
}
