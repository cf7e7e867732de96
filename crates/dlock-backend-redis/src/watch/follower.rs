//! One subscription at each server that has tags of ours, made anew whenever it breaks or the servers change.

use super::hub::Hub;
use crate::fault::Fault;
use crate::layout::Tag;
use crate::link::{add_info, identify, publish_command, succeeded};
use crate::node::Node;
use crate::record::announced;
use crate::topology::Topology;
use redis::aio::{AsyncPushSender, MultiplexedConnection};
use redis::{PushInfo, PushKind, Value};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// How often a subscription's connection is asked whether it is still there. One that is silently gone hears nothing,
/// and would say nothing.
const PING_INTERVAL: Duration = Duration::from_secs(1);
/// How long it is waited before a subscription is made anew.
const PAUSE: Duration = Duration::from_millis(50);

/// Keeps the subscriptions until it is dropped.
pub(crate) async fn follow(topology: Arc<Topology>, hub: Arc<Hub>) {
    let mut views = topology.subscribe();
    loop {
        let view = Arc::clone(&views.borrow_and_update());
        let mut followers = JoinSet::new();
        for (number, node) in view.nodes.iter().enumerate() {
            let (node, tags, hub) = (Arc::clone(node), view.tags(number), Arc::clone(&hub));
            followers.spawn(async move { follow_node(&node, &tags, &hub).await });
        }
        if views.changed().await.is_err() {
            return;
        }
        // Dropping the set would end them at some later time: what they hear is counted until they have ended.
        followers.shutdown().await;
    }
}

async fn follow_node(node: &Node, tags: &[Tag], hub: &Arc<Hub>) {
    loop {
        match subscribe(node, tags, hub).await {
            Ok(mut subscription) => {
                let heard = Heard::start(hub, tags);
                let why = subscription.broken().await;
                drop(heard);
                tracing::debug!(address = %node.address, why, "a subscription is made anew");
            }
            Err(fault) => tracing::debug!(address = %node.address, ?fault, "no subscription"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// While this lives, the tags count as heard.
struct Heard<'a> {
    hub: &'a Hub,
    tags: &'a [Tag],
}

impl<'a> Heard<'a> {
    fn start(hub: &'a Hub, tags: &'a [Tag]) -> Heard<'a> {
        hub.hear(tags);
        Heard { hub, tags }
    }
}

impl Drop for Heard<'_> {
    fn drop(&mut self) {
        self.hub.unhear(self.tags);
    }
}

/// A connection on which announcements come.
struct Subscription {
    connection: MultiplexedConnection,
    ended: Arc<Notify>,
    cluster: bool,
    owner: String,
}

/// Subscribes; when this returns, every later announcement of the tags is heard or the subscription breaks.
async fn subscribe(node: &Node, tags: &[Tag], hub: &Arc<Hub>) -> Result<Subscription, Fault> {
    let ended = Arc::new(Notify::new());
    let receiver = Receiver { hub: Arc::clone(hub), ended: Arc::clone(&ended) };
    let mut connection = node.connector().connect(&node.address, Some(Arc::new(receiver))).await?;
    let cluster = node.place().cluster;
    let identity = identify(&identity(&mut connection).await?, cluster)?;
    let command = match publish_command(cluster, identity.version) {
        "SPUBLISH" => "SSUBSCRIBE",
        _ => "SUBSCRIBE",
    };
    let mut commands = redis::pipe();
    for tag in tags {
        commands.cmd(command).arg(node.place().layout.channel(*tag));
    }
    if !tags.is_empty() {
        let answers = connection.send_packed_commands(&commands, 0, tags.len()).await;
        for answer in answers.map_err(|error| Fault::from_connection(&error))? {
            succeeded(answer)?;
        }
    }
    Ok(Subscription { connection, ended, cluster, owner: identity.owner })
}

async fn identity(connection: &mut MultiplexedConnection) -> Result<Vec<Value>, Fault> {
    let mut commands = redis::pipe();
    add_info(&mut commands);
    let answers = connection.send_packed_commands(&commands, 0, 2).await;
    answers.map_err(|error| Fault::from_connection(&error))
}

impl Subscription {
    /// Returns, and says why, when announcements may be missed.
    async fn broken(&mut self) -> String {
        loop {
            tokio::select! {
                () = self.ended.notified() => return "the connection or a channel has ended".to_owned(),
                () = tokio::time::sleep(PING_INTERVAL) => {}
            }
            let found = identity(&mut self.connection).await.and_then(|found| identify(&found, self.cluster));
            match found {
                Ok(identity) if identity.owner == self.owner => {}
                Ok(_) => return "the server has another history".to_owned(),
                Err(fault) => return format!("{fault:?}"),
            }
        }
    }
}

/// Takes what the server pushes, in the connection's own task.
struct Receiver {
    hub: Arc<Hub>,
    ended: Arc<Notify>,
}

impl AsyncPushSender for Receiver {
    fn send(&self, info: PushInfo) -> Result<(), redis::aio::SendError> {
        match info.kind {
            PushKind::Message | PushKind::SMessage => match info.data.into_iter().nth(1) {
                Some(Value::BulkString(message)) => match announced(message) {
                    Some(changes) => self.hub.tell(changes),
                    // Not ours, or a newer dlock's: there may have been something in it.
                    None => self.hub.resync(),
                },
                _ => self.hub.resync(),
            },
            // A cluster ends a channel's subscriptions when it moves the channel's slot.
            PushKind::Disconnection | PushKind::Unsubscribe | PushKind::SUnsubscribe => {
                self.ended.notify_one()
            }
            _ => {}
        }
        Ok(())
    }
}
