//! The stores' programs that the tests start: found, or got.

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use std::path::Path;
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
struct Program {
    name: &'static str,
    package: &'static str,
}

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

    fn programs(self) -> &'static [Program] {
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

/// Sees to it that the backends' programs can be started.
pub(crate) fn provide(sh: &Shell, backends: &[Backend]) -> Result<Source> {
    add_system_directories(sh);
    let missing = missing(sh, backends);
    if missing.is_empty() {
        return Ok(Source::Path);
    }
    let names = missing.iter().map(|program| program.name).collect::<Vec<_>>().join(", ");
    if cmd!(sh, "docker version").quiet().ignore_stdout().ignore_stderr().run().is_ok() {
        eprintln!("not on the PATH, and so started in containers: {names}");
        return Ok(Source::Containers);
    }
    let packages: Vec<&str> = missing.iter().map(|program| program.package).collect();
    let by_hand = format!(
        "the tests need {names}: install them, or start Docker, or pick other backends (--backend embedded)"
    );
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!(by_hand);
    }
    eprintln!("not on the PATH, and Docker does not answer: installing {}", packages.join(", "));
    install(sh, &packages).context(by_hand.clone())?;
    if !self::missing(sh, backends).is_empty() {
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

/// Debian has servers where only an administrator's `PATH` goes.
fn add_system_directories(sh: &Shell) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/local/sbin", "/usr/sbin"].map(std::path::PathBuf::from);
    let all = std::env::split_paths(&path).chain(more);
    if let Ok(joined) = std::env::join_paths(all) {
        sh.set_var("PATH", joined);
    }
}

fn missing(sh: &Shell, backends: &[Backend]) -> Vec<&'static Program> {
    let path = sh.var_os("PATH").unwrap_or_default();
    let found = |program: &Program| {
        std::env::split_paths(&path).any(|directory| directory.join(program.name).is_file())
    };
    backends.iter().flat_map(|backend| backend.programs()).filter(|program| !found(program)).collect()
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
