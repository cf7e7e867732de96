//! Results as they are kept between measuring and rendering: a file for each part of the matrix.

use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What was measured, by part of the matrix.
pub(crate) struct Results {
    directory: PathBuf,
    parts: BTreeMap<String, Value>,
}

impl Results {
    /// Those that are there, of this run and of earlier ones.
    pub(crate) fn load(directory: &Path) -> Result<Results> {
        std::fs::create_dir_all(directory)?;
        let mut parts = BTreeMap::new();
        for entry in std::fs::read_dir(directory)? {
            let path = entry?.path();
            let Some(name) = path.file_stem().and_then(|name| name.to_str()) else { continue };
            if path.extension().is_some_and(|extension| extension == "json") {
                let text = std::fs::read_to_string(&path)?;
                let value =
                    serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))?;
                parts.insert(name.to_owned(), value);
            }
        }
        Ok(Results { directory: directory.to_owned(), parts })
    }

    /// Keeps a part's results in place of older ones.
    pub(crate) fn keep(&mut self, name: &str, value: Value) -> Result<()> {
        let path = self.directory.join(name).with_extension("json");
        std::fs::write(&path, serde_json::to_string_pretty(&value)?)?;
        self.parts.insert(name.to_owned(), value);
        Ok(())
    }

    /// A part, if it was measured.
    pub(crate) fn part(&self, name: &str) -> Option<&Value> {
        self.parts.get(name)
    }

    /// The rows of a part: runs of `dlockctl bench`, stores, benches.
    pub(crate) fn rows(&self, name: &str) -> &[Value] {
        self.part(name).and_then(|part| part["rows"].as_array()).map_or(&[], Vec::as_slice)
    }

    /// The first row of a part that has these values.
    pub(crate) fn row(&self, name: &str, values: &[(&str, Value)]) -> Option<&Value> {
        self.rows(name).iter().find(|row| values.iter().all(|(field, value)| row[field] == *value))
    }
}

/// A number somewhere in a result, such as `/floor/ratio/median`.
pub(crate) fn number(row: &Value, pointer: &str) -> Option<f64> {
    row.pointer(pointer)?.as_f64()
}
