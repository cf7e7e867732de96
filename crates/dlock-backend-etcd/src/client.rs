//! The connections.

use crate::config::{EtcdConfig, TlsConfig};
use crate::error::{OpenError, is_refusal};
use dlock_store::StoreInfo;
use etcd_client::{Certificate, Client, ConnectOptions, Identity, TlsOptions};
use std::path::Path;
use std::time::Duration;

/// A client, and what is known of the server.
pub(crate) struct Connected {
    pub(crate) client: Client,
    pub(crate) endpoints: String,
    version: String,
    compacts: bool,
}

impl Connected {
    pub(crate) async fn new(config: &EtcdConfig) -> Result<Connected, OpenError> {
        crate::compaction::check(config)?;
        if config.endpoints.is_empty() {
            let way_out = "name at least one endpoint".to_owned();
            return Err(OpenError::Setting { field: "endpoints", value: String::new(), way_out });
        }
        let endpoints = config.endpoints.join(", ");
        let failed = |error: etcd_client::Error| {
            let (endpoints, why) = (endpoints.clone(), error.to_string());
            if is_refusal(&error) {
                OpenError::Refused { endpoints, why }
            } else {
                OpenError::Unreachable { endpoints, why }
            }
        };
        let timeout = config.connect_timeout();
        let late = || OpenError::Unreachable {
            endpoints: endpoints.clone(),
            why: format!("no answer within {timeout:?}"),
        };
        let options = options(config)?;
        let connecting = Client::connect(&config.endpoints, Some(options));
        let client = tokio::time::timeout(timeout, connecting).await.map_err(|_| late())?.map_err(failed)?;
        let asking = async { client.maintenance_client().status().await };
        let status = tokio::time::timeout(timeout, asking).await.map_err(|_| late())?.map_err(failed)?;
        let (version, compacts) = (status.version().to_owned(), config.compaction.is_some());
        Ok(Connected { client, endpoints, version, compacts })
    }

    pub(crate) fn info(&self) -> StoreInfo {
        let mut caveats = Vec::new();
        if loses_watch_events(&self.version) {
            caveats.push(format!(
                "etcd {} can lose watch events (fixed in 3.4.31 and 3.5.13): hand-overs may take a second or two",
                self.version
            ));
        }
        if !self.compacts {
            caveats.push(
                "every grant and release leaves a revision in etcd, whose quota they fill: have it compacted \
                 (etcd's --auto-compaction-retention, or etcd.compaction)"
                    .to_owned(),
            );
        }
        StoreInfo { backend: "etcd", place: format!("{} (etcd {})", self.endpoints, self.version), caveats }
    }
}

fn loses_watch_events(version: &str) -> bool {
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    match (numbers.next(), numbers.next(), numbers.next()) {
        (Some(3), Some(4), Some(patch)) => patch < 31,
        (Some(3), Some(5), Some(patch)) => patch < 13,
        _ => false,
    }
}

fn options(config: &EtcdConfig) -> Result<ConnectOptions, OpenError> {
    let mut options = ConnectOptions::new()
        .with_connect_timeout(config.connect_timeout())
        .with_require_leader(true)
        .with_keep_alive(Duration::from_secs(5), Duration::from_secs(3))
        .with_keep_alive_while_idle(true);
    if let Some(user) = &config.user {
        options = options.with_user(user, password(config)?).with_auto_token_refresh(true);
    }
    let https = config.endpoints.iter().any(|endpoint| endpoint.starts_with("https://"));
    if let Some(tls) = &config.tls {
        options = options.with_tls(tls_options(tls)?);
    } else if https {
        options = options.with_tls(TlsOptions::new().with_enabled_roots());
    }
    Ok(options)
}

fn password(config: &EtcdConfig) -> Result<String, OpenError> {
    match (&config.password, &config.password_file) {
        (Some(password), None) => Ok(password.0.clone()),
        (None, Some(path)) => {
            let text = read("password_file", path)?;
            let text = String::from_utf8_lossy(&text);
            Ok(text.lines().next().unwrap_or_default().to_owned())
        }
        (None, None) | (Some(_), Some(_)) => Err(OpenError::Setting {
            field: "user",
            value: config.user.clone().unwrap_or_default(),
            way_out: "a user needs a password: give either password or password_file".to_owned(),
        }),
    }
}

fn tls_options(tls: &TlsConfig) -> Result<TlsOptions, OpenError> {
    let mut options = TlsOptions::new();
    options = match &tls.ca {
        Some(ca) => options.ca_certificate(Certificate::from_pem(read("tls.ca", ca)?)),
        None => options.with_enabled_roots(),
    };
    match (&tls.cert, &tls.key) {
        (Some(cert), Some(key)) => {
            options = options.identity(Identity::from_pem(read("tls.cert", cert)?, read("tls.key", key)?));
        }
        (None, None) => {}
        (Some(path), None) | (None, Some(path)) => {
            return Err(OpenError::Setting {
                field: "tls",
                value: path.display().to_string(),
                way_out: "a client's certificate and its key go together: give both cert and key".to_owned(),
            });
        }
    }
    if let Some(name) = &tls.server_name {
        options = options.domain_name(name);
    }
    Ok(options)
}

fn read(field: &'static str, path: &Path) -> Result<Vec<u8>, OpenError> {
    std::fs::read(path).map_err(|error| OpenError::Setting {
        field,
        value: path.display().to_string(),
        way_out: format!("the file can't be read: {error}"),
    })
}
