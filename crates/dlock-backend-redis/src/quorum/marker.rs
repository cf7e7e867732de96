//! What a node says it is.

use std::fmt;

/// A node's marker. Tokens and formations are random; no two are the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Marker {
    /// A node without data of ours: new, or wiped.
    #[default]
    Vacant,
    /// About to be one of the first members.
    Forming { formation: String, nodes: usize },
    /// Takes part.
    Joined { formation: String, nodes: usize, token: String },
    /// Copies what the others have, and takes no part.
    Catching { formation: String, nodes: usize, token: String },
    /// Written by something else, or a newer dlock.
    Foreign(String),
}

impl Marker {
    /// Reads what is in the node; nothing is an empty text.
    pub(super) fn parse(text: &str) -> Marker {
        if text.is_empty() {
            return Marker::Vacant;
        }
        let parts: Vec<&str> = text.split(' ').collect();
        let parsed = match parts[..] {
            ["1", "forming", formation, nodes] => {
                nodes.parse().ok().map(|nodes| Marker::Forming { formation: formation.to_owned(), nodes })
            }
            ["1", kind @ ("joined" | "catching"), formation, nodes, token] => {
                nodes.parse().ok().map(|nodes| {
                    let (formation, token) = (formation.to_owned(), token.to_owned());
                    match kind {
                        "joined" => Marker::Joined { formation, nodes, token },
                        _ => Marker::Catching { formation, nodes, token },
                    }
                })
            }
            _ => None,
        };
        parsed.unwrap_or_else(|| Marker::Foreign(text.to_owned()))
    }

    /// Of how many nodes its quorum is.
    pub(super) fn nodes(&self) -> Option<usize> {
        match self {
            Marker::Forming { nodes, .. } | Marker::Joined { nodes, .. } | Marker::Catching { nodes, .. } => {
                Some(*nodes)
            }
            Marker::Vacant | Marker::Foreign(_) => None,
        }
    }
}

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Marker::Vacant => Ok(()),
            Marker::Forming { formation, nodes } => write!(f, "1 forming {formation} {nodes}"),
            Marker::Joined { formation, nodes, token } => write!(f, "1 joined {formation} {nodes} {token}"),
            Marker::Catching { formation, nodes, token } => {
                write!(f, "1 catching {formation} {nodes} {token}")
            }
            Marker::Foreign(text) => f.write_str(text),
        }
    }
}

/// In which run of Redis a node was last known to have everything that it ever answered for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) id: String,
    /// Whether the next run will have everything, too: every write is on the disk before it is answered.
    pub(super) durable: bool,
}

impl Run {
    pub(super) fn parse(text: &str) -> Run {
        match text.split_once(' ') {
            Some((id, kind)) => Run { id: id.to_owned(), durable: kind == "durable" },
            None => Run::default(),
        }
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.id.is_empty() {
            return Ok(());
        }
        write!(f, "{} {}", self.id, if self.durable { "durable" } else { "lossy" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_read_back_and_others_are_foreign() {
        for text in ["", "1 forming f 3", "1 joined f 5 t", "1 catching f 5 t"] {
            let marker = Marker::parse(text);
            assert!(!matches!(marker, Marker::Foreign(_)), "{text}");
            assert_eq!(marker.to_string(), text);
        }
        for text in ["2 joined f 5 t", "1 joined f x t", "1 joined f 5", "?"] {
            assert_eq!(Marker::parse(text), Marker::Foreign(text.to_owned()));
        }
        for text in ["", "abc durable", "abc lossy"] {
            assert_eq!(Run::parse(text).to_string(), text);
        }
    }
}
