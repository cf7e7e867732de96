//! What is wrong with the cluster at the moment.

use crate::client::Connected;
use crate::error::SPACE_WAY_OUT;
use dlock_store::{Condition, Severity};
use etcd_client::{AlarmAction, AlarmType};

/// etcd's quota where it does not say its own: the default of `--quota-backend-bytes`.
const QUOTA_DEFAULT: i64 = 2 << 30;

pub(crate) async fn look(connected: &Connected) -> Vec<Condition> {
    let mut client = connected.client.maintenance_client();
    let mut conditions = Vec::new();
    let status = match client.status().await {
        Ok(status) => status,
        Err(error) => {
            let message = format!("etcd does not answer at {}: {error}", connected.endpoints);
            return vec![Condition { severity: Severity::Failure, code: "UNREACHABLE", message }];
        }
    };
    if status.leader() == 0 {
        let message =
            "etcd has no leader: a majority of its members has to be up and reach each other".to_owned();
        conditions.push(Condition { severity: Severity::Failure, code: "NO_LEADER", message });
    }
    let quota = if status.db_size_quota() > 0 { status.db_size_quota() } else { QUOTA_DEFAULT };
    if status.db_size() > quota / 10 * 8 {
        let message = format!(
            "etcd's database has {} MiB, of a quota of {} MiB (by default); {SPACE_WAY_OUT}",
            status.db_size() >> 20,
            quota >> 20
        );
        conditions.push(Condition { severity: Severity::Warning, code: "SPACE_LOW", message });
    }
    match client.alarm(AlarmAction::Get, AlarmType::None, None).await {
        Ok(alarms) => conditions.extend(alarms.alarms().iter().map(|alarm| condition(alarm.alarm()))),
        Err(error) => tracing::debug!(%error, "etcd's alarms can't be read"),
    }
    conditions
}

fn condition(alarm: AlarmType) -> Condition {
    let (code, message) = match alarm {
        AlarmType::Nospace => {
            ("NOSPACE", format!("etcd's quota is used up and it takes no writes: {SPACE_WAY_OUT}"))
        }
        AlarmType::Corrupt => (
            "CORRUPT",
            "an etcd member's data is corrupt: replace the member (see etcdctl alarm list)".to_owned(),
        ),
        AlarmType::None => ("ALARM", "etcd has an alarm that this dlock does not know".to_owned()),
    };
    Condition { severity: Severity::Failure, code, message }
}
