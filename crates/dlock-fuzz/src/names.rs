//! Names and addresses: accepted as they are, within their bounds, or refused.

use dlock_client::Endpoint;
use dlock_core::name::DEFAULT_NAMESPACE;
use dlock_core::{Namespace, ResourceId, ResourceName, SessionId};
use dlock_store::Key;

/// The namespace and the name, with a line's end between them; or a session, an endpoint, a key.
pub(crate) fn run(data: &[u8]) {
    if let Ok(name) = ResourceName::from_bytes(data) {
        assert_eq!(name.as_str().as_bytes(), data);
        assert!((1..=1024).contains(&data.len()), "{} bytes", data.len());
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (namespace, name) = text.split_once('\n').unwrap_or(("", text));
    match ResourceId::new(namespace, name) {
        Ok(resource) => {
            let shown = if namespace.is_empty() { DEFAULT_NAMESPACE } else { namespace };
            assert_eq!((resource.namespace(), resource.name()), (shown, name));
            assert_eq!(ResourceId::from_path(resource.path()), Some(resource));
        }
        Err(error) => {
            let wrong = Namespace::new(namespace).err().or(ResourceName::new(name).err());
            assert_eq!(Some(&error), wrong.as_ref(), "{namespace:?} {name:?}");
            assert_eq!(error.concerns_namespace(), Namespace::new(namespace).is_err());
        }
    }
    if let Some(resource) = ResourceId::from_path(&text.into()) {
        assert_eq!(**resource.path(), *text);
        assert_eq!(ResourceId::new(resource.namespace(), resource.name()), Ok(resource));
    }
    if let Ok(key) = Key::new(text) {
        assert_eq!(key.as_str(), text);
    }
    if let Ok(session) = text.parse::<SessionId>() {
        assert_eq!(session.to_string(), text.to_ascii_lowercase());
    }
    if let Ok(endpoint) = text.parse::<Endpoint>() {
        assert_eq!(endpoint.to_string().parse::<Endpoint>().ok(), Some(endpoint));
    }
}
