//! What a store says about itself.

/// A store, described for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreInfo {
    /// The backend: `embedded`, `etcd`, `redis`, `nats`.
    pub backend: &'static str,
    /// Where and how: `in memory`, a directory, endpoints; without secrets.
    pub place: String,
    /// What this store, set up as it is, can't promise, and the way out: warned of at start-up.
    pub caveats: Vec<String>,
}

/// How bad a condition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Service goes on, but somebody should look.
    Warning,
    /// Locks can't be granted or released.
    Failure,
}

/// Something that is wrong with the store at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// How bad it is.
    pub severity: Severity,
    /// A short stable name, such as `UNREACHABLE` or `NOSPACE`.
    pub code: &'static str,
    /// What is wrong and what to do, for people.
    pub message: String,
}
