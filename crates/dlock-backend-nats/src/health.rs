//! What is wrong at the moment.

use crate::client::Connected;
use dlock_store::{Condition, Severity};

pub(crate) async fn look(connected: &Connected) -> Vec<Condition> {
    let mut conditions = Vec::new();
    let stream = match connected.context.get_stream(&connected.stream).await {
        Ok(stream) => stream,
        Err(error) => {
            let message = format!("the bucket's stream {} can't be reached: {error}", connected.stream);
            conditions.push(Condition { severity: Severity::Failure, code: "UNREACHABLE", message });
            return conditions;
        }
    };
    if let Some(cluster) = &stream.cached_info().cluster {
        if cluster.leader.is_none() {
            let message = "the bucket has no leader: a majority of its servers has to be up".to_owned();
            conditions.push(Condition { severity: Severity::Failure, code: "NO_LEADER", message });
        }
        let away: Vec<&str> =
            cluster.replicas.iter().filter(|peer| peer.offline).map(|peer| peer.name.as_str()).collect();
        if !away.is_empty() {
            let message = format!("servers that keep the bucket are away: {}", away.join(", "));
            conditions.push(Condition { severity: Severity::Warning, code: "REPLICA_AWAY", message });
        }
    }
    conditions
}
