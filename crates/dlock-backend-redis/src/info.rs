//! What `INFO` says.

use redis::Value;

/// The lines of some sections of `INFO`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Info(String);

impl Info {
    /// The text of an answer.
    pub(crate) fn from_value(value: &Value) -> Option<Info> {
        match value {
            Value::BulkString(bytes) => Some(Info(String::from_utf8_lossy(bytes).into_owned())),
            Value::VerbatimString { text, .. } => Some(Info(text.clone())),
            _ => None,
        }
    }

    /// The value of a field.
    pub(crate) fn get(&self, field: &str) -> Option<&str> {
        let value = |line: &'_ str| -> Option<(usize, usize)> {
            let value = line.strip_prefix(field)?.strip_prefix(':')?;
            Some((line.len() - value.len(), line.len()))
        };
        self.0.lines().find_map(|line| value(line).map(|(from, to)| line[from..to].trim()))
    }

    /// The number in a field.
    pub(crate) fn number(&self, field: &str) -> Option<u64> {
        self.get(field)?.parse().ok()
    }
}
