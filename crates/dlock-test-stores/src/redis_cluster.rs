//! A cluster of Redis.

use crate::RedisServer;
use crate::redis_sentinel::wait_until;

/// How many slots there are.
const SLOTS: usize = 16_384;
/// How many masters, each with one replica.
const MASTERS: usize = 3;

/// Three masters, each with a replica that replaces it within seconds.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<RedisServer>,
}

impl RedisCluster {
    /// Starts six nodes, joins them, and waits until they serve.
    pub fn start() -> RedisCluster {
        let options = [
            "--cluster-enabled",
            "yes",
            "--cluster-node-timeout",
            "1500",
            "--cluster-replica-validity-factor",
            "0",
            "--repl-diskless-sync-delay",
            "0",
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
        ];
        let nodes: Vec<_> = (0..2 * MASTERS).map(|_| RedisServer::start_with(&options)).collect();
        for (number, node) in nodes.iter().enumerate() {
            node.command(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]);
            if number < MASTERS {
                let slots = (number * SLOTS / MASTERS)..((number + 1) * SLOTS / MASTERS);
                let slots: Vec<String> = slots.map(|slot| slot.to_string()).collect();
                let words = ["CLUSTER", "ADDSLOTS"].into_iter().chain(slots.iter().map(String::as_str));
                node.command(&words.collect::<Vec<_>>());
            }
            if let Some((host, port)) = nodes[0].address().split_once(':').filter(|_| number > 0) {
                node.command(&["CLUSTER", "MEET", host, port]);
            }
        }
        let cluster = RedisCluster { nodes };
        let knows_all = |node: &RedisServer| {
            node.command(&["CLUSTER", "INFO"]).contains(&format!("cluster_known_nodes:{}", 2 * MASTERS))
        };
        wait_until("acquainted", || cluster.nodes.iter().all(knows_all));
        for (master, replica) in cluster.nodes[..MASTERS].iter().zip(&cluster.nodes[MASTERS..]) {
            replica.command(&["CLUSTER", "REPLICATE", &id(master)]);
        }
        cluster.wait_until_complete();
        cluster
    }

    /// All nodes, each as `127.0.0.1:PORT`.
    pub fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(RedisServer::address).collect()
    }

    /// All nodes.
    pub fn nodes(&mut self) -> &mut [RedisServer] {
        &mut self.nodes
    }

    /// The number of the master that has a slot now, by what the node `asked` knows.
    pub fn master_of(&self, slot: u16, asked: usize) -> usize {
        let found = self.nodes[asked].command(&["CLUSTER", "NODES"]);
        let has = |range: &str| match range.split_once('-') {
            Some((from, to)) => {
                from.parse().is_ok_and(|from: u16| from <= slot) && to.parse().is_ok_and(|to: u16| slot <= to)
            }
            None => range.parse() == Ok(slot),
        };
        let line =
            found.lines().find(|line| line.contains("master") && line.split(' ').skip(8).any(has)).unwrap();
        let address = line.split([' ', '@']).nth(1).unwrap();
        self.nodes.iter().position(|node| node.address() == address).unwrap()
    }

    /// Moves a slot with all its keys to another master, as `redis-cli --cluster reshard` does; `between` is called
    /// when one key has moved and the others have not.
    pub fn move_slot(&self, slot: u16, to: usize, between: impl FnOnce()) {
        let from = self.master_of(slot, to);
        let (source, target) = (&self.nodes[from], &self.nodes[to]);
        let number = slot.to_string();
        target.command(&["CLUSTER", "SETSLOT", &number, "IMPORTING", &id(source)]);
        source.command(&["CLUSTER", "SETSLOT", &number, "MIGRATING", &id(target)]);
        let address = target.address();
        let (host, port) = address.split_once(':').unwrap();
        let mut between = Some(between);
        loop {
            let keys = source.command(&["CLUSTER", "GETKEYSINSLOT", &number, "1"]);
            if keys.is_empty() {
                break;
            }
            source.command(&["MIGRATE", host, port, &keys, "0", "5000"]);
            if let Some(between) = between.take() {
                between();
            }
        }
        for node in [target, source] {
            node.command(&["CLUSTER", "SETSLOT", &number, "NODE", &id(target)]);
        }
    }

    /// Waits until every node says that all is well, and every replica has what its master has.
    pub fn wait_until_complete(&self) {
        let well = |node: &RedisServer| {
            let replication = node.command(&["INFO", "replication"]);
            node.command(&["CLUSTER", "INFO"]).contains("cluster_state:ok")
                && (replication.contains("role:master") || replication.contains("master_link_status:up"))
        };
        let replicas = |node: &RedisServer| node.command(&["INFO", "replication"]).contains("role:slave");
        wait_until("complete", || {
            self.nodes.iter().all(well) && self.nodes.iter().filter(|node| replicas(node)).count() == MASTERS
        });
    }
}

fn id(node: &RedisServer) -> String {
    node.command(&["CLUSTER", "MYID"])
}
