//! What a refusal or a broken connection means for a write: was it applied, or never will be, or can't one know?

use dlock_store::StoreError;
use redis::{RedisError, ServerError};

/// Why a command has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing was sent: there is no connection.
    Unreached(String),
    /// Refused before it was run, for a reason that passes: another node has it, or this one is not ready. It can be sent
    /// again, once it is looked who has it now.
    NotNow(String),
    /// Refused before it was run: somebody has to do something about it.
    Refused(String),
    /// Refused before it was run: no memory.
    Full(String),
    /// Our scripts are gone. Nothing was run.
    NoScript,
    /// The data is not ours.
    Foreign(String),
    /// It may have been run, or may yet be.
    Unknown(String),
}

/// What an error says that refuses a script's own command to our user, in one version or another: then the script has
/// been run up to there.
const DENIED_WITHIN: [&str; 3] =
    ["The user executing the script can't", "ACL failure in script", "Error running script"];

/// What to do about a permission that is missing.
const PERMIT: &str = "give the user redis.user the permissions in docs/configuration.md";

/// Refusals before anything was run, by their code, that pass by themselves or on another node.
const NOT_NOW: [&str; 8] =
    ["MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "READONLY", "BUSY"];

/// The others, and what to do.
const REFUSED: [(&str, &str); 6] = [
    ("NOAUTH", "give redis.user and redis.password, or redis.password_file"),
    ("WRONGPASS", "correct redis.user and redis.password"),
    ("NOPERM", PERMIT),
    ("MISCONF", "Redis can't write to its disk: its log says why"),
    ("NOREPLICAS", "fewer replicas are connected than min-replicas-to-write asks for"),
    ("DLOCKFORMAT", "a newer dlock has written here: upgrade this server"),
];

impl Fault {
    /// What an error in the place of an answer means.
    pub(crate) fn from_server(error: &ServerError) -> Fault {
        let text = format!("{} {}", error.code(), error.details().unwrap_or_default());
        // Before version 7, Redis puts what a script's command was refused with into an error of the script's own,
        // with a hyphen before the code.
        let code = match error.code() {
            "ERR" => text.split_whitespace().find_map(|word| word.strip_prefix('-')).unwrap_or("ERR"),
            code => code,
        };
        let within_script = DENIED_WITHIN.iter().any(|sign| text.contains(sign));
        match code {
            "ERR" if text.contains(DENIED_WITHIN[0]) => Fault::Unknown(format!("{text}: {PERMIT}")),
            "NOPERM" if within_script => Fault::Unknown(format!("{text}: {PERMIT}")),
            "NOSCRIPT" => Fault::NoScript,
            "OOM" => Fault::Full(format!(
                "{text}: raise maxmemory, or remove what else is in this Redis; only maxmemory-policy noeviction is safe"
            )),
            "WRONGTYPE" => Fault::Foreign(text),
            code if NOT_NOW.contains(&code) => Fault::NotNow(text),
            code => match REFUSED.iter().find(|(known, _)| *known == code) {
                Some((_, way_out)) => Fault::Refused(format!("{text}: {way_out}")),
                None => Fault::Unknown(text),
            },
        }
    }

    /// What an error of a connection that was asked to send something means.
    pub(crate) fn from_connection(error: &RedisError) -> Fault {
        Fault::Unknown(error.to_string())
    }

    /// What an error while a connection was made means.
    pub(crate) fn from_connecting(error: RedisError) -> Fault {
        match ServerError::try_from(error) {
            Ok(error) => match Fault::from_server(&error) {
                Fault::Unknown(text) => Fault::Unreached(text),
                fault => fault,
            },
            Err(error) if error.kind() == redis::ErrorKind::AuthenticationFailed => {
                Fault::Refused(format!("{error}: correct redis.user and redis.password"))
            }
            Err(error) => Fault::Unreached(error.to_string()),
        }
    }

    /// Whether a write can be sent again because it was not applied, and might be taken a moment later.
    pub(crate) fn passes(&self) -> bool {
        matches!(self, Fault::Unreached(_) | Fault::NotNow(_) | Fault::NoScript)
    }

    /// What was seen.
    fn reason(self) -> String {
        match self {
            Fault::Unreached(reason)
            | Fault::NotNow(reason)
            | Fault::Refused(reason)
            | Fault::Full(reason)
            | Fault::Foreign(reason)
            | Fault::Unknown(reason) => reason,
            Fault::NoScript => "Redis forgets our scripts".to_owned(),
        }
    }

    /// For a write that had been run before this was met.
    pub(crate) fn after_run(self) -> StoreError {
        StoreError::Ambiguous { reason: self.reason() }
    }

    /// For a write.
    pub(crate) fn of_write(self) -> StoreError {
        match self {
            Fault::Unreached(_) | Fault::NotNow(_) | Fault::Refused(_) | Fault::NoScript => {
                StoreError::Unavailable { reason: self.reason() }
            }
            Fault::Full(reason) => StoreError::Full { reason },
            Fault::Foreign(reason) | Fault::Unknown(reason) => StoreError::Ambiguous { reason },
        }
    }

    /// For a read, which changes nothing and so is never ambiguous.
    pub(crate) fn of_read(self) -> StoreError {
        match self {
            Fault::Unknown(reason) => StoreError::Unavailable { reason },
            Fault::Foreign(reason) => StoreError::Invalid { reason },
            fault => fault.of_write(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an error on the wire means.
    fn fault(wire: &str) -> Fault {
        match redis::parse_redis_value(format!("-{wire}\r\n").as_bytes()) {
            Ok(redis::Value::ServerError(error)) => Fault::from_server(&error),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_was_refused_before_it_ran_is_not_ambiguous() {
        for (wire, expected) in [
            ("MOVED 13907 127.0.0.1:7001", "NotNow"),
            ("TRYAGAIN Multiple keys request during rehashing of slot", "NotNow"),
            ("CLUSTERDOWN The cluster is down", "NotNow"),
            ("READONLY You can't write against a read only replica.", "NotNow"),
            ("LOADING Redis is loading the dataset in memory", "NotNow"),
            ("NOSCRIPT No matching script. Please use EVAL.", "NoScript"),
            ("NOAUTH Authentication required.", "Refused"),
            ("NOPERM this user has no permissions to run the 'evalsha' command", "Refused"),
            ("NOREPLICAS Not enough good replicas to write.", "Refused"),
            ("MISCONF Redis is configured to save RDB snapshots", "Refused"),
            (
                "OOM command not allowed when used memory > 'maxmemory'. script: 07, on @user_script:67.",
                "Full",
            ),
            // As Redis 6.2 says it.
            (
                "ERR Error running script (call to f_07): @user_script:67: @user_script: 67: -OOM command not allowed when used memory > 'maxmemory'.",
                "Full",
            ),
            (
                "ERR Error running script (call to f_07): @user_script:67: @user_script: 67: -READONLY You can't write against a read only replica.",
                "NotNow",
            ),
        ] {
            let found = format!("{:?}", fault(wire));
            assert!(found.starts_with(expected), "{wire}: {found}");
        }
    }

    #[test]
    fn what_may_have_been_written_by_half_is_ambiguous() {
        for wire in [
            "ERR The user executing the script can't publish to the channel mentioned in the command",
            "NOPERM ACL failure in script: No permissions to access a channel",
            "ERR Error running script (call to f_07): @user_script:91: @user_script: 91: -NOPERM this user has no permissions to access one of the channels used as arguments",
            "ERR something that no version says yet",
            "WRONGTYPE Operation against a key holding the wrong kind of value",
        ] {
            assert!(fault(wire).of_write().is_ambiguous(), "{wire}");
        }
    }
}
