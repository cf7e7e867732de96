//! Several independent Redis nodes.

use crate::RedisServer;

/// Nodes that know nothing of each other.
#[derive(Debug)]
pub struct RedisQuorum {
    nodes: Vec<RedisServer>,
}

impl RedisQuorum {
    /// Starts nodes that append every write to their files before they answer.
    pub fn start(nodes: usize) -> RedisQuorum {
        RedisQuorum { nodes: (0..nodes).map(|_| RedisServer::start()).collect() }
    }

    /// Starts nodes with these options besides port and directory.
    pub fn start_with(nodes: usize, options: &[&str]) -> RedisQuorum {
        RedisQuorum { nodes: (0..nodes).map(|_| RedisServer::start_with(options)).collect() }
    }

    /// The addresses of all, each as `127.0.0.1:PORT`.
    pub fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(RedisServer::address).collect()
    }

    /// One of them.
    pub fn node(&mut self, number: usize) -> &mut RedisServer {
        &mut self.nodes[number]
    }

    /// All of them.
    pub fn nodes(&mut self) -> &mut [RedisServer] {
        &mut self.nodes
    }
}
