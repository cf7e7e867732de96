//! Resources and sessions as they are shown. The JSON field names are stable.

use crate::output::moment;
use dlock_client::{ClientInfo, HolderInfo, LockAddress, MemberInfo, QueuedInfo, ResourceInfo, SessionInfo};
use serde::Serialize;

/// A resource.
#[derive(Serialize)]
pub(crate) struct Resource {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) version: u64,
    pub(crate) last_token: u64,
    pub(crate) value: Value,
    pub(crate) holders: Vec<Holder>,
    pub(crate) queue: Vec<Queued>,
    /// The member that grants and releases it from its memory, where it isn't the one that answers.
    pub(crate) mastered_by: Option<String>,
}

/// A value block. Bytes that are no text are shown with replacement characters.
#[derive(Serialize)]
pub(crate) struct Value {
    pub(crate) text: String,
    pub(crate) bytes: usize,
    pub(crate) valid: bool,
}

/// A granted lock.
#[derive(Serialize)]
pub(crate) struct Holder {
    pub(crate) session: String,
    pub(crate) lock: u64,
    pub(crate) mode: &'static str,
    pub(crate) token: u64,
    pub(crate) holds: u32,
    pub(crate) since: String,
    pub(crate) client: Option<Client>,
}

/// A queued conversion or request.
#[derive(Serialize)]
pub(crate) struct Queued {
    pub(crate) session: String,
    pub(crate) lock: u64,
    pub(crate) mode: &'static str,
    /// The mode held meanwhile, for a conversion.
    pub(crate) held: Option<&'static str>,
    pub(crate) since: String,
    /// `session#lock` of those who have to go first.
    pub(crate) blocked_by: Vec<String>,
    pub(crate) client: Option<Client>,
}

/// A client.
#[derive(Serialize)]
pub(crate) struct Client {
    pub(crate) name: String,
    pub(crate) host: String,
    pub(crate) pid: u32,
    pub(crate) version: String,
}

/// A session.
#[derive(Serialize)]
pub(crate) struct Session {
    pub(crate) session: String,
    pub(crate) member: String,
    pub(crate) epoch: u64,
    pub(crate) ttl_ms: u128,
    pub(crate) lock_delay_ms: u128,
    pub(crate) client: Client,
    pub(crate) opened: String,
    pub(crate) active: bool,
    /// Why it ended.
    pub(crate) ended: Option<String>,
    pub(crate) locks: Option<u64>,
}

/// A server.
#[derive(Serialize)]
pub(crate) struct Member {
    pub(crate) member: String,
    pub(crate) address: String,
    pub(crate) version: String,
    pub(crate) started: String,
    pub(crate) this: bool,
    pub(crate) dead: bool,
}

fn address(lock: &LockAddress) -> String {
    format!("{}#{}", lock.session, lock.lock)
}

impl From<ClientInfo> for Client {
    fn from(client: ClientInfo) -> Client {
        Client { name: client.name, host: client.host, pid: client.process_id, version: client.version }
    }
}

impl Client {
    /// In a table's cell.
    pub(crate) fn cell(&self) -> String {
        format!("{} on {} (pid {})", self.name, self.host, self.pid)
    }
}

/// A client in a table's cell, if it is known.
pub(crate) fn client_cell(client: Option<&Client>) -> String {
    client.map_or_else(|| "unknown".to_owned(), Client::cell)
}

impl From<HolderInfo> for Holder {
    fn from(holder: HolderInfo) -> Holder {
        Holder {
            session: holder.lock.session.to_string(),
            lock: holder.lock.lock.0,
            mode: holder.mode.abbreviation(),
            token: holder.token.get(),
            holds: holder.holds,
            since: moment(holder.since_unix_ms),
            client: holder.client.map(Client::from),
        }
    }
}

impl From<QueuedInfo> for Queued {
    fn from(entry: QueuedInfo) -> Queued {
        Queued {
            session: entry.lock.session.to_string(),
            lock: entry.lock.lock.0,
            mode: entry.mode.abbreviation(),
            held: entry.held.map(|mode| mode.abbreviation()),
            since: moment(entry.since_unix_ms),
            blocked_by: entry.blocked_by.iter().map(address).collect(),
            client: entry.client.map(Client::from),
        }
    }
}

impl From<ResourceInfo> for Resource {
    fn from(info: ResourceInfo) -> Resource {
        let bytes = info.value.block.bytes();
        let value = Value {
            text: String::from_utf8_lossy(bytes).into_owned(),
            bytes: bytes.len(),
            valid: info.value.valid,
        };
        Resource {
            namespace: info.resource.namespace().to_owned(),
            name: info.resource.name().to_owned(),
            version: info.version,
            last_token: info.last_token.get(),
            value,
            holders: info.holders.into_iter().map(Holder::from).collect(),
            queue: info.queue.into_iter().map(Queued::from).collect(),
            mastered_by: info.mastered_by.map(|member| member.to_string()),
        }
    }
}

impl From<SessionInfo> for Session {
    fn from(info: SessionInfo) -> Session {
        Session {
            session: info.session.to_string(),
            member: info.home.to_string(),
            epoch: info.epoch.0,
            ttl_ms: info.ttl.as_millis(),
            lock_delay_ms: info.lock_delay.as_millis(),
            client: info.client.into(),
            opened: moment(info.opened_unix_ms),
            active: info.active,
            ended: info.ended.map(|reason| reason.to_string()),
            locks: info.locks,
        }
    }
}

impl From<MemberInfo> for Member {
    fn from(info: MemberInfo) -> Member {
        Member {
            member: info.member.to_string(),
            address: info.address,
            version: info.version,
            started: moment(info.started_unix_ms),
            this: info.this,
            dead: info.dead,
        }
    }
}

/// Who masters a resource, and what that means for the one who looks.
pub(crate) fn mastered(master: &str) -> String {
    format!("mastered by the server {master}: only that one can say who holds it and who waits")
}

/// Who holds, in a sentence.
pub(crate) fn holder_line(holder: &HolderInfo) -> String {
    let client = holder.client.clone().map(Client::from);
    let (mode, token, since) = (holder.mode, holder.token, moment(holder.since_unix_ms));
    format!("{} holds it in {mode} since {since}, token {token}", client_cell(client.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Resource {
        /// One that nobody holds.
        pub(crate) fn free(name: &str) -> Resource {
            Resource {
                namespace: "default".to_owned(),
                name: name.to_owned(),
                version: 1,
                last_token: 7,
                value: Value { text: String::new(), bytes: 0, valid: true },
                holders: Vec::new(),
                queue: Vec::new(),
                mastered_by: None,
            }
        }
    }

    #[test]
    fn who_masters_a_resource_is_told_to_programs() {
        let mut resource = Resource::free("a");
        assert_eq!(serde_json::to_value(&resource).unwrap()["mastered_by"], serde_json::Value::Null);
        resource.mastered_by = Some("ab".to_owned());
        assert_eq!(serde_json::to_value(&resource).unwrap()["mastered_by"], "ab");
    }
}
