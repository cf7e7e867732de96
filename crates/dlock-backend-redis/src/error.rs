//! Why a Redis can't be used.

use crate::config::SettingError;
use std::path::PathBuf;

/// Why a Redis can't be used as it was told.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A setting is wrong.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// A file of a setting can't be used.
    #[error("redis.{setting} is {}: it can't be used ({why}): name a readable file", path.display())]
    File {
        /// Which setting, below `redis`.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What was seen.
        why: String,
    },
    /// Nobody answers.
    #[error("Redis at {place} can't be reached ({why}): start it, or correct redis.addr")]
    Unreachable {
        /// Which.
        place: String,
        /// What was seen.
        why: String,
    },
    /// It answers, but refuses us, or is not what the settings say.
    #[error("Redis at {place} can't be used: {why}")]
    Unusable {
        /// Which.
        place: String,
        /// What was seen, and the way out.
        why: String,
    },
}
