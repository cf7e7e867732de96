//! Which server has which tag, and how that is found out anew when it changes.

use crate::config::{Address, Deployment, Settings};
use crate::connector::Connector;
use crate::error::OpenError;
use crate::fault::Fault;
use crate::layout::{CLUSTER_TAGS, Layout, Tag};
use crate::link::{Place, succeeded};
use crate::node::Node;
use redis::Value;
use redis::cluster_routing::Slot;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

/// It is looked for changes no more often.
const REFRESH_PAUSE: Duration = Duration::from_millis(20);
/// How many slots a cluster has.
const SLOTS: u16 = 16_384;

/// Which server has which tag, as it was last seen.
pub(crate) struct View {
    pub(crate) nodes: Vec<Arc<Node>>,
    /// For each tag, the number of its node; none where the cluster names none.
    homes: Vec<Option<usize>>,
}

impl View {
    /// Who has the tag.
    pub(crate) fn node(&self, tag: Tag) -> Result<Arc<Node>, Fault> {
        let node = self.homes.get(usize::from(tag)).copied().flatten().and_then(|node| self.nodes.get(node));
        node.cloned().ok_or_else(|| {
            Fault::Unreached(
                "no master is known: is a failover under way, or are slots without a node?".to_owned(),
            )
        })
    }

    /// The tags of a node.
    pub(crate) fn tags(&self, node: usize) -> Vec<Tag> {
        let of_node = |(tag, home): (usize, &Option<usize>)| (*home == Some(node)).then_some(tag as Tag);
        self.homes.iter().enumerate().filter_map(of_node).collect()
    }

    fn same(&self, other: &View) -> bool {
        self.homes == other.homes
            && self.nodes.len() == other.nodes.len()
            && self.nodes.iter().zip(&other.nodes).all(|(a, b)| Arc::ptr_eq(a, b))
    }
}

/// How it is found out.
enum Source {
    /// It never changes.
    Fixed,
    Sentinel {
        sentinels: Vec<Address>,
        master: String,
        connector: Connector,
    },
    Cluster {
        seeds: Vec<Address>,
    },
}

/// Which server has which tag.
pub(crate) struct Topology {
    source: Source,
    connector: Arc<Connector>,
    place: Arc<Place>,
    /// The slot of each tag.
    slots: Vec<u16>,
    view: watch::Sender<Arc<View>>,
    refreshing: Mutex<Option<Instant>>,
}

impl Topology {
    pub(crate) fn new(settings: &Settings) -> Result<Topology, OpenError> {
        let connector = Arc::new(Connector::for_data(settings)?);
        let (source, tags, first) = match &settings.deployment {
            Deployment::Single(address) => (Source::Fixed, 1, Some(address.clone())),
            Deployment::Sentinel { sentinels, master, login } => {
                let connector = Connector::for_others(settings, login.clone())?;
                (
                    Source::Sentinel { sentinels: sentinels.clone(), master: master.clone(), connector },
                    1,
                    None,
                )
            }
            Deployment::Cluster { seeds } => (Source::Cluster { seeds: seeds.clone() }, CLUSTER_TAGS, None),
            Deployment::Quorum { .. } => {
                return Err(OpenError::Unusable {
                    place: "the nodes of redis.addrs".to_owned(),
                    why: "a quorum is another kind of store".to_owned(),
                });
            }
        };
        let layout = Layout::new(&settings.prefix, tags, settings.db);
        let place = Arc::new(Place::new(layout, matches!(source, Source::Cluster { .. })));
        let node = |address| Arc::new(Node::new(address, Arc::clone(&connector), Arc::clone(&place)));
        let nodes: Vec<_> = first.into_iter().map(node).collect();
        let homes = vec![(!nodes.is_empty()).then_some(0); usize::from(tags)];
        let view = watch::Sender::new(Arc::new(View { nodes, homes }));
        let slots = match source {
            Source::Cluster { .. } => place.layout.tags().map(|tag| slot(&place.layout, tag)).collect(),
            _ => Vec::new(),
        };
        Ok(Topology { source, connector, place, slots, view, refreshing: Mutex::new(None) })
    }

