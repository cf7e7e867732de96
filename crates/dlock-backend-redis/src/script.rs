//! The scripts, under the names that Redis gives them.

use redis::{Cmd, Script};
use std::sync::LazyLock;

/// A script and its hash.
pub(crate) struct Source {
    text: &'static str,
    hash: String,
}

/// Compare-and-swaps.
pub(crate) static COMMIT: LazyLock<Source> =
    LazyLock::new(|| Source::new(include_str!("scripts/commit.lua")));
/// The epoch of a tag.
pub(crate) static EPOCH: LazyLock<Source> = LazyLock::new(|| Source::new(include_str!("scripts/epoch.lua")));

impl Source {
    pub(crate) fn new(text: &'static str) -> Source {
        Source { text, hash: Script::new(text).get_hash().to_owned() }
    }

    /// A call with keys, to which the arguments are to be added.
    pub(crate) fn call(&self, keys: impl ExactSizeIterator<Item = impl AsRef<[u8]>>) -> Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&self.hash).arg(keys.len());
        for key in keys {
            command.arg(key.as_ref());
        }
        command
    }

    /// Makes Redis know it.
    pub(crate) fn load(&self) -> Cmd {
        let mut command = redis::cmd("SCRIPT");
        command.arg("LOAD").arg(self.text);
        command
    }
}
