//! The servers that the tests start, of stores and of what locks protect: found, or got.

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use std::cmp::Reverse;
use std::path::{Path, PathBuf};
use xshell::{Shell, cmd};

/// A backend with suites of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Backend {
    Embedded,
    Etcd,
    Redis,
    Nats,
}

/// A program, and the Debian package that has it.
#[derive(Clone, Copy)]
pub(crate) struct Program {
    name: &'static str,
    package: &'static str,
}

/// What the tests of the protected resource need.
pub(crate) const RESOURCES: &[Program] =
    &[Program { name: "postgres", package: "postgresql" }, Program { name: "initdb", package: "postgresql" }];

impl Backend {
    pub(crate) fn package(self) -> &'static str {
        match self {
            Backend::Embedded => "dlock-backend-embedded",
            Backend::Etcd => "dlock-backend-etcd",
            Backend::Redis => "dlock-backend-redis",
            Backend::Nats => "dlock-backend-nats",
        }
    }

    /// The tests of the whole service over it.
    pub(crate) fn suites(self) -> &'static [&'static str] {
        match self {
            Backend::Embedded => &["embedded"],
            Backend::Etcd => &["etcd", "etcd_cluster"],
            Backend::Redis => &["redis", "redis_sentinel", "redis_cluster", "redis_quorum"],
            Backend::Nats => &["nats", "nats_cluster"],
        }
    }

    pub(crate) fn programs(self) -> &'static [Program] {
        match self {
            Backend::Embedded => &[],
            Backend::Etcd => &[Program { name: "etcd", package: "etcd-server" }],
            Backend::Redis => &[Program { name: "redis-server", package: "redis-server" }],
            Backend::Nats => &[Program { name: "nats-server", package: "nats-server" }],
        }
    }
}

/// Where the programs come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// All are on the `PATH`.
    Path,
    /// Those that are not are started in containers.
    Containers,
}

/// The programs of these backends.
pub(crate) fn programs(backends: &[Backend]) -> Vec<Program> {
    backends.iter().flat_map(|backend| backend.programs()).copied().collect()
}

/// Sees to it that these programs can be started.
pub(crate) fn provide(sh: &Shell, programs: &[Program]) -> Result<Source> {
    add_system_directories(sh);
    let missing = missing(sh, programs);
    if missing.is_empty() {
        return Ok(Source::Path);
    }
    let names = missing.iter().map(|program| program.name).collect::<Vec<_>>().join(", ");
    if cmd!(sh, "docker version").quiet().ignore_stdout().ignore_stderr().run().is_ok() {
        eprintln!("not on the PATH, and so started in containers: {names}");
        return Ok(Source::Containers);
    }
    let mut packages: Vec<&str> = missing.iter().map(|program| program.package).collect();
    packages.dedup();
    let by_hand = format!(
        "the tests need {names}: install them, or start Docker, or pick other backends (--backend embedded)"
    );
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!(by_hand);
    }
    eprintln!("not on the PATH, and Docker does not answer: installing {}", packages.join(", "));
    install(sh, &packages).context(by_hand.clone())?;
    add_system_directories(sh);
    if !self::missing(sh, programs).is_empty() {
        bail!(by_hand);
    }
    Ok(Source::Path)
}

/// What the packages that start stores are built with.
pub(crate) fn features(source: Source) -> &'static [&'static str] {
    match source {
        Source::Path => &[],
        Source::Containers => &["--features", "dlock-test-stores/containers"],
    }
}

/// Removes the containers of tests that were killed.
pub(crate) fn clean_up(sh: &Shell, source: Source) -> Result<()> {
    if source == Source::Containers {
        let left = cmd!(sh, "docker ps --all --quiet --filter label=dlock-test").quiet().read()?;
        for container in left.lines() {
            cmd!(sh, "docker rm --force {container}").quiet().ignore_stdout().run()?;
        }
    }
    Ok(())
}

/// Debian has servers where only an administrator's `PATH` goes, and PostgreSQL's where none does.
fn add_system_directories(sh: &Shell) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/local/sbin", "/usr/sbin"].map(PathBuf::from);
    let all = std::env::split_paths(&path).chain(more).chain(postgresql_directories());
    if let Ok(joined) = std::env::join_paths(all) {
        sh.set_var("PATH", joined);
    }
}

/// The newest release first.
fn postgresql_directories() -> Vec<PathBuf> {
    let releases = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let number = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
    let mut releases: Vec<PathBuf> = releases.map(|release| release.path()).collect();
    releases.sort_by_key(|path| Reverse(number(path)));
    releases.into_iter().map(|release| release.join("bin")).collect()
}

fn missing(sh: &Shell, programs: &[Program]) -> Vec<Program> {
    let path = sh.var_os("PATH").unwrap_or_default();
    let found = |program: &Program| {
        std::env::split_paths(&path).any(|directory| directory.join(program.name).is_file())
    };
    programs.iter().filter(|program| !found(program)).copied().collect()
}

/// Installs packages of Debian.
fn install(sh: &Shell, packages: &[&str]) -> Result<()> {
    // The run level keeps the packages from starting servers of their own on the default ports.
    let quietly = ["DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1"];
    let root = cmd!(sh, "id -u").quiet().read()? == "0";
    let (program, options): (&str, &[&str]) =
        if root { ("env", &[]) } else { ("sudo", &["--non-interactive", "env"]) };
    let apt_get = || cmd!(sh, "{program} {options...} {quietly...} apt-get").ignore_stdout();
    apt_get().arg("update").run()?;
    apt_get().args(["install", "--yes", "--no-install-recommends"]).args(packages).run()?;
    Ok(())
}
