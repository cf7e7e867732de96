//! From settings to how connections are made.

use crate::config::{EtcdConfig, TlsConfig};
use crate::error::OpenError;
use etcd_client::{Certificate, ConnectOptions, Identity, TlsOptions};
use std::path::Path;
use std::time::Duration;

/// One connection's time to be made, at most: less than a request's, so that one that could not be made is known not to
/// have carried the request.
const CONNECTION_TIMEOUT: Duration = Duration::from_millis(1500);
/// etcd closes connections that are pinged more often than every five seconds.
const PING_INTERVAL: Duration = Duration::from_secs(6);
const PING_TIMEOUT: Duration = Duration::from_secs(3);

/// # Errors
/// When a setting is no good, or a file of it can't be read.
pub(crate) fn options(config: &EtcdConfig) -> Result<ConnectOptions, OpenError> {
    check_endpoints(config)?;
    let mut options = ConnectOptions::new()
        .with_connect_timeout(config.connect_timeout().min(CONNECTION_TIMEOUT))
        .with_require_leader(true)
        .with_keep_alive(PING_INTERVAL, PING_TIMEOUT)
        .with_keep_alive_while_idle(false);
    if let Some((user, password)) = credentials(config)? {
        // A request that is sent again with a new token was refused with the old one: it was not carried out.
        options = options.with_user(user, password).with_auto_token_refresh(true);
    }
    if let Some(tls) = &config.tls {
        options = options.with_tls(tls_options(tls)?);
    } else if config.endpoints.iter().any(|endpoint| is_https(endpoint)) {
        options = options.with_tls(TlsOptions::new().with_enabled_roots());
    }
    Ok(options)
}

fn is_https(endpoint: &str) -> bool {
    endpoint.starts_with("https://")
}

fn check_endpoints(config: &EtcdConfig) -> Result<(), OpenError> {
    let wrong = |value: &str, way_out: &str| Err(OpenError::setting("endpoints", value, way_out));
    if config.endpoints.is_empty() {
        return wrong("[]", "name at least one endpoint");
    }
    let tls = config.tls.is_some() || config.endpoints.iter().any(|endpoint| is_https(endpoint));
    for endpoint in &config.endpoints {
        let address = match endpoint.split_once("://") {
            Some(("https", address)) => address,
            Some(("http", _)) if tls => return wrong(endpoint, "with TLS, all endpoints are https://"),
            Some(("http", address)) => address,
            Some(_) => {
                return wrong(endpoint, "write it as HOST:PORT, http://HOST:PORT or https://HOST:PORT");
            }
            None => endpoint,
        };
        let authority = address.trim_end_matches('/').parse::<tonic::codegen::http::uri::Authority>();
        if !authority.is_ok_and(|authority| authority.port().is_some() && !authority.as_str().contains('@')) {
            return wrong(endpoint, "write it as HOST:PORT, such as 127.0.0.1:2379");
        }
    }
    Ok(())
}

fn credentials(config: &EtcdConfig) -> Result<Option<(String, String)>, OpenError> {
    let password = match (&config.password, &config.password_file) {
        (Some(_), Some(path)) => {
            let way_out = "there is a password as well: keep one of the two";
            return Err(OpenError::setting("password_file", path.display(), way_out));
        }
        (Some(password), None) => Some(password.expose().to_owned()),
        (None, Some(path)) => {
            let text = read("password_file", path)?;
            let text = String::from_utf8_lossy(&text);
            Some(text.lines().next().unwrap_or_default().to_owned())
        }
        (None, None) => None,
    };
    match (&config.user, password) {
        (Some(user), Some(password)) => Ok(Some((user.clone(), password))),
        (None, None) => Ok(None),
        (Some(user), None) => {
            let way_out = "a user needs a password: give password or password_file";
            Err(OpenError::setting("user", user, way_out))
        }
        (None, Some(_)) => Err(OpenError::setting("user", "", "there is a password, but no user: give both")),
    }
}

