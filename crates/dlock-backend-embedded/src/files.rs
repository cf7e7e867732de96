//! The files' names, and how a file gets its own: only once it is whole.

use crate::disk::{Disk, DiskFile};
use crate::frame::{Header, Kind};
use std::io;

const DRAFT: &str = ".new";

impl Kind {
    fn prefix(self) -> &'static str {
        match self {
            Kind::Log => "log-",
            Kind::Snapshot => "snapshot-",
        }
    }
}

/// The name of a file that is whole.
pub(crate) fn name(kind: Kind, number: u64) -> String {
    format!("{}{number:010}", kind.prefix())
}

/// The whole files of a kind, by number, in order.
pub(crate) fn numbers(names: &[String], kind: Kind) -> Vec<u64> {
    let number = |file: &String| {
        let number = file.strip_prefix(kind.prefix())?.parse().ok()?;
        (name(kind, number) == *file).then_some(number)
    };
    let mut numbers: Vec<u64> = names.iter().filter_map(number).collect();
    numbers.sort_unstable();
    numbers
}

/// A file in the making, with its header. A crash leaves it behind under a name that says so.
pub(crate) struct Draft {
    pub(crate) file: Box<dyn DiskFile>,
    pub(crate) header: Header,
}

impl Draft {
    /// Makes it, in place of one that was left behind.
    pub(crate) fn make(disk: &dyn Disk, header: Header) -> io::Result<Draft> {
        let file = disk.create(&draft_name(&header))?;
        Ok(Draft { file, header })
    }

    /// Gives it its name, with what has been written so far. When this returns, all that is durable.
    pub(crate) fn publish(mut self, disk: &dyn Disk) -> io::Result<Box<dyn DiskFile>> {
        let publish = |file: &mut dyn DiskFile| {
            file.write_at(0, &self.header.to_bytes())?;
            file.sync()?;
            disk.rename(&draft_name(&self.header), &name(self.header.kind, self.header.number))?;
            disk.sync_names()
        };
        match publish(&mut *self.file) {
            Ok(()) => Ok(self.file),
            Err(error) => Err(self.discard(disk, error)),
        }
    }

    /// Removes it, after this error: it takes room, which may be what is missing.
    pub(crate) fn discard(self, disk: &dyn Disk, error: io::Error) -> io::Error {
        let name = draft_name(&self.header);
        drop(self.file);
        // If it can't be removed, or has its name already, the next of that name takes its place, or the next start
        // removes it.
        let _removed = disk.remove(&name);
        error
    }
}

fn draft_name(header: &Header) -> String {
    name(header.kind, header.number) + DRAFT
}

/// Removes what is in the snapshot of this number, too.
pub(crate) fn remove_before(disk: &dyn Disk, number: u64) -> io::Result<()> {
    let names = disk.names()?;
    for kind in [Kind::Snapshot, Kind::Log] {
        for old in numbers(&names, kind).into_iter().filter(|old| *old < number) {
            disk.remove(&name(kind, old))?;
        }
    }
    Ok(())
}

/// Removes what a crash has left behind half made.
pub(crate) fn remove_drafts(disk: &dyn Disk) -> io::Result<()> {
    let is_draft = |name: &&String| {
        let whole = name.strip_suffix(DRAFT).map(str::to_owned);
        let whole = whole.as_slice();
        !numbers(whole, Kind::Log).is_empty() || !numbers(whole, Kind::Snapshot).is_empty()
    };
    disk.names()?.iter().filter(is_draft).try_for_each(|name| disk.remove(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_names_are_numbers() {
        let names =
            ["log-0000000012", "log-0000000003", "log-3", "log-0000000004.new", "snapshot-0000000001"];
        let names = names.map(str::to_owned);
        assert_eq!(numbers(&names, Kind::Log), [3, 12]);
        assert_eq!(numbers(&names, Kind::Snapshot), [1]);
    }
}
