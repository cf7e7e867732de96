//! Servers that have only a share of a processor each, as if each had a small machine of its own: by the kernel's control
//! groups, of either version.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where the groups are that concern processors.
const ROOTS: [&str; 2] = ["/sys/fs/cgroup/cpu", "/sys/fs/cgroup"];
/// In each of these, a process gets its share. Short, so that nobody waits long for the next one.
const PERIOD_US: f64 = 10_000.0;

/// Processes, each in a group of its own until this is dropped.
pub(crate) struct Confined {
    root: &'static Path,
    groups: Vec<(u32, PathBuf)>,
}

impl Confined {
    /// Gives each process such a share of a processor. An error where this process may make no groups.
    pub(crate) fn each(processes: impl Iterator<Item = u32>, share: f64) -> io::Result<Confined> {
        let root = ROOTS.map(Path::new).into_iter().find(|root| root.join("cgroup.procs").exists());
        let root = root.ok_or_else(|| io::Error::other("there are no control groups"))?;
        let mut confined = Confined { root, groups: Vec::new() };
        for process in processes {
            let group = root.join(format!("dlock-compare-{process}"));
            fs::create_dir(&group)?;
            confined.groups.push((process, group.clone()));
            let quota = (PERIOD_US * share).round();
            if group.join("cpu.cfs_quota_us").exists() {
                fs::write(group.join("cpu.cfs_period_us"), PERIOD_US.to_string())?;
                fs::write(group.join("cpu.cfs_quota_us"), quota.to_string())?;
            } else {
                fs::write(group.join("cpu.max"), format!("{quota} {PERIOD_US}"))?;
            }
            fs::write(group.join("cgroup.procs"), process.to_string())?;
        }
        Ok(confined)
    }
}

impl Drop for Confined {
    fn drop(&mut self) {
        for (process, group) in &self.groups {
            let freed = fs::write(self.root.join("cgroup.procs"), process.to_string());
            if let Err(error) = freed.and_then(|()| fs::remove_dir(group)) {
                eprintln!("{} is left behind: {error}", group.display());
            }
        }
    }
}