fn tls_options(tls: &TlsConfig) -> Result<TlsOptions, OpenError> {
    let mut options = TlsOptions::new();
    options = match &tls.ca_file {
        Some(ca) => options.ca_certificate(Certificate::from_pem(read_pem("tls.ca_file", ca)?)),
        None => options.with_enabled_roots(),
    };
    match (&tls.cert_file, &tls.key_file) {
        (Some(cert), Some(key)) => {
            let (cert, key) = (read_pem("tls.cert_file", cert)?, read_pem("tls.key_file", key)?);
            options = options.identity(Identity::from_pem(cert, key));
        }
        (None, None) => {}
        (Some(path), None) | (None, Some(path)) => {
            let way_out = "a client's certificate and its key go together: give both cert_file and key_file";
            return Err(OpenError::setting("tls", path.display(), way_out));
        }
    }
    if let Some(name) = &tls.server_name {
        options = options.domain_name(name);
    }
    Ok(options)
}

fn read_pem(field: &'static str, path: &Path) -> Result<Vec<u8>, OpenError> {
    let bytes = read(field, path)?;
    if !bytes.windows(11).any(|window| window == b"-----BEGIN ") {
        return Err(OpenError::setting(field, path.display(), "the file is not in PEM format"));
    }
    Ok(bytes)
}

fn read(field: &'static str, path: &Path) -> Result<Vec<u8>, OpenError> {
    let unreadable = |error| format!("the file can't be read: {error}");
    std::fs::read(path).map_err(|error| OpenError::setting(field, path.display(), unreadable(error)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Secret;

    fn field_and_value(config: &EtcdConfig) -> (&'static str, String) {
        match options(config) {
            Err(OpenError::Setting { field, value, .. }) => (field, value),
            other => panic!("accepted: {other:?}"),
        }
    }

    fn at(endpoints: &[&str]) -> EtcdConfig {
        let endpoints = endpoints.iter().map(|endpoint| (*endpoint).to_owned()).collect();
        EtcdConfig { endpoints, ..EtcdConfig::default() }
    }

    #[test]
    fn endpoints_are_hosts_with_ports() {
        for good in ["127.0.0.1:2379", "http://etcd:2379", "http://etcd:2379/", "https://[::1]:2379"] {
            options(&at(&[good])).unwrap();
        }
        for wrong in ["etcd", "ftp://etcd:2379", "etcd:2379/path", "user@etcd:2379", "", "https://"] {
            assert_eq!(field_and_value(&at(&[wrong])), ("endpoints", wrong.to_owned()));
        }
        assert_eq!(field_and_value(&at(&[])).0, "endpoints");
        let mixed = at(&["https://one:2379", "http://two:2379"]);
        assert_eq!(field_and_value(&mixed), ("endpoints", "http://two:2379".to_owned()));
    }

    #[test]
    fn a_user_and_a_password_go_together() {
        let user = || Some("dlock".to_owned());
        let password = || Some(Secret::from("secret"));
        let ok = EtcdConfig { user: user(), password: password(), ..at(&["etcd:2379"]) };
        options(&ok).unwrap();
        assert_eq!(field_and_value(&EtcdConfig { password: None, ..ok.clone() }).0, "user");
        assert_eq!(field_and_value(&EtcdConfig { user: None, ..ok.clone() }).0, "user");
        let two = EtcdConfig { password_file: Some("file".into()), ..ok.clone() };
        assert_eq!(field_and_value(&two).0, "password_file");
        let missing = EtcdConfig { password: None, password_file: Some("no such file".into()), ..ok };
        assert_eq!(field_and_value(&missing), ("password_file", "no such file".to_owned()));
    }

    #[test]
    fn certificates_are_pem_and_have_their_keys() {
        let with = |tls| EtcdConfig { tls: Some(tls), ..at(&["etcd:2379"]) };
        let alone = TlsConfig { cert_file: Some("cert.pem".into()), ..TlsConfig::default() };
        assert_eq!(field_and_value(&with(alone)).0, "tls");
        let not_pem = TlsConfig { ca_file: Some("Cargo.toml".into()), ..TlsConfig::default() };
        assert_eq!(field_and_value(&with(not_pem)), ("tls.ca_file", "Cargo.toml".to_owned()));
    }
}
