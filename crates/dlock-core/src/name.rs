//! Names of resources and namespaces: what is valid, checked once, then carried in types that cannot be wrong.

use foldhash::fast::FixedState;
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

/// The longest resource name, in bytes of UTF-8.
pub const RESOURCE_NAME_BYTES_MAX: usize = 1024;
/// The longest namespace, in bytes.
pub const NAMESPACE_BYTES_MAX: usize = 64;
/// The namespace of those who name none.
pub const DEFAULT_NAMESPACE: &str = "default";

/// Of the hashes of resources; any number would do.
const HASH_SEED: u64 = 0x0064_6c6f_636b;

/// Why a name is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name has no character.
    #[error("the {what} is empty: give at least one character")]
    Empty {
        /// `resource name` or `namespace`.
        what: &'static str,
    },
    /// The name is longer than its limit.
    #[error("the {what} has {length} bytes, and the limit is {limit}")]
    TooLong {
        /// `resource name` or `namespace`.
        what: &'static str,
        /// Its length in bytes.
        length: usize,
        /// The longest allowed, in bytes.
        limit: usize,
    },
    /// The name has a character that is not allowed.
    #[error("the {what} has the character {character:?} at byte {at}, and {allowed}")]
    Character {
        /// `resource name` or `namespace`.
        what: &'static str,
        /// The character.
        character: char,
        /// Where it starts, in bytes.
        at: usize,
        /// What is allowed instead.
        allowed: &'static str,
    },
    /// The bytes are not UTF-8.
    #[error("the {what} is not UTF-8 (from byte {at} on)")]
    NotUtf8 {
        /// `resource name` or `namespace`.
        what: &'static str,
        /// The first byte that is not.
        at: usize,
    },
}

impl NameError {
    /// Whether it is the namespace that is refused, and not the name.
    pub fn concerns_namespace(&self) -> bool {
        let (NameError::Empty { what }
        | NameError::TooLong { what, .. }
        | NameError::Character { what, .. }
        | NameError::NotUtf8 { what, .. }) = self;
        *what == Namespace::WHAT
    }
}

fn check_length(what: &'static str, text: &str, limit: usize) -> Result<(), NameError> {
    match text.len() {
        0 => Err(NameError::Empty { what }),
        length if length > limit => Err(NameError::TooLong { what, length, limit }),
        _ => Ok(()),
    }
}

fn check_characters(
    what: &'static str,
    text: &str,
    allowed: &'static str,
    accept: impl Fn(char) -> bool,
) -> Result<(), NameError> {
    // Most names are plain: no need to look at them character by character.
    if text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Ok(());
    }
    match text.char_indices().find(|(_, c)| !accept(*c)) {
        Some((at, character)) => Err(NameError::Character { what, character, at, allowed }),
        None => Ok(()),
    }
}

/// The name of what is locked: 1 to 1,024 bytes of UTF-8 without control characters; `/` separates path segments.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceName(Arc<str>);

impl ResourceName {
    const WHAT: &'static str = "resource name";

    /// Checks a name.
    pub fn new(text: &str) -> Result<ResourceName, NameError> {
        Self::check(text)?;
        Ok(ResourceName(text.into()))
    }

    fn check(text: &str) -> Result<(), NameError> {
        check_length(Self::WHAT, text, RESOURCE_NAME_BYTES_MAX)?;
        check_characters(Self::WHAT, text, "control characters are not allowed", |c| !c.is_control())
    }

    /// Checks a name that comes as bytes (a file's, an argument's).
    pub fn from_bytes(bytes: &[u8]) -> Result<ResourceName, NameError> {
        let text = std::str::from_utf8(bytes)
            .map_err(|error| NameError::NotUtf8 { what: Self::WHAT, at: error.valid_up_to() })?;
        ResourceName::new(text)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A named collection of resources, the unit of access control, quotas and listing: 1 to 64 bytes of
/// ASCII letters, digits, `.`, `_` and `-`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Namespace(Arc<str>);

impl Namespace {
    const WHAT: &'static str = "namespace";

    /// Checks a namespace; the empty text means [`DEFAULT_NAMESPACE`].
    pub fn new(text: &str) -> Result<Namespace, NameError> {
        if text.is_empty() {
            return Ok(Namespace::default());
        }
        Self::check(text)?;
        Ok(Namespace(text.into()))
    }

    fn check(text: &str) -> Result<(), NameError> {
        check_length(Self::WHAT, text, NAMESPACE_BYTES_MAX)?;
        let allowed = "only ASCII letters, digits, '.', '_' and '-' are allowed";
        check_characters(Self::WHAT, text, allowed, |c| c.is_ascii_alphanumeric() || "._-".contains(c))
    }

    /// The namespace as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Namespace {
    fn default() -> Namespace {
        Namespace(DEFAULT_NAMESPACE.into())
    }
}

macro_rules! text_traits {
    ($type:ty) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
        impl std::str::FromStr for $type {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                <$type>::new(text)
            }
        }
    };
}
text_traits!(ResourceName);
text_traits!(Namespace);

/// A resource: its name in its namespace. Cheap to clone, to compare and to hash: it is one shared text, hashed once.
#[derive(Clone)]
pub struct ResourceId {
    /// [`ResourceId::PATHS`], the namespace, a slash, the name.
    path: Arc<str>,
    hash: u64,
}

impl ResourceId {
    /// What the paths of all resources begin with.
    pub const PATHS: &str = "r/";

