//! A session's record and its transitions: opened, attached elsewhere, ended. Ended is for ever.

use crate::lease::LeaseTerms;
use crate::{Epoch, MemberId};
use std::fmt;

/// The longest text in a [`ClientInfo`], in bytes.
pub const CLIENT_TEXT_BYTES_MAX: usize = 256;

/// A session as it is stored: a client's liveness, and by that of all its locks.
///
/// Written only when the session opens, attaches or ends. Each write replaces a known version of the record, and
/// with that is bound to the epoch it was decided on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionRecord {
    /// Its home: the member that judges the client's liveness.
    pub owner: MemberId,
    /// How often it was opened or attached.
    pub epoch: Epoch,
    /// The number of the client's attempt by which it was attached last; 0 if none had a number.
    pub attempt: u64,
    /// Time to live and lock delay.
    pub terms: LeaseTerms,
    /// As whom the client authenticated; empty without authentication.
    pub principal: String,
    /// SHA-256 of the resume secret.
    pub secret_hash: [u8; 32],
    /// Whether it lives.
    pub state: SessionState,
    /// Who the client says it is.
    pub client: ClientInfo,
    /// When it was opened, in milliseconds of Unix time.
    pub opened_unix_ms: u64,
    /// Its home, or a former one, may have granted it locks that stand in no record: wherever it goes, they must be claimed
    /// before others get them.
    pub mastered: bool,
}

/// Whether a session lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SessionState {
    /// Its locks are held.
    Active,
    /// Its locks count for nothing, for ever.
    Ended(EndReason),
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// Its client was silent for its time to live and lock delay.
    Expired,
    /// Its client closed it.
    Closed,
    /// An administrator ended it.
    Revoked,
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            EndReason::Expired => "its client was silent for too long",
            EndReason::Closed => "closed by its client",
            EndReason::Revoked => "ended by an administrator",
        })
    }
}

/// Why a session can't be attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttachError {
    /// It has ended, for ever.
    #[error(transparent)]
    Ended(#[from] SessionEnded),
    /// Its client has attached it by a later attempt since.
    #[error("the session was attached by attempt {last}, and this is attempt {found} of its client")]
    Superseded {
        /// The attempt's number.
        found: u64,
        /// The number of the latest attempt that attached it.
        last: u64,
    },
}

/// The session has ended, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session has ended: {reason}")]
pub struct SessionEnded {
    /// Why.
    pub reason: EndReason,
}

impl SessionRecord {
    /// Whether it lives.
    pub fn is_active(&self) -> bool {
        self.state == SessionState::Active
    }

    /// The record with a new home, at the next epoch.
    ///
    /// A client numbers its attempts, from 1 and growing. One that arrives after a later one took effect, because its server
    /// or the store was slow, was given up by its client long before, and is refused: else the session would leave the home
    /// that its client knows for one that hears nothing of it. The same number twice is the same attempt, made again. 0 is
    /// an attempt without a number, which is never refused for it.
    pub fn attach(&self, owner: MemberId, attempt: u64) -> Result<SessionRecord, AttachError> {
        self.check_active()?;
        if attempt != 0 && attempt < self.attempt {
            return Err(AttachError::Superseded { found: attempt, last: self.attempt });
        }
        let attempt = attempt.max(self.attempt);
        Ok(SessionRecord { owner, epoch: Epoch(self.epoch.0 + 1), attempt, ..self.clone() })
    }

    /// The record of the session's end.
    pub fn end(&self, reason: EndReason) -> Result<SessionRecord, SessionEnded> {
        self.check_active()?;
        Ok(SessionRecord { state: SessionState::Ended(reason), ..self.clone() })
    }

    fn check_active(&self) -> Result<(), SessionEnded> {
        match self.state {
            SessionState::Active => Ok(()),
            SessionState::Ended(reason) => Err(SessionEnded { reason }),
        }
    }
}

/// Who a client says it is. Shown to people, never trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClientInfo {
    name: String,
    host: String,
    pid: u32,
    version: String,
}

/// A text about a client is too long or has control characters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the client's {field} is not text of at most {CLIENT_TEXT_BYTES_MAX} bytes without control characters"
)]
pub struct ClientInfoError {
    /// `name`, `host` or `version`.
    pub field: &'static str,
}

