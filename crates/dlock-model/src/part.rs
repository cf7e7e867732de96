//! A part of a state that most steps leave as it is: shared between states, and hashed once.

use foldhash::quality::FixedState;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// Seeds the hash: the same in every run, as the checker finds a state again by it.
const SEED: u64 = 0x006d_6f64_656c;

/// A value that is copied when it is written to. After that it must be [sealed](Part::seal) before it is hashed.
#[derive(Clone)]
pub(crate) struct Part<T> {
    value: Arc<T>,
    /// `None` since it was written to.
    hash: Option<u64>,
}

impl<T: Hash> Part<T> {
    pub(crate) fn new(value: T) -> Part<T> {
        let mut part = Part { value: Arc::new(value), hash: None };
        part.seal();
        part
    }

    /// Hashes the value, if it was written to.
    pub(crate) fn seal(&mut self) {
        if self.hash.is_none() {
            self.hash = Some(FixedState::with_seed(SEED).hash_one(&*self.value));
        }
    }
}

impl<T> Deref for Part<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Clone> DerefMut for Part<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.hash = None;
        Arc::make_mut(&mut self.value)
    }
}

impl<T> Hash for Part<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        debug_assert!(self.hash.is_some(), "a part was not sealed");
        self.hash.hash(state);
    }
}

impl<T: PartialEq> PartialEq for Part<T> {
    fn eq(&self, other: &Part<T>) -> bool {
        self.hash == other.hash && (Arc::ptr_eq(&self.value, &other.value) || self.value == other.value)
    }
}

impl<T: fmt::Debug> fmt::Debug for Part<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}
