//! What is wrong with Redis at the moment, and what it can't promise as it is set up.

use crate::fault::Fault;
use crate::info::Info;
use crate::link::succeeded;
use crate::node::Node;
use crate::topology::Topology;
use dlock_store::{Condition, Severity};
use futures::future::join_all;
use redis::Value;
use std::sync::Arc;

/// From this part of its memory on, in percent, somebody should look.
const MEMORY_WARNING_PERCENT: u64 = 90;

/// What a node says about itself.
struct Report {
    memory: Info,
    persistence: Info,
    replication: Info,
    /// What `CONFIG GET` says, where it is allowed.
    settings: Option<Vec<(String, String)>>,
}

impl Report {
    async fn of(node: &Node) -> Result<Report, Fault> {
        let link = node.reads().await?;
        let mut commands = redis::pipe();
        for section in ["memory", "persistence", "replication"] {
            commands.cmd("INFO").arg(section);
        }
        for setting in ["appendfsync", "min-replicas-to-write", "stop-writes-on-bgsave-error"] {
            commands.cmd("CONFIG").arg("GET").arg(setting);
        }
        let mut answers = link.send(&commands).await?;
        let settings = answers.split_off(3).into_iter().map(setting).collect();
        let mut sections =
            answers.into_iter().map(|answer| succeeded(answer).map(|answer| Info::from_value(&answer)));
        let mut section = || -> Result<Info, Fault> {
            sections.next().transpose().map(|section| section.flatten().unwrap_or_default())
        };
        Ok(Report { memory: section()?, persistence: section()?, replication: section()?, settings })
    }

    fn setting(&self, name: &str) -> Option<&str> {
        let (_, value) = self.settings.as_ref()?.iter().find(|(known, _)| known == name)?;
        Some(value)
    }

    /// Whether it may throw away what nobody has deleted.
    fn evicts(&self) -> Option<&str> {
        let policy = self.memory.get("maxmemory_policy")?;
        // The other policies touch only keys with a time to live, and ours have none.
        (self.memory.number("maxmemory") != Some(0) && policy.starts_with("allkeys-")).then_some(policy)
    }
}

/// One setting, as `CONFIG GET` gives it; none where that is not allowed.
pub(crate) fn setting(answer: Value) -> Option<(String, String)> {
    let pair = match answer {
        Value::Map(pairs) => pairs.into_iter().next()?,
        Value::Array(parts) => <[Value; 2]>::try_from(parts).ok()?.into(),
        _ => return None,
    };
    match pair {
        (Value::BulkString(name), Value::BulkString(value)) => {
            Some((String::from_utf8(name).ok()?, String::from_utf8(value).ok()?))
        }
        _ => None,
    }
}

/// What is wrong at the moment.
pub(crate) async fn conditions(topology: &Topology, replicas: u32) -> Vec<Condition> {
    let mut conditions = Vec::new();
    if let Err(fault) = topology.refresh().await {
        conditions.push(unusable("the way to the records can't be asked for", fault));
    }
    let view = topology.view();
    if topology.place().layout.tags().any(|tag| view.node(tag).is_err()) {
        conditions.push(Condition {
            severity: Severity::Failure,
            code: "NOMASTER",
            message: "some records have no master: a failover is under way, or slots of the cluster have no node (redis-cli --cluster check)".to_owned(),
        });
    }
    let reports = join_all(view.nodes.iter().map(|node| of_node(node, replicas))).await;
    conditions.extend(reports.into_iter().flatten());
    conditions
}

fn unusable(what: &str, fault: Fault) -> Condition {
    let (code, reason) = match fault {
        Fault::NotNow(reason) if reason.contains("LOADING") => ("LOADING", reason),
        Fault::NotNow(reason) if reason.contains("READONLY") => ("READONLY", reason),
        Fault::NotNow(reason) => ("NOTREADY", reason),
        Fault::Refused(reason) => ("REFUSED", reason),
        Fault::Full(reason) => ("NOSPACE", reason),
        Fault::Unreached(reason) | Fault::Unknown(reason) | Fault::Foreign(reason) => ("UNREACHABLE", reason),
        Fault::NoScript => ("NOTREADY", "the scripts are gone".to_owned()),
    };
    Condition { severity: Severity::Failure, code, message: format!("{what}: {reason}") }
}

