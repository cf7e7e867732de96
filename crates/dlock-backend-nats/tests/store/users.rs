//! Users with credentials, as operators of NATS make them: tokens that an account has signed, whose own token an
//! operator has signed.

use data_encoding::BASE64URL_NOPAD;
use nkeys::KeyPair;
use serde_json::{Value, json};

/// A server's configuration, and what a user of it needs.
pub(super) struct Operated {
    pub(super) configuration: String,
    pub(super) credentials: String,
}

pub(super) fn operated() -> Operated {
    let (operator, account, system, user) =
        (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_account(), KeyPair::new_user());
    let unlimited = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
        "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
    });
    let plain = json!({ "subs": -1, "data": -1, "payload": -1, "conn": -1, "leaf": -1, "wildcards": true });
    let claims = |limits: &Value| json!({ "limits": limits, "default_permissions": { "pub": {}, "sub": {} }, "type": "account", "version": 2 });
    let of_operator = token(&operator, &operator, json!({ "type": "operator", "version": 2 }));
    let of_account = token(&operator, &account, claims(&unlimited));
    let of_system = token(&operator, &system, claims(&plain));
    let rights =
        json!({ "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1, "type": "user", "version": 2 });
    let of_user = token(&account, &user, rights);
    let configuration = format!(
        "operator: {of_operator}\nsystem_account: {system}\nresolver: MEMORY\n\
         resolver_preload: {{ {account}: {of_account}, {system}: {of_system} }}\n",
        account = account.public_key(),
        system = system.public_key(),
    );
    let credentials = format!(
        "-----BEGIN NATS USER JWT-----\n{of_user}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
        user.seed().unwrap()
    );
    Operated { configuration, credentials }
}

fn token(issuer: &KeyPair, subject: &KeyPair, nats: Value) -> String {
    let encode = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let header = json!({ "typ": "JWT", "alg": "ed25519-nkey" });
    let claims = json!({
        "jti": "test", "iat": 1, "iss": issuer.public_key(), "sub": subject.public_key(), "name": "test", "nats": nats,
    });
    let signed = format!("{}.{}", encode(&header), encode(&claims));
    let signature = BASE64URL_NOPAD.encode(&issuer.sign(signed.as_bytes()).unwrap());
    format!("{signed}.{signature}")
}
