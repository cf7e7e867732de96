//! `cargo xtask fuzz`: looks for bytes that break something, with libFuzzer, which sees which code an input reaches. Stable Rust
//! and the machine's C++ compiler build it. The layout and the flags are cargo-fuzz's, which is not needed.

use anyhow::{Context, Result, bail};
use xshell::{Shell, cmd};

/// The programs' own workspace.
const MANIFEST: &str = "fuzz/Cargo.toml";
/// What is checked in.
const CORPORA: &str = "fuzz/corpus";
/// Where it is built, and where inputs are gathered.
const TARGET: &str = "target/fuzz";
/// An input may take so long, in seconds: it is found, too, if it hangs.
const TIMEOUT_SECONDS: u32 = 20;
/// What libFuzzer needs to see: each edge, the table of them, and what is compared with what. Flags of stable Rust, as cargo-fuzz
/// has them.
const INSTRUMENTATION: &str = "--cfg fuzzing --cfg tokio_unstable \
    -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Cllvm-args=-simplifycfg-branch-fold-threshold=0";

/// Builds the programs and runs one after the other, or one alone. With `keep`, what adds coverage to the checked-in corpora is
/// added to them afterwards.
pub(crate) fn run(
    sh: &Shell,
    target: Option<&str>,
    seconds: u32,
    keep: bool,
    arguments: &[String],
) -> Result<()> {
    let known = targets(sh)?;
    let chosen: Vec<String> = match target {
        Some(name) if known.iter().any(|known| known == name) => vec![name.to_owned()],
        Some(name) => bail!("there is no target {name}: there are {}", known.join(", ")),
        None => known,
    };
    let programs = build(sh)?;
    let mut found = Vec::new();
    for name in &chosen {
        eprintln!("fuzzing {name}");
        if let Err(error) = fuzz(sh, &programs, name, seconds, arguments) {
            eprintln!("{name}: {error:#}");
            found.push(name.as_str());
        }
    }
    if keep && found.is_empty() {
        chosen.iter().try_for_each(|name| keep_what_adds(sh, &programs, name))?;
    }
    if !found.is_empty() {
        bail!(
            "something was found in {}: the input is in {TARGET}/found; add it to {CORPORA} with what mends it",
            found.join(", ")
        );
    }
    Ok(())
}

/// The names of the corpora are those of the targets: a test sees to it.
fn targets(sh: &Shell) -> Result<Vec<String>> {
    let folders = sh.read_dir(CORPORA)?;
    Ok(folders.iter().filter_map(|folder| Some(folder.file_name()?.to_str()?.to_owned())).collect())
}

/// Builds all programs, and returns the directory that has them.
fn build(sh: &Shell) -> Result<String> {
    let version = cmd!(sh, "rustc --version --verbose").quiet().read()?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    // The versions that are tested.
    sh.copy_file("Cargo.lock", "fuzz/Cargo.lock")?;
    // With a target named, what runs during the build is not instrumented.
    cmd!(sh, "cargo build --manifest-path {MANIFEST} --release --bins --target {host} --target-dir {TARGET}")
        .env("RUSTFLAGS", INSTRUMENTATION)
        .run()
        .context("the fuzzer does not build: besides Rust it needs a C++ compiler (c++), for libFuzzer")?;
    Ok(format!("{TARGET}/{host}/release"))
}

/// Inputs that reach something new are gathered beside what is checked in.
fn fuzz(sh: &Shell, programs: &str, name: &str, seconds: u32, arguments: &[String]) -> Result<()> {
    let (gathered, found) = (format!("{TARGET}/corpus/{name}"), format!("{TARGET}/found/{name}/"));
    sh.create_dir(&gathered)?;
    sh.create_dir(&found)?;
    let program = sh.current_dir().join(programs).join(name);
    let corpora = if arguments.is_empty() { vec![gathered, format!("{CORPORA}/{name}")] } else { Vec::new() };
    let options = [
        format!("-max_total_time={seconds}"),
        format!("-timeout={TIMEOUT_SECONDS}"),
        format!("-artifact_prefix={found}"),
        "-print_final_stats=1".to_owned(),
    ];
    cmd!(sh, "{program} {options...} {arguments...} {corpora...}").run()?;
    Ok(())
}

/// Adds inputs to the checked-in corpus that reach edges which it does not: as few as will do.
fn keep_what_adds(sh: &Shell, programs: &str, name: &str) -> Result<()> {
    let program = sh.current_dir().join(programs).join(name);
    let (kept, gathered) = (format!("{CORPORA}/{name}"), format!("{TARGET}/corpus/{name}"));
    if sh.path_exists(&gathered) {
        cmd!(sh, "{program} -set_cover_merge=1 -use_counters=0 {kept} {gathered}")
            .quiet()
            .ignore_stderr()
            .run()?;
    }
    Ok(())
}