async fn of_node(node: &Arc<Node>, replicas: u32) -> Vec<Condition> {
    let place = &node.address;
    let report = match Report::of(node).await {
        Ok(report) => report,
        Err(fault) => return vec![unusable(&format!("Redis at {place} does not serve"), fault)],
    };
    let mut conditions = Vec::new();
    let mut add = |severity, code, message: String| {
        conditions.push(Condition { severity, code, message: format!("Redis at {place}: {message}") });
    };
    if report.persistence.get("loading") == Some("1") {
        add(Severity::Failure, "LOADING", "it is reading its data back: wait".to_owned());
    }
    if report.replication.get("role") != Some("master") {
        add(Severity::Failure, "READONLY", "it is a replica: name the master, or use Sentinel".to_owned());
    }
    let (used, max) = (report.memory.number("used_memory"), report.memory.number("maxmemory"));
    if let (Some(used), Some(max @ 1..)) = (used, max) {
        if let Some(policy) = report.evicts() {
            let message =
                format!("maxmemory-policy is {policy}, so that locks can vanish: set it to noeviction");
            add(Severity::Warning, "EVICTION", message);
        } else if used >= max {
            let message = format!("{used} of {max} bytes are used, and writes are refused: raise maxmemory");
            add(Severity::Failure, "NOSPACE", message);
        } else if used >= max / 100 * MEMORY_WARNING_PERCENT {
            add(Severity::Warning, "NOSPACE", format!("{used} of {max} bytes are used: raise maxmemory"));
        }
    }
    if report.persistence.get("aof_last_write_status") == Some("err") {
        add(Severity::Failure, "DISK", "it can't write its append-only file: its log says why".to_owned());
    }
    if report.persistence.get("rdb_last_bgsave_status") == Some("err")
        && report.setting("stop-writes-on-bgsave-error") != Some("no")
    {
        add(
            Severity::Failure,
            "DISK",
            "it can't write its snapshot, and refuses writes: its log says why".to_owned(),
        );
    }
    let connected = report.replication.number("connected_slaves").unwrap_or(0);
    if connected < u64::from(replicas) {
        let message = format!("{connected} replicas are connected, and redis.replicas is {replicas}");
        add(Severity::Failure, "NOREPLICAS", message);
    }
    conditions
}

/// What a store of these nodes can't promise, and the way out.
pub(crate) async fn caveats(topology: &Topology, fails_over: bool, replicas: u32) -> Vec<String> {
    let mut caveats = Vec::new();
    for node in &topology.view().nodes {
        let place = &node.address;
        let report = match Report::of(node).await {
            Ok(report) => report,
            Err(fault) => {
                caveats.push(format!("Redis at {place} could not be asked what it promises: {fault:?}"));
                continue;
            }
        };
        match (report.persistence.get("aof_enabled"), report.setting("appendfsync")) {
            (Some("0"), _) => caveats.push(format!(
                "Redis at {place} has appendonly off: when it ends, it forgets every lock since its last snapshot, and others can get them while they are still held; set appendonly yes and appendfsync always"
            )),
            (_, Some("always")) => {}
            (_, Some(policy)) => caveats.push(format!(
                "Redis at {place} has appendfsync {policy}: when its machine fails, it forgets the locks of the last {}, and others can get them while they are still held; set appendfsync always",
                if policy == "everysec" { "second or two" } else { "half minute or so" }
            )),
            (_, None) => caveats.push(format!(
                "Redis at {place} does not say how it writes to disk (CONFIG GET is refused): make sure of appendonly yes and appendfsync always"
            )),
        }
        if let Some(policy) = report.evicts() {
            caveats.push(format!(
                "Redis at {place} has maxmemory-policy {policy}: when its memory is full, it deletes locks; set noeviction"
            ));
        }
        if fails_over && report.setting("min-replicas-to-write").unwrap_or("0") == "0" {
            caveats.push(format!(
                "Redis at {place} has min-replicas-to-write 0: cut off from its replicas, it goes on granting locks that are lost when it is replaced; set it to 1"
            ));
        }
    }
    if fails_over && replicas == 0 {
        caveats.push(
            "Redis replicates after it has answered: a failover loses the newest locks, and others can get them while they are still held; set redis.replicas = 1 (a write then counts when a replica has it), check fencing tokens, or use mode = \"quorum\""
                .to_owned(),
        );
    }
    caveats
}