impl ClientInfo {
    /// Checks the texts: each at most [`CLIENT_TEXT_BYTES_MAX`] bytes, without control characters; any may be empty.
    pub fn new(
        name: impl Into<String>,
        host: impl Into<String>,
        pid: u32,
        version: impl Into<String>,
    ) -> Result<ClientInfo, ClientInfoError> {
        let client = ClientInfo { name: name.into(), host: host.into(), pid, version: version.into() };
        for (field, text) in [("name", &client.name), ("host", &client.host), ("version", &client.version)] {
            if text.len() > CLIENT_TEXT_BYTES_MAX || text.chars().any(char::is_control) {
                return Err(ClientInfoError { field });
            }
        }
        Ok(client)
    }

    /// What the program is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it runs.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its process there; 0 if unknown.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The release of its SDK.
    pub fn version(&self) -> &str {
        &self.version
    }
}

/// The high-water mark of a session's requests: what is not above it was handled before, or came out of order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sequence {
    last: u64,
}

/// The request's number is not greater than that of an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request has sequence number {found}, and {last} came before: numbers must grow")]
pub struct SequenceError {
    /// Its number.
    pub found: u64,
    /// The greatest so far.
    pub last: u64,
}

impl Sequence {
    /// Requests after `last` are to come.
    pub fn starting_after(last: u64) -> Sequence {
        Sequence { last }
    }

    /// Takes a request's number, if it is greater than all before.
    pub fn admit(&mut self, number: u64) -> Result<(), SequenceError> {
        if number <= self.last {
            return Err(SequenceError { found: number, last: self.last });
        }
        self.last = number;
        Ok(())
    }

    /// The greatest number so far.
    pub fn last(&self) -> u64 {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::LeaseTerms;

    fn record() -> SessionRecord {
        SessionRecord {
            owner: MemberId(1),
            epoch: Epoch(1),
            attempt: 0,
            terms: LeaseTerms::default(),
            principal: String::new(),
            secret_hash: [0; 32],
            state: SessionState::Active,
            client: ClientInfo::default(),
            opened_unix_ms: 0,
            mastered: false,
        }
    }

    #[test]
    fn an_attachment_changes_the_home_and_raises_the_epoch() {
        let attached = record().attach(MemberId(2), 1).unwrap();
        assert_eq!((attached.owner, attached.epoch), (MemberId(2), Epoch(2)));
        assert!(attached.is_active());
    }

    #[test]
    fn an_attempt_to_attach_is_refused_after_a_later_one() {
        let attached = record().attach(MemberId(2), 3).unwrap();
        let late = attached.attach(MemberId(1), 2);
        assert_eq!(late, Err(AttachError::Superseded { found: 2, last: 3 }));
        assert_eq!(attached.attach(MemberId(2), 3).unwrap().epoch, Epoch(3), "made again");
        let unnumbered = attached.attach(MemberId(1), 0).unwrap();
        assert_eq!((unnumbered.owner, unnumbered.attempt), (MemberId(1), 3));
    }

    #[test]
    fn an_ended_session_stays_ended() {
        let ended = record().end(EndReason::Expired).unwrap();
        let error = SessionEnded { reason: EndReason::Expired };
        assert_eq!(ended.attach(MemberId(2), 1), Err(error.into()));
        assert_eq!(ended.end(EndReason::Closed), Err(error));
    }

    #[test]
    fn request_numbers_must_grow() {
        let mut sequence = Sequence::starting_after(5);
        assert_eq!(sequence.admit(5), Err(SequenceError { found: 5, last: 5 }));
        assert_eq!(sequence.admit(9), Ok(()));
        assert_eq!(sequence.admit(8), Err(SequenceError { found: 8, last: 9 }));
        assert_eq!(sequence.last(), 9);
    }

    #[test]
    fn texts_about_a_client_are_bounded() {
        assert_eq!(ClientInfo::new("a\nb", "", 0, ""), Err(ClientInfoError { field: "name" }));
        assert_eq!(ClientInfo::new("", "h".repeat(257), 0, ""), Err(ClientInfoError { field: "host" }));
        assert_eq!(ClientInfo::new("größe", "h", 1, "v").unwrap().name(), "größe");
    }
}
