//! One connection, and what is known about the server at its other end for as long as it lasts.

use crate::barriers::Barriers;
use crate::fault::Fault;
use crate::info::Info;
use crate::layout::{Layout, Tag};
use crate::node::Node;
use crate::record;
use crate::script::{COMMIT, EPOCH};
use foldhash::HashMap;
use parking_lot::Mutex;
use redis::aio::{AsyncPushSender, MultiplexedConnection, SendError};
use redis::{Pipeline, PushInfo, PushKind, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// The oldest Redis that has what the backend uses.
const OLDEST: (u32, u32) = (6, 2);

/// What all connections of a store share: where things are, and the highest epoch that was ever seen of each tag.
pub(crate) struct Place {
    pub(crate) layout: Layout,
    pub(crate) cluster: bool,
    seen: Vec<AtomicU64>,
}

impl Place {
    pub(crate) fn new(layout: Layout, cluster: bool) -> Place {
        let seen = layout.tags().map(|_| AtomicU64::new(0)).collect();
        Place { layout, cluster, seen }
    }
}

/// Under which epoch a server writes a tag.
#[derive(Clone, Debug)]
pub(crate) struct Epoch {
    /// As it is stored: a script writes only while it is this.
    pub(crate) token: Arc<str>,
    /// The least version that may be given.
    pub(crate) first_version: u64,
}

/// What a server says about itself.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) version: (u32, u32),
    /// Its run and its history of replication. Either changes whenever its data may have gone back in time.
    pub(crate) owner: String,
}

/// One connection.
pub(crate) struct Link {
    connection: MultiplexedConnection,
    place: Arc<Place>,
    identity: Identity,
    usable: Arc<AtomicBool>,
    /// Of this connection only: that the server has not been replaced by another is certain as long as it lasts.
    epochs: Mutex<HashMap<Tag, Epoch>>,
    barriers: Barriers,
}

impl Link {
    /// Connects, makes sure that it is what it should be, and loads the scripts.
    pub(crate) async fn open(node: &Node) -> Result<Link, Fault> {
        let usable = Arc::new(AtomicBool::new(true));
        let end = End(Arc::clone(&usable));
        let connection = node.connector().connect(&node.address, Some(Arc::new(end))).await?;
        let place = Arc::clone(node.place());
        let mut setup = redis::pipe();
        add_info(&mut setup);
        setup.add_command(COMMIT.load()).add_command(EPOCH.load());
        let mut answers = send(&connection, &setup, None).await.map_err(|fault| fault.at(&node.address))?;
        let scripts = answers.split_off(2);
        let identity = identify(&answers, place.cluster).map_err(|fault| fault.at(&node.address))?;
        for answer in scripts {
            succeeded(answer).map_err(|fault| fault.at(&node.address))?;
        }
        Ok(Link {
            connection,
            place,
            identity,
            usable,
            epochs: Mutex::default(),
            barriers: Barriers::default(),
        })
    }

    /// Sends commands in one go. A failure is of the connection as a whole, and ends it; errors of single commands are
    /// among the answers.
    pub(crate) async fn send(&self, commands: &Pipeline) -> Result<Vec<Value>, Fault> {
        self.send_within(commands, None).await
    }

    /// The same, with a time-out of one's own.
    pub(crate) async fn send_within(
        &self,
        commands: &Pipeline,
        timeout: Option<Duration>,
    ) -> Result<Vec<Value>, Fault> {
        let answers = send(&self.connection, commands, timeout).await;
        if answers.is_err() {
            self.retire();
        }
        answers
    }

    /// Nothing more is sent here.
    pub(crate) fn retire(&self) {
        self.usable.store(false, Ordering::Release);
    }

    pub(crate) fn is_usable(&self) -> bool {
        self.usable.load(Ordering::Acquire)
    }

