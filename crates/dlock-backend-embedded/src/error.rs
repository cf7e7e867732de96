//! Why a data directory can't be opened.

use std::path::PathBuf;

/// Why a data directory can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("the data directory {} is in use by another dlock: stop that one, or give this one a directory of its own", directory.display())]
    InUse {
        /// Which.
        directory: PathBuf,
    },
    /// There is something else of that name.
    #[error("{} is not a directory: give the path of a directory, or of one to be made", path.display())]
    NotADirectory {
        /// What.
        path: PathBuf,
    },
    /// It may not be read or written.
    #[error("the data directory {} can't be used ({source}): make it readable and writable for this user", directory.display())]
    Permission {
        /// Which.
        directory: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The database is not one, or is damaged.
    #[error(
        "the database in the data directory can't be read ({what}): restore it from a copy, or start with an empty directory and let all clients lock anew"
    )]
    Corrupt {
        /// What was found.
        what: String,
    },
    /// A newer release has written it.
    #[error(
        "the data directory was written by a newer dlock (format {found}, this one knows {known}): upgrade this server"
    )]
    Newer {
        /// Its format.
        found: u64,
        /// The newest format that this release knows.
        known: u64,
    },
    /// Anything else that the system or the database says.
    #[error("the data directory can't be opened: {0}")]
    Io(#[from] std::io::Error),
}

impl From<redb::Error> for OpenError {
    fn from(error: redb::Error) -> OpenError {
        match error {
            redb::Error::Io(error) => OpenError::Io(error),
            other => OpenError::Corrupt { what: other.to_string() },
        }
    }
}
