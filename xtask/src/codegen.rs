//! `cargo xtask codegen`: the protocol's code, from `proto/`, without any program to install (protox compiles the
//! definitions). The result is checked in, so that nobody needs this to build dlock.

use anyhow::{Context, Result, bail};
use prost::Message;
use std::path::{Path, PathBuf};
use xshell::{Shell, cmd};

/// Where the generated code is checked in.
const TARGET: &str = "crates/dlock-proto/src/gen";
/// What it is generated from.
const SOURCES: [&str; 7] = [
    "dlock/dlock.proto",
    "dlock/v1/types.proto",
    "dlock/v1/lock_service.proto",
    "dlock/v1/query_service.proto",
    "dlock/v1/admin_service.proto",
    "dlock/bench/v1/echo_service.proto",
    "grpc/health/v1/health.proto",
];
const DESCRIPTORS: &str = "file_descriptor_set.bin";

/// What the build of etcd-client gets instead of compiling its definitions; see the script beside it.
const ETCD_TARGET: &str = "crates/dlock-backend-etcd/protoc/etcd.bin";
/// The definitions that etcd-client's build compiles.
const ETCD_SOURCES: [&str; 5] = [
    "etcd/api/authpb/auth.proto",
    "etcd/api/etcdserverpb/rpc.proto",
    "etcd/api/mvccpb/kv.proto",
    "etcd/server/etcdserver/api/v3election/v3electionpb/v3election.proto",
    "etcd/server/etcdserver/api/v3lock/v3lockpb/v3lock.proto",
];

/// Generates the code where it is checked in.
pub(crate) fn write(sh: &Shell) -> Result<()> {
    sh.write_file(ETCD_TARGET, etcd_descriptors(sh)?)?;
    let target = sh.current_dir().join(TARGET);
    sh.create_dir(&target)?;
    generate(&sh.current_dir(), &target)
}

/// Fails if the checked-in code is not what would be generated.
pub(crate) fn check(sh: &Shell) -> Result<()> {
    if sh.read_binary_file(ETCD_TARGET).unwrap_or_default() != etcd_descriptors(sh)? {
        bail!("{ETCD_TARGET} is not up to date: run `cargo xtask codegen`");
    }
    let fresh = tempfile::tempdir()?;
    generate(&sh.current_dir(), fresh.path())?;
    let checked_in = sh.current_dir().join(TARGET);
    for path in files(fresh.path())? {
        let name = path.file_name().context("a generated file has a name")?;
        let expected = std::fs::read(&path)?;
        let found = std::fs::read(checked_in.join(name)).unwrap_or_default();
        if found != expected {
            bail!("{TARGET}/{} is not up to date: run `cargo xtask codegen`", name.display());
        }
    }
    for path in files(&checked_in)? {
        let name = path.file_name().context("a file has a name")?;
        if !fresh.path().join(name).exists() {
            bail!("{TARGET}/{} is not generated any more: delete it", name.display());
        }
    }
    Ok(())
}

fn etcd_descriptors(sh: &Shell) -> Result<Vec<u8>> {
    let metadata = cmd!(sh, "cargo metadata --format-version 1 --locked").quiet().read()?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
    let packages = metadata["packages"].as_array().context("packages")?;
    let etcd = packages.iter().find(|package| package["name"] == "etcd-client").context("etcd-client")?;
    let manifest = Path::new(etcd["manifest_path"].as_str().context("a path")?);
    let definitions = manifest.parent().context("a directory")?.join("proto");
    let descriptors =
        protox::compile(ETCD_SOURCES, [definitions]).context("etcd's protocol does not compile")?;
    Ok(descriptors.encode_to_vec())
}

fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        std::fs::read_dir(directory).with_context(|| format!("{} can't be read", directory.display()))?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

fn generate(root: &Path, target: &Path) -> Result<()> {
    let descriptors =
        protox::compile(SOURCES, [root.join("proto")]).context("the protocol does not compile")?;
    std::fs::write(target.join(DESCRIPTORS), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .out_dir(target)
        .bytes(".")
        .codec_path("crate::codec::SliceCodec")
        .build_transport(false)
        .compile_fds(descriptors)
        .context("the protocol's code can't be generated")
}
