//! The connection, and what is sent over it.

use crate::config::{NatsConfig, StorageConfig};
use crate::envelope::{Barrier, Envelope};
use crate::error::{OpenError, of_publication};
use crate::subject::Subjects;
use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
use async_nats::jetstream::context::{PublishAckFuture, PublishError};
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::{self, Context};
use async_nats::{Client, ConnectOptions, HeaderMap};
use bytes::Bytes;
use dlock_store::{Key, StoreError, StoreInfo};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long to wait for an acknowledgement; callers may give up earlier.
const ACKNOWLEDGEMENT_TIMEOUT: Duration = Duration::from_secs(5);
/// Publications that wait for their acknowledgement, of all callers.
const IN_FLIGHT_MAX: usize = 4096;

/// A connection to a bucket.
#[derive(Clone)]
pub(crate) struct Connected {
    pub(crate) client: Client,
    pub(crate) context: Context,
    pub(crate) subjects: Subjects,
    pub(crate) stream: String,
    pub(crate) endpoints: String,
    pub(crate) bucket: String,
    pub(crate) storage: StorageConfig,
    pub(crate) replicas: usize,
    nonces: Arc<AtomicU64>,
}

impl Connected {
    pub(crate) async fn new(config: &NatsConfig) -> Result<Connected, OpenError> {
        let all = config.all_endpoints();
        if all.is_empty() {
            return Err(setting("endpoint", "", "name at least one server, as nats://HOST:PORT"));
        }
        let bucket = config.bucket().to_owned();
        let plain = |character: char| character.is_ascii_alphanumeric() || "-_".contains(character);
        if bucket.is_empty() || !bucket.chars().all(plain) {
            return Err(setting("bucket", &bucket, "use letters, digits, - and _"));
        }
        let endpoints = all.join(", ");
        let unreachable = |why: String| OpenError::Unreachable { endpoints: endpoints.clone(), why };
        let timeout = config.connect_timeout();
        let connecting = options(config).await?.connect(all);
        let client = tokio::time::timeout(timeout, connecting)
            .await
            .map_err(|_| unreachable(format!("no connection within {timeout:?}")))?
            .map_err(|error| unreachable(error.to_string()))?;
        let context = jetstream::context::ContextBuilder::new()
            .timeout(ACKNOWLEDGEMENT_TIMEOUT)
            .ack_timeout(ACKNOWLEDGEMENT_TIMEOUT)
            .max_ack_inflight(IN_FLIGHT_MAX)
            .build(client.clone());
        let connected = Connected {
            client,
            context,
            subjects: Subjects::new(&bucket),
            stream: format!("KV_{bucket}"),
            endpoints: endpoints.clone(),
            bucket,
            storage: config.storage,
            replicas: config.replicas(),
            // They begin at random, so that no two handles draw the same.
            nonces: Arc::new(AtomicU64::new(rand::random())),
        };
        connected.make_bucket(config.silence_max()).await?;
        Ok(connected)
    }

    /// A number that nobody else draws; never 0.
    pub(crate) fn nonce(&self) -> u64 {
        let nonce = self.nonces.fetch_add(1, Ordering::Relaxed);
        if nonce == 0 { self.nonce() } else { nonce }
    }

    /// Sends a record's message; it is stored if the subject's last message has the expected sequence.
    pub(crate) async fn publish(
        &self,
        key: &Key,
        last: u64,
        message: &Envelope,
    ) -> Result<PublishAckFuture, StoreError> {
        self.publish_expecting(self.subjects.record(key), last, message.encode()).await
    }

    /// Sends a barrier, and returns when it is stored.
    pub(crate) async fn publish_barrier(&self, barrier: Barrier) -> Result<PublishAck, PublishError> {
        self.context.publish(self.subjects.barrier(barrier.nonce), barrier.encode()).await?.await
    }

