//! One connection to a node, and what the node says about itself on it. A connection lasts no longer than the run of
//! Redis at its other end, so that what was found out about the run holds for as long as the connection.

use super::ballot::{Epoch, NUMBER_BYTES};
use super::layout::Layout;
use super::marker::{Marker, Run};
use super::script::{self, EPOCH, MARK};
use crate::config::Address;
use crate::connector::Connector;
use crate::fault::Fault;
use crate::info::Info;
use crate::link::succeeded;
use redis::aio::{AsyncPushSender, MultiplexedConnection, SendError};
use redis::{Cmd, Pipeline, PushInfo, PushKind, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// One connection.
pub(super) struct Line {
    connection: MultiplexedConnection,
    usable: Arc<AtomicBool>,
}

/// What a node says about itself.
#[derive(Clone, Debug)]
pub(super) struct Report {
    pub(super) marker: Marker,
    /// The run in which it last had everything.
    pub(super) run: Run,
    /// The run that it is in.
    pub(super) current: Run,
    /// Whether it has been a replica of another: what it has may be less than the other had.
    pub(super) was_replica: bool,
    pub(super) epoch: Epoch,
    pub(super) changes: u64,
}

impl Line {
    /// Connects, and loads the scripts.
    pub(super) async fn open(
        connector: &Connector,
        address: &Address,
        timeout: Duration,
    ) -> Result<Line, Fault> {
        let usable = Arc::new(AtomicBool::new(true));
        let end = End(Arc::clone(&usable));
        let connected = tokio::time::timeout(timeout, connector.connect(address, Some(Arc::new(end))));
        let mut connection = connected.await.unwrap_or_else(|_| {
            Err(Fault::Unreached(format!("no connection within {timeout:?}")).at(address))
        })?;
        connection.set_response_timeout(timeout);
        let line = Line { connection, usable };
        line.load().await?;
        Ok(line)
    }

    pub(super) fn is_usable(&self) -> bool {
        self.usable.load(Ordering::Acquire)
    }

    /// Nothing more is sent here.
    pub(super) fn retire(&self) {
        self.usable.store(false, Ordering::Release);
    }

    /// Sends one command; a connection that does not answer is given up.
    pub(super) async fn send(&self, command: Cmd) -> Result<Value, Fault> {
        let mut commands = redis::pipe();
        commands.add_command(command);
        succeeded(self.send_all(&commands).await?.pop().unwrap_or_default())
    }

    /// Sends a script's call, again if the node has forgotten the script.
    pub(super) async fn call(&self, command: Cmd) -> Result<Value, Fault> {
        match self.send(command.clone()).await {
            Err(Fault::NoScript) => {
                self.load().await?;
                self.send(command).await
            }
            answer => answer,
        }
    }

    async fn send_all(&self, commands: &Pipeline) -> Result<Vec<Value>, Fault> {
        if !self.is_usable() {
            return Err(Fault::Unreached("the connection has ended".to_owned()));
        }
        let count = commands.len();
        match self.connection.clone().send_packed_commands(commands, 0, count).await {
            Ok(answers) if answers.len() == count => Ok(answers),
            Ok(answers) => {
                self.retire();
                Err(Fault::Unknown(format!("{} answers to {count} commands", answers.len())))
            }
            Err(error) => {
                self.retire();
                Err(Fault::from_connection(&error))
            }
        }
    }

    async fn load(&self) -> Result<(), Fault> {
        let mut commands = redis::pipe();
        for source in script::all() {
            commands.add_command(source.load());
        }
        self.send_all(&commands).await?.into_iter().try_for_each(|answer| succeeded(answer).map(drop))
    }

    /// Asks the node about itself.
    pub(super) async fn report(&self, layout: &Layout) -> Result<Report, Fault> {
        let mut commands = redis::pipe();
        for section in ["server", "replication", "persistence"] {
            commands.cmd("INFO").arg(section);
        }
        commands.cmd("GET").arg(layout.marker()).cmd("GET").arg(layout.run()).cmd("GET").arg(layout.epoch());
        for setting in ["appendfsync", "no-appendfsync-on-rewrite"] {
            commands.cmd("CONFIG").arg("GET").arg(setting);
        }
        let mut answers = self.send_all(&commands).await?;
        let settings: Vec<_> = answers.split_off(6).into_iter().map(crate::health::setting).collect();
        let texts = answers.split_off(3);
        let mut sections = Vec::with_capacity(3);
        for answer in answers {
            sections.push(Info::from_value(&succeeded(answer)?).unwrap_or_default());
        }
        let [server, replication, persistence] = &sections[..] else { return Err(nonsense()) };
        check(server, replication)?;
        let mut found = Vec::with_capacity(3);
        for text in texts {
            found.push(bytes(succeeded(text)?)?);
        }
        let [marker, run, epoch] = &found[..] else { return Err(nonsense()) };
        let is = |number: usize, wanted: &str| {
            settings.get(number).and_then(Option::as_ref).is_some_and(|(_, value)| value == wanted)
        };
        // During a rewrite of the file, a node that is told so does not wait for the disk.
        let durable = persistence.get("aof_enabled") == Some("1") && is(0, "always") && is(1, "no");
        let marker = Marker::parse(&String::from_utf8_lossy(marker));
        let mut changes = 0;
        if let Marker::Joined { token, .. } = &marker {
            let mut get = redis::cmd("GET");
            get.arg(layout.names(token).changes);
            let text = bytes(self.send(get).await?)?;
            changes = String::from_utf8_lossy(&text).parse().unwrap_or_default();
        }
        Ok(Report {
            marker,
            run: Run::parse(&String::from_utf8_lossy(run)),
            current: Run { id: server.get("run_id").unwrap_or_default().to_owned(), durable },
            was_replica: replication.get("master_replid2").is_some_and(|id| id.chars().any(|c| c != '0')),
            epoch: if epoch.len() == NUMBER_BYTES {
                Epoch::from_bytes(epoch).unwrap_or_default()
            } else {
                Epoch::default()
            },
            changes,
        })
    }

    /// Changes what the node is, if it is what was reported: false if it is not any more.
    pub(super) async fn mark(
        &self,
        layout: &Layout,
        report: &Report,
        marker: &Marker,
        run: &Run,
        epoch: Option<Epoch>,
    ) -> Result<bool, Fault> {
        let mut call = MARK.call([layout.marker(), layout.run(), layout.epoch()].iter());
        call.arg(report.marker.to_string()).arg(report.run.to_string());
        call.arg(marker.to_string()).arg(run.to_string());
        let epoch = epoch.map(Epoch::to_bytes);
        call.arg(epoch.as_ref().map_or(&[][..], |epoch| &epoch[..]));
        Ok(self.call(call).await? == Value::Int(1))
    }

    /// Makes the node join an epoch; the one that it is in then.
    pub(super) async fn join(&self, layout: &Layout, marker: &str, epoch: Epoch) -> Result<Epoch, Fault> {
        let mut call = EPOCH.call([layout.marker(), layout.epoch()].iter());
        call.arg(marker).arg(&epoch.to_bytes()[..]);
        script::epoch(self.call(call).await?).ok_or_else(nonsense)
    }
}

/// Whether it is a Redis that can be a node.
fn check(server: &Info, replication: &Info) -> Result<(), Fault> {
    let refuse = |why: &str| Err(Fault::Refused(why.to_owned()));
    match server.get("redis_mode") {
        Some("cluster") => return refuse("it is part of a cluster: a quorum is of single nodes"),
        Some("sentinel") => return refuse("it is a sentinel: a quorum is of single nodes"),
        _ => {}
    }
    if replication.get("role") != Some("master") {
        return refuse("it is a replica: a quorum is of independent nodes");
    }
    if server.get("run_id").is_none_or(str::is_empty) {
        return refuse("INFO has no run_id: it is not Redis itself");
    }
    Ok(())
}

fn bytes(value: Value) -> Result<Vec<u8>, Fault> {
    match value {
        Value::Nil => Ok(Vec::new()),
        Value::BulkString(bytes) => Ok(bytes),
        _ => Err(nonsense()),
    }
}

pub(super) fn nonsense() -> Fault {
    Fault::Unknown("it gives an answer of the wrong kind".to_owned())
}

/// Notices the end of a connection that nothing is sent on.
struct End(Arc<AtomicBool>);

impl AsyncPushSender for End {
    fn send(&self, info: PushInfo) -> Result<(), SendError> {
        if info.kind == PushKind::Disconnection {
            self.0.store(false, Ordering::Release);
        }
        Ok(())
    }
}
