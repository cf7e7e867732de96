//! The bucket: how it is made, and what it must be like.

use crate::RETRY;
use crate::client::Connected;
use crate::config::StorageConfig;
use crate::error::OpenError;
use crate::insist::insist;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{CreateStreamError, CreateStreamErrorKind};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use std::time::Duration;
use tokio::time::Instant;

/// How many messages of a subject several replicas keep. A record's last message may be one that does not count, for which
/// there have to be as many as servers that write it at once. They are thrown away by this limit alone, which each replica keeps by
/// itself: a purge up to a sequence would throw away the record where a replica numbers its messages otherwise.
const HISTORY: i64 = 64;

impl Connected {
    /// Makes the stream of the bucket, or checks the one that is there. Where nobody can tell, for want of a leader, it is
    /// asked again for `timeout`.
    pub(crate) async fn make_bucket(&self, timeout: Duration) -> Result<(), OpenError> {
        let deadline = Instant::now() + timeout;
        loop {
            match self.find_or_make().await {
                Ok(found) => return self.check(&found),
                Err(error) if has_no_leader(&error) && Instant::now() < deadline => {
                    tokio::time::sleep(RETRY).await;
                }
                Err(error) => {
                    let way_out = "does NATS run with JetStream (--jetstream), also for this account?";
                    return Err(self.unusable(format!("{error}; {way_out}")));
                }
            }
        }
    }

    async fn find_or_make(&self) -> Result<Config, CreateStreamError> {
        let find = async || {
            let found = insist(|| self.context.get_stream(&self.stream)).await;
            found.map(|stream| stream.cached_info().config.clone())
        };
        if let Ok(found) = find().await {
            return Ok(found);
        }
        match insist(|| self.context.create_stream(self.stream_config())).await {
            Ok(stream) => Ok(stream.cached_info().config.clone()),
            // Another server may have been quicker.
            Err(error) => find().await.map_err(|_| error),
        }
    }

    fn check(&self, found: &Config) -> Result<(), OpenError> {
        let wanted = self.stream_config();
        let wrong = |what: &str, found: String, wanted: String| {
            Err(self.unusable(format!(
                "its {what} is {found}, and must be {wanted}: change the stream {} (nats stream edit), or name another \
                 bucket with jetstream.bucket",
                self.stream
            )))
        };
        if found.max_messages_per_subject != wanted.max_messages_per_subject {
            let number = |config: &Config| config.max_messages_per_subject.to_string();
            return wrong("history", number(found), number(&wanted));
        }
        if !found.max_age.is_zero() {
            return wrong(
                "maximum age",
                format!("{:?}", found.max_age),
                "unlimited: records must not expire".to_owned(),
            );
        }
        if found.discard != DiscardPolicy::New && (found.max_bytes > 0 || found.max_messages > 0) {
            return wrong(
                "discard policy",
                "old".to_owned(),
                "new: records must not be thrown away".to_owned(),
            );
        }
        if found.num_replicas != wanted.num_replicas {
            return wrong(
                "number of replicas",
                found.num_replicas.to_string(),
                wanted.num_replicas.to_string(),
            );
        }
        if found.storage != wanted.storage {
            return wrong("storage", format!("{:?}", found.storage), format!("{:?}", wanted.storage));
        }
        Ok(())
    }

    fn stream_config(&self) -> Config {
        Config {
            name: self.stream.clone(),
            description: Some("dlock's locks and sessions".to_owned()),
            subjects: vec![self.subjects.all()],
            // A single server accepts no message that does not count. Finding the next oldest one costs a server as much as
            // there is between the two; the last one is at hand.
            max_messages_per_subject: if self.replicas == 1 { 1 } else { HISTORY },
            discard: DiscardPolicy::New,
            retention: RetentionPolicy::Limits,
            storage: match self.storage {
                StorageConfig::File => StorageType::File,
                StorageConfig::Memory => StorageType::Memory,
            },
            num_replicas: self.replicas,
            deny_delete: true,
            ..Config::default()
        }
    }

    fn unusable(&self, why: String) -> OpenError {
        OpenError::Bucket { bucket: self.bucket.clone(), why }
    }
}

/// Whether NATS is about to elect one.
fn has_no_leader(error: &CreateStreamError) -> bool {
    match error.kind() {
        CreateStreamErrorKind::TimedOut => true,
        CreateStreamErrorKind::JetStream(error) => {
            [ErrorCode::CLUSTER_NOT_AVAILABLE, ErrorCode::CLUSTER_NOT_LEADER].contains(&error.error_code())
        }
        _ => false,
    }
}
