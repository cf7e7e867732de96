//! Why a data directory can't be opened.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Why a data directory can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another store in this one, has it open.
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
        source: io::Error,
    },
    /// A file is damaged, or one is missing.
    #[error(
        "{} is damaged ({what}): restore the data directory from a copy, or start with an empty one and let all clients lock anew",
        file.display()
    )]
    Corrupt {
        /// Where it is.
        file: PathBuf,
        /// What was found.
        what: String,
    },
    /// A newer release has written it.
    #[error(
        "{} was written by a newer dlock (format {found}, this one knows {known}): upgrade this server",
        file.display()
    )]
    Newer {
        /// Where it is.
        file: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format that this release knows.
        known: u32,
    },
    /// A release before the first one that is supported has written it, in another way.
    #[error(
        "{} is a database of an early dlock, which this one can't read: give it an empty directory and let all clients lock anew",
        file.display()
    )]
    Former {
        /// The database.
        file: PathBuf,
    },
    /// Anything else that the system says.
    #[error("{place} can't be opened: {source}")]
    Io {
        /// What was to be opened.
        place: String,
        /// What the system said.
        source: io::Error,
    },
}

impl OpenError {
    /// What an error of the system says about the directory.
    pub(crate) fn from_io(directory: &Path, source: io::Error) -> OpenError {
        match source.kind() {
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                OpenError::Permission { directory: directory.to_owned(), source }
            }
            ErrorKind::NotADirectory => OpenError::NotADirectory { path: directory.to_owned() },
            _ => OpenError::Io { place: format!("the data directory {}", directory.display()), source },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a unit test, because a superuser who runs the tests is denied nothing.
    #[test]
    fn a_denied_permission_names_the_directory_and_the_way_out() {
        for kind in [ErrorKind::PermissionDenied, ErrorKind::ReadOnlyFilesystem] {
            let error = OpenError::from_io(Path::new("/var/lib/dlock"), kind.into());
            assert!(matches!(error, OpenError::Permission { .. }), "{error:?}");
            let message = error.to_string();
            assert!(message.contains("/var/lib/dlock") && message.contains("writable"), "{message}");
        }
    }
}