    /// Checks both parts; an empty namespace means [`DEFAULT_NAMESPACE`].
    ///
    /// # Errors
    /// Of the namespace first: see [`NameError::concerns_namespace`].
    pub fn new(namespace: &str, name: &str) -> Result<ResourceId, NameError> {
        let namespace = if namespace.is_empty() { DEFAULT_NAMESPACE } else { namespace };
        Namespace::check(namespace)?;
        ResourceName::check(name)?;
        let mut path = String::with_capacity(Self::PATHS.len() + namespace.len() + 1 + name.len());
        for part in [Self::PATHS, namespace, "/", name] {
            path.push_str(part);
        }
        Ok(ResourceId::of(path.into()))
    }

    /// The resource with this [path](ResourceId::path), if it is one.
    pub fn from_path(path: &Arc<str>) -> Option<ResourceId> {
        let (namespace, name) = Self::parts(path)?;
        Namespace::check(namespace).and_then(|()| ResourceName::check(name)).ok()?;
        Some(ResourceId::of(Arc::clone(path)))
    }

    fn of(path: Arc<str>) -> ResourceId {
        let hash = FixedState::with_seed(HASH_SEED).hash_one(&*path);
        ResourceId { path, hash }
    }

    /// The namespace and the name. A namespace has no slash, so the first one ends it.
    fn parts(path: &str) -> Option<(&str, &str)> {
        path.strip_prefix(Self::PATHS)?.split_once('/')
    }

    /// Where the name is looked up.
    pub fn namespace(&self) -> &str {
        Self::parts(&self.path).map_or("", |(namespace, _)| namespace)
    }

    /// The name.
    pub fn name(&self) -> &str {
        Self::parts(&self.path).map_or("", |(_, name)| name)
    }

    /// Both as one text, that of no other resource: `r/<namespace>/<name>`. The key of its record in the store.
    pub fn path(&self) -> &Arc<str> {
        &self.path
    }

    /// A hash of it, the same in this process whenever it is asked for.
    pub fn hash_code(&self) -> u64 {
        self.hash
    }
}

impl PartialEq for ResourceId {
    fn eq(&self, other: &ResourceId) -> bool {
        self.hash == other.hash && (Arc::ptr_eq(&self.path, &other.path) || self.path == other.path)
    }
}

impl Eq for ResourceId {}

impl Hash for ResourceId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Ord for ResourceId {
    /// By namespace, then by name.
    fn cmp(&self, other: &ResourceId) -> Ordering {
        (self.namespace(), self.name()).cmp(&(other.namespace(), other.name()))
    }
}

impl PartialOrd for ResourceId {
    fn partial_cmp(&self, other: &ResourceId) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for ResourceId {
    /// The name alone in the default namespace, `namespace:name` elsewhere.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace() == DEFAULT_NAMESPACE {
            f.pad(self.name())
        } else {
            write!(f, "{}:{}", self.namespace(), self.name())
        }
    }
}

impl fmt::Debug for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ResourceId").field(&self.namespace()).field(&self.name()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_be_any_text_up_to_its_limit() {
        for text in ["a", "orders/42", "größe 📦", &"x".repeat(1024)] {
            assert_eq!(ResourceName::new(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn bad_names_say_what_is_wrong() {
        let error = |text: &str| ResourceName::new(text).unwrap_err().to_string();
        assert_eq!(error(""), "the resource name is empty: give at least one character");
        assert_eq!(error(&"x".repeat(1025)), "the resource name has 1025 bytes, and the limit is 1024");
        assert_eq!(
            error("a\nb"),
            "the resource name has the character '\\n' at byte 1, and control characters are not allowed"
        );
        let error = ResourceName::from_bytes(b"ab\xff").unwrap_err();
        assert_eq!(error, NameError::NotUtf8 { what: "resource name", at: 2 });
    }

    #[test]
    fn a_namespace_is_plain_and_has_a_default() {
        assert_eq!(Namespace::new("").unwrap(), Namespace::default());
        assert_eq!(Namespace::new("team-a.prod_1").unwrap().as_str(), "team-a.prod_1");
        assert!(Namespace::new("team/a").unwrap_err().to_string().contains("'/'"));
        assert!(Namespace::new(&"n".repeat(65)).is_err());
    }

    #[test]
    fn a_resource_is_one_text_that_comes_back_in_its_parts() {
        for (namespace, name) in [("", "a"), ("team-a", "a/b//c"), ("x", "größe 📦"), ("n", " %2F:*")] {
            let resource = ResourceId::new(namespace, name).unwrap();
            let expected = if namespace.is_empty() { DEFAULT_NAMESPACE } else { namespace };
            assert_eq!((resource.namespace(), resource.name()), (expected, name));
            let again = ResourceId::from_path(resource.path()).unwrap();
            assert_eq!(again, resource);
            assert_eq!(again.hash_code(), resource.hash_code());
            assert_eq!(again, ResourceId::new(namespace, name).unwrap());
        }
        for no_path in ["", "r/", "r/a", "r/a/", "r//b", "s/a/b", "r/a b/c"] {
            assert_eq!(ResourceId::from_path(&no_path.into()), None, "{no_path}");
        }
        assert!(ResourceId::new("a/b", "c").unwrap_err().concerns_namespace());
        assert!(!ResourceId::new("a", "").unwrap_err().concerns_namespace());
    }

    #[test]
    fn resources_are_ordered_by_namespace_first() {
        let resource = |namespace, name| ResourceId::new(namespace, name).unwrap();
        assert!(resource("a", "z") < resource("a.b", "a"));
        assert!(resource("a", "a") < resource("a", "b"));
    }
}