    /// The command that announces changes.
    pub(crate) fn publish(&self) -> &'static str {
        publish_command(self.place.cluster, self.identity.version)
    }

    /// The epoch under which this server writes the tag: the one that is known, or else asked for, and raised if
    /// another server had the tag before.
    pub(crate) async fn epoch(&self, tag: Tag) -> Result<Epoch, Fault> {
        if let Some(epoch) = self.epochs.lock().get(&tag) {
            return Ok(epoch.clone());
        }
        let identity = identify(&self.info().await?, self.place.cluster)?;
        let layout = &self.place.layout;
        let keys = [layout.epoch(tag), layout.index(tag), layout.probe(tag)];
        let mut call = EPOCH.call(keys.iter());
        let seen = &self.place.seen[usize::from(tag)];
        call.arg(&identity.owner).arg(seen.load(Ordering::Acquire));
        call.arg(self.publish()).arg(layout.channel(tag));
        let mut commands = redis::pipe();
        commands.add_command(call);
        let answer = self.send(&commands).await?.pop().unwrap_or_default();
        let answer = match succeeded(answer) {
            Err(Fault::NoScript) => {
                self.load().await?;
                succeeded(self.send(&commands).await?.pop().unwrap_or_default())?
            }
            answer => answer?,
        };
        let (token, number) = parse_epoch(answer)?;
        if seen.fetch_max(number, Ordering::AcqRel) < number {
            tracing::debug!(tag, epoch = number, owner = identity.owner, "the epoch of a tag");
        }
        let epoch = Epoch { token, first_version: record::first_version(number) };
        self.epochs.lock().insert(tag, epoch.clone());
        Ok(epoch)
    }

    /// The epoch is another than was known.
    pub(crate) fn forget_epoch(&self, tag: Tag) {
        self.epochs.lock().remove(&tag);
    }

    /// Returns once so many replicas have all that was answered on this connection before. While the server waits for them
    /// nothing else on the connection goes on, so one barrier serves all who ask meanwhile.
    ///
    /// # Errors
    /// Why they may not have it within the time. It may be lost, then, or not.
    pub(crate) async fn replicated(&self, tag: Tag, replicas: u32, timeout: Duration) -> Result<(), Fault> {
        self.barriers.pass(self.barrier(tag, replicas, timeout)).await
    }

    /// They acknowledge what is written now, and so all before, if the server has had no other history in between.
    async fn barrier(&self, tag: Tag, replicas: u32, timeout: Duration) -> Result<(), Fault> {
        let mut commands = redis::pipe();
        commands.cmd("SET").arg(self.place.layout.barrier(tag)).arg(1);
        commands.cmd("WAIT").arg(replicas).arg(timeout.as_millis() as u64);
        add_info(&mut commands);
        let answers = self.send_within(&commands, Some(timeout * 2)).await?;
        let Ok([written, have, info @ ..]) = <[Value; 4]>::try_from(answers) else {
            return Err(Fault::Unknown("a barrier has no proper answer".to_owned()));
        };
        succeeded(written)?;
        match succeeded(have)? {
            Value::Int(have) if have >= i64::from(replicas) => self.expect(&info),
            have => Err(Fault::Refused(format!(
                "{have:?} replicas have it within {timeout:?}, and redis.replicas is {replicas}"
            ))),
        }
    }

    /// Loads the scripts again.
    pub(crate) async fn load(&self) -> Result<(), Fault> {
        let mut commands = redis::pipe();
        commands.add_command(COMMIT.load()).add_command(EPOCH.load());
        self.send(&commands).await?.into_iter().try_for_each(|answer| succeeded(answer).map(drop))
    }

    /// Fails if the server is not what it was when the connection was made.
    pub(crate) async fn verify(&self) -> Result<(), Fault> {
        self.expect(&self.info().await?)
    }

    /// What the server says of itself must be what it said when the connection was made.
    fn expect(&self, info: &[Value]) -> Result<(), Fault> {
        if identify(info, self.place.cluster)?.owner == self.identity.owner {
            return Ok(());
        }
        Err(Fault::NotNow("the server has another history".to_owned()))
    }

    async fn info(&self) -> Result<Vec<Value>, Fault> {
        let mut commands = redis::pipe();
        add_info(&mut commands);
        self.send(&commands).await
    }
}

