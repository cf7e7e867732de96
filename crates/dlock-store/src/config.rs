//! What the configurations of all backends have in common.

use serde::Deserialize;
use std::fmt;
use std::time::Duration;

/// Text that no log shows: a password, a token.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Secret {
        Secret(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"…\"")
    }
}

/// Reads a duration as people write it, such as `500ms`: for serde's `deserialize_with`.
///
/// # Errors
/// When it is none.
pub fn duration<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let parsed = humantime::parse_duration(&text);
    let error =
        |_| serde::de::Error::custom(format!("{text:?} is no duration; write one as 500ms, 3s or 2m"));
    parsed.map(Some).map_err(error)
}