    pub(crate) fn place(&self) -> &Arc<Place> {
        &self.place
    }

    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.borrow())
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<View>> {
        self.view.subscribe()
    }

    /// Looks who has what, unless somebody has just done that.
    pub(crate) async fn refresh(&self) -> Result<(), Fault> {
        let mut last = self.refreshing.lock().await;
        if last.is_some_and(|last| last.elapsed() < REFRESH_PAUSE) {
            return Ok(());
        }
        let found = match &self.source {
            Source::Fixed => Ok(()),
            Source::Sentinel { sentinels, master, connector } => {
                ask_sentinels(sentinels, master, connector).await.map(|master| self.adopt(vec![(0, master)]))
            }
            Source::Cluster { seeds } => self.ask_cluster(seeds).await.map(|found| self.adopt(found)),
        };
        *last = Some(Instant::now());
        found
    }

    /// Takes what was found: addresses by tag.
    fn adopt(&self, found: Vec<(Tag, Address)>) {
        let old = self.view();
        let mut nodes: Vec<Arc<Node>> = Vec::new();
        let mut homes = vec![None; old.homes.len()];
        for (tag, address) in found {
            let node = nodes.iter().position(|node| node.address == address).unwrap_or_else(|| {
                let known = old.nodes.iter().find(|node| node.address == address).map(Arc::clone);
                nodes.push(known.unwrap_or_else(|| {
                    Arc::new(Node::new(address, Arc::clone(&self.connector), Arc::clone(&self.place)))
                }));
                nodes.len() - 1
            });
            homes[usize::from(tag)] = Some(node);
        }
        let new = View { nodes, homes };
        if !new.same(&old) {
            let addresses: Vec<_> = new.nodes.iter().map(|node| node.address.to_string()).collect();
            tracing::info!(masters = addresses.join(", "), "who has the records");
            self.view.send_replace(Arc::new(new));
        }
    }

    async fn ask_cluster(&self, seeds: &[Address]) -> Result<Vec<(Tag, Address)>, Fault> {
        let view = self.view();
        let known = view.nodes.iter().map(|node| node.address.clone());
        let mut last = Fault::Unreached("no node of the cluster is known".to_owned());
        let mut asked: Vec<Address> = Vec::new();
        for address in known.chain(seeds.iter().cloned()) {
            if asked.contains(&address) {
                continue;
            }
            match ask_node(&address, &self.connector).await {
                Ok(ranges) => {
                    let home = |(tag, slot): (Tag, &u16)| {
                        let range = ranges.iter().find(|(from, to, _)| (*from..=*to).contains(slot));
                        range.map(|(.., master)| (tag, master.clone()))
                    };
                    return Ok((0..).zip(&self.slots).filter_map(home).collect());
                }
                Err(fault) => last = fault.at(&address),
            }
            asked.push(address);
        }
        Err(last)
    }
}

/// The slot of a tag.
fn slot(layout: &Layout, tag: Tag) -> u16 {
    let found = Slot::for_key(layout.epoch(tag));
    // The type keeps its number to itself, but can be made of one.
    (0..SLOTS).find(|number| Slot::new(*number) == Some(found)).unwrap_or_default()
}

/// Ranges of slots, and who has them.
async fn ask_node(address: &Address, connector: &Connector) -> Result<Vec<(u16, u16, Address)>, Fault> {
    let answer = ask(address, connector, redis::cmd("CLUSTER").arg("SLOTS")).await?;
    let nonsense = || Fault::Refused("CLUSTER SLOTS has no proper answer".to_owned());
    let Value::Array(ranges) = answer else { return Err(nonsense()) };
    let mut found = Vec::with_capacity(ranges.len());
    for range in ranges {
        let Value::Array(range) = range else { return Err(nonsense()) };
        let [Value::Int(from), Value::Int(to), Value::Array(master), ..] = &range[..] else {
            return Err(nonsense());
        };
        let [host, Value::Int(port), ..] = &master[..] else { return Err(nonsense()) };
        let (Ok(from), Ok(to), Ok(port)) = (u16::try_from(*from), u16::try_from(*to), u16::try_from(*port))
        else {
            return Err(nonsense());
        };
        let host = match (text(host), address) {
            // A node that does not know its own name has the one that it was reached by.
            (None, Address::Tcp { host, .. }) => host.clone(),
            (Some(host), _) => host,
            (None, Address::Unix(_)) => return Err(nonsense()),
        };
        found.push((from, to, Address::Tcp { host, port }));
    }
    if found.is_empty() {
        return Err(Fault::NotNow("CLUSTERDOWN no slot has a node".to_owned()));
    }
    Ok(found)
}

async fn ask_sentinels(sentinels: &[Address], master: &str, connector: &Connector) -> Result<Address, Fault> {
    let mut last = Fault::Unreached("no sentinel is named".to_owned());
    for sentinel in sentinels {
        let mut question = redis::cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(master);
        match ask(sentinel, connector, &question).await {
            Ok(Value::Array(parts)) => {
                let [host, port] = &parts[..] else { continue };
                if let (Some(host), Some(Ok(port))) = (text(host), text(port).map(|port| port.parse())) {
                    return Ok(Address::Tcp { host, port });
                }
            }
            Ok(_) => {
                let reason = format!("it knows no master {master:?}: correct redis.sentinel.master");
                last = Fault::Refused(reason).at(sentinel);
            }
            Err(fault) => last = fault.at(sentinel),
        }
    }
    Err(last)
}

/// Asks one thing, over a connection of its own: what is asked for the way must not wait behind the traffic.
async fn ask(address: &Address, connector: &Connector, command: &redis::Cmd) -> Result<Value, Fault> {
    let asked = async {
        let mut connection = connector.connect(address, None).await?;
        let answer = connection.send_packed_command(command).await;
        answer.map_err(|error| Fault::Unreached(error.to_string())).and_then(succeeded)
    };
    match tokio::time::timeout(connector.timeout() / 2, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(Fault::Unreached(format!("no answer within {:?}", connector.timeout() / 2))),
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) if !bytes.is_empty() && bytes != b"?" => {
            String::from_utf8(bytes.clone()).ok()
        }
        Value::SimpleString(text) if !text.is_empty() => Some(text.clone()),
        _ => None,
    }
}