/// Notices the end of a connection that nothing is sent on: what is sent there later would be of unknown outcome.
struct End(Arc<AtomicBool>);

impl AsyncPushSender for End {
    fn send(&self, info: PushInfo) -> Result<(), SendError> {
        if info.kind == PushKind::Disconnection {
            self.0.store(false, Ordering::Release);
        }
        Ok(())
    }
}

/// The command that announces changes on a server. A cluster before version 7 sends every announcement to all its nodes.
pub(crate) fn publish_command(cluster: bool, version: (u32, u32)) -> &'static str {
    if cluster && version.0 >= 7 { "SPUBLISH" } else { "PUBLISH" }
}

/// An answer that is not an error.
pub(crate) fn succeeded(answer: Value) -> Result<Value, Fault> {
    match answer {
        Value::ServerError(error) => Err(Fault::from_server(&error)),
        answer => Ok(answer),
    }
}

async fn send(
    connection: &MultiplexedConnection,
    commands: &Pipeline,
    timeout: Option<Duration>,
) -> Result<Vec<Value>, Fault> {
    let mut connection = connection.clone();
    if let Some(timeout) = timeout {
        connection.set_response_timeout(timeout);
    }
    let count = commands.len();
    match connection.send_packed_commands(commands, 0, count).await {
        Ok(answers) if answers.len() == count => Ok(answers),
        Ok(answers) => Err(Fault::Unknown(format!("{} answers to {count} commands", answers.len()))),
        Err(error) => Err(Fault::from_connection(&error)),
    }
}

/// Asks for what [`identify`] wants: two commands.
pub(crate) fn add_info(commands: &mut Pipeline) {
    commands.cmd("INFO").arg("server").cmd("INFO").arg("replication");
}

/// Who answers, by its `INFO` of `server` and `replication`.
pub(crate) fn identify(answers: &[Value], cluster: bool) -> Result<Identity, Fault> {
    let mut sections = Vec::with_capacity(2);
    for answer in answers {
        let answer = succeeded(answer.clone())?;
        sections.push(Info::from_value(&answer).unwrap_or_default());
    }
    let [server, replication] = &sections[..] else {
        return Err(Fault::Unknown("INFO has no answer".to_owned()));
    };
    let version = server.get("redis_version").and_then(parse_version);
    let version =
        version.ok_or_else(|| Fault::Refused("INFO does not say which version it is".to_owned()))?;
    if version < OLDEST {
        let (major, minor) = version;
        return Err(Fault::Refused(format!(
            "it is Redis {major}.{minor}: use Redis 6.2 or later, or Valkey"
        )));
    }
    match (server.get("redis_mode"), cluster) {
        (Some("cluster"), false) => {
            return Err(Fault::Refused("it is part of a cluster: write redis.mode = \"cluster\"".to_owned()));
        }
        (Some("standalone"), true) => {
            return Err(Fault::Refused("it is not part of a cluster: leave redis.mode out".to_owned()));
        }
        (Some("sentinel"), _) => {
            return Err(Fault::Refused("it is a sentinel: write redis.mode = \"sentinel\"".to_owned()));
        }
        _ => {}
    }
    if replication.get("role") != Some("master") {
        return Err(Fault::NotNow(
            "READONLY it is a replica: name the master, or write redis.mode = \"sentinel\"".to_owned(),
        ));
    }
    let run = server.get("run_id").unwrap_or_default();
    let history = replication.get("master_replid").unwrap_or_default();
    if run.is_empty() || history.is_empty() {
        return Err(Fault::Refused(
            "INFO has no run_id or no master_replid: it is not Redis itself".to_owned(),
        ));
    }
    Ok(Identity { version, owner: format!("{run}:{history}") })
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn parse_epoch(answer: Value) -> Result<(Arc<str>, u64), Fault> {
    let text = match answer {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        _ => None,
    };
    let parsed = text.and_then(|text| {
        let number = text.rsplit(' ').next()?.parse().ok()?;
        Some((Arc::from(text), number))
    });
    parsed.ok_or_else(|| Fault::Unknown("the epoch's script answers nonsense".to_owned()))
}