    pub(crate) async fn publish_expecting(
        &self,
        subject: String,
        expected: u64,
        payload: Bytes,
    ) -> Result<PublishAckFuture, StoreError> {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, expected.to_string());
        let sent = self.context.publish_with_headers(subject, headers, payload).await;
        sent.map_err(|error| of_publication(&error))
    }

    pub(crate) fn info(&self) -> StoreInfo {
        let mut caveats = Vec::new();
        match self.storage {
            StorageConfig::Memory => caveats.push(
                "the bucket is kept in memory: all locks are lost with the last server that has it (jetstream.storage)"
                    .to_owned(),
            ),
            StorageConfig::File => caveats.push(
                "JetStream writes to disk every two minutes unless it is told otherwise (sync_interval: always, from \
                 2.10 on): a power failure of all its servers loses what was granted last"
                    .to_owned(),
            ),
        }
        if self.replicas == 1 {
            caveats.push(
                "one server keeps the bucket: no lock is granted while it is away (jetstream.replicas)"
                    .to_owned(),
            );
        }
        let version = self.client.server_info().version.clone();
        let place = format!("{} (bucket {}, NATS {version})", self.endpoints, self.bucket);
        StoreInfo { backend: "nats", place, caveats }
    }
}

fn setting(field: &'static str, value: &str, way_out: &str) -> OpenError {
    OpenError::Setting { field, value: value.to_owned(), way_out: way_out.to_owned() }
}

async fn options(config: &NatsConfig) -> Result<ConnectOptions, OpenError> {
    let servers = u32::try_from(config.all_endpoints().len()).unwrap_or(u32::MAX).max(1);
    let mut options = ConnectOptions::new()
        .name("dlock")
        // One that hangs must leave time for the others.
        .connection_timeout(config.connect_timeout() / servers)
        .request_timeout(Some(ACKNOWLEDGEMENT_TIMEOUT))
        .ping_interval(Duration::from_secs(2))
        .reconnect_delay_callback(|attempts| {
            Duration::from_millis(50 * u64::try_from(attempts.min(20)).unwrap_or(20))
        });
    let given = [
        ("credentials_file", config.credentials_file.is_some()),
        ("nkey_seed_file", config.nkey_seed_file.is_some()),
        ("user", config.user.is_some()),
        ("token", config.token.is_some()),
    ];
    let mut given = given.into_iter().filter(|(_, given)| *given).map(|(field, _)| field);
    if let (Some(one), Some(other)) = (given.next(), given.next()) {
        return Err(setting(other, "", &format!("{one} is given too: keep one of them")));
    }
    if let Some(path) = &config.credentials_file {
        let text = read("credentials_file", path)?;
        options = options
            .credentials(&text)
            .map_err(|error| setting("credentials_file", &path.display().to_string(), &error.to_string()))?;
    } else if let Some(path) = &config.nkey_seed_file {
        options = options.nkey(first_line(&read("nkey_seed_file", path)?));
    } else if let Some(user) = &config.user {
        options = options.user_and_password(user.clone(), password(config)?);
    } else if let Some(token) = &config.token {
        options = options.token(token.expose().to_owned());
    }
    if let Some(tls) = &config.tls {
        options = options.require_tls(true);
        if let Some(ca) = &tls.ca_file {
            read("tls.ca_file", ca)?;
            options = options.add_root_certificates(ca.clone());
        }
        match (&tls.cert_file, &tls.key_file) {
            (Some(cert), Some(key)) => {
                read("tls.cert_file", cert)?;
                read("tls.key_file", key)?;
                options = options.add_client_certificate(cert.clone(), key.clone());
            }
            (None, None) => {}
            (Some(path), None) | (None, Some(path)) => {
                let way_out =
                    "a client's certificate and its key go together: give both cert_file and key_file";
                return Err(setting("tls", &path.display().to_string(), way_out));
            }
        }
    }
    Ok(options)
}

fn password(config: &NatsConfig) -> Result<String, OpenError> {
    match (&config.password, &config.password_file) {
        (Some(password), None) => Ok(password.expose().to_owned()),
        (None, Some(path)) => Ok(first_line(&read("password_file", path)?)),
        (None, None) | (Some(_), Some(_)) => {
            let user = config.user.as_deref().unwrap_or_default();
            Err(setting("user", user, "a user needs a password: give either password or password_file"))
        }
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim().to_owned()
}

fn read(field: &'static str, path: &Path) -> Result<String, OpenError> {
    std::fs::read_to_string(path).map_err(|error| {
        setting(field, &path.display().to_string(), &format!("the file can't be read: {error}"))
    })
}
