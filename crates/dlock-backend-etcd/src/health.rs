//! What is wrong with the cluster at the moment.

use crate::endpoints::{Endpoints, REQUEST_TIMEOUT};
use crate::error::{Failure, SPACE_WAY_OUT};
use dlock_store::{Condition, Severity};
use etcd_client::StatusResponse;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How long members are waited for once one has answered: the caller has its lease to renew.
const PATIENCE: Duration = Duration::from_millis(500);
/// etcd's quota where it does not say its own (before 3.6): the default of `--quota-backend-bytes`.
const QUOTA_DEFAULT: i64 = 2 << 30;

pub(crate) async fn look(endpoints: &Endpoints) -> Vec<Condition> {
    let (mut statuses, mut leaderless, mut failures) = (Vec::new(), 0, Vec::new());
    for (address, answer) in ask_all(endpoints).await {
        match answer {
            Ok(status) => statuses.push(status),
            Err(failure) if failure.is_no_leader() => leaderless += 1,
            Err(failure) => failures.push(format!("{address} ({})", failure.reason)),
        }
    }
    let silent = failures.join(", ");
    if statuses.is_empty() && leaderless == 0 {
        let message = format!("etcd does not answer at {silent}");
        return vec![Condition { severity: Severity::Failure, code: "UNREACHABLE", message }];
    }
    let mut conditions = Vec::new();
    if !failures.is_empty() {
        let message = format!("these etcd members do not answer: {silent}");
        conditions.push(Condition { severity: Severity::Warning, code: "MEMBER_UNREACHABLE", message });
    }
    if statuses.iter().all(|status| status.leader() == 0) {
        let message =
            "etcd has no leader: a majority of its members has to be up and reach each other".to_owned();
        conditions.push(Condition { severity: Severity::Failure, code: "NO_LEADER", message });
    }
    conditions.extend(judge(&statuses));
    conditions
}

/// Each member's answer. Those that take much longer than the first are counted as silent.
async fn ask_all(endpoints: &Endpoints) -> Vec<(String, Result<StatusResponse, Failure>)> {
    let started = Instant::now();
    let named = endpoints.addresses().zip(endpoints.statuses(started + REQUEST_TIMEOUT));
    let mut asking: FuturesUnordered<_> =
        named.map(|(address, status)| async move { (address.to_owned(), status.await) }).collect();
    let mut deadline = started + REQUEST_TIMEOUT;
    let mut answers = Vec::new();
    while let Ok(Some((address, answer))) = timeout_at(deadline, asking.next()).await {
        if answer.is_ok() {
            deadline = started + PATIENCE;
        }
        answers.push((address, answer));
    }
    let late = |address: &str| (address.to_owned(), Err(Failure::late(started.elapsed())));
    let silent: Vec<_> = endpoints
        .addresses()
        .filter(|address| !answers.iter().any(|(answered, _)| answered == address))
        .map(late)
        .collect();
    answers.extend(silent);
    answers
}

fn judge(statuses: &[StatusResponse]) -> Vec<Condition> {
    let mut conditions = Vec::new();
    // Members tell of the cluster's alarms as of errors. (To ask for the alarms themselves costs a write to the log.)
    let alarm = |name: &str| statuses.iter().flat_map(StatusResponse::errors).any(|said| said.contains(name));
    if alarm("NOSPACE") {
        let message = format!("etcd's quota is used up and it takes no writes: {SPACE_WAY_OUT}");
        conditions.push(Condition { severity: Severity::Failure, code: "NOSPACE", message });
    } else if let Some(message) = statuses.iter().find_map(low_space) {
        conditions.push(Condition { severity: Severity::Warning, code: "SPACE_LOW", message });
    }
    if alarm("CORRUPT") {
        let message =
            "an etcd member's data is corrupt: replace the member (see etcdctl alarm list)".to_owned();
        conditions.push(Condition { severity: Severity::Failure, code: "CORRUPT", message });
    }
    conditions
}

/// Whether more than four fifths of the quota are in use. The file may be larger: what is free in it is used again.
fn low_space(status: &StatusResponse) -> Option<String> {
    let quota = if status.db_size_quota() > 0 { status.db_size_quota() } else { QUOTA_DEFAULT };
    let used = status.raft_used_db_size();
    let assumed =
        if status.db_size_quota() > 0 { "" } else { " (the default: this etcd does not say its own)" };
    (used > quota / 5 * 4).then(|| {
        format!(
            "etcd uses {} MiB of a quota of {} MiB{assumed}, and takes no writes when it is full: {SPACE_WAY_OUT}",
            used >> 20,
            quota >> 20
        )
    })
}
