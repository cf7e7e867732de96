//! The parts of a document that are written by this program: between `<!-- NAME -->` and `<!-- /NAME -->`.

use anyhow::{Context, Result};

/// The text with a part replaced.
///
/// # Errors
/// When the document has no such part.
pub(crate) fn replace(document: &str, name: &str, text: &str) -> Result<String> {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let (before, rest) = document.split_once(&begin).with_context(|| format!("there is no {begin:?}"))?;
    let (_, after) = rest.split_once(&end).with_context(|| format!("there is no {end:?}"))?;
    Ok(format!("{before}{begin}{text}{end}{after}"))
}

/// A table in Markdown.
pub(crate) struct Table {
    text: String,
}

impl Table {
    /// With these columns; those whose title begins with `>` are set to the right.
    pub(crate) fn new(columns: &[&str]) -> Table {
        let titles: Vec<&str> = columns.iter().map(|title| title.trim_start_matches('>')).collect();
        let rules: Vec<&str> =
            columns.iter().map(|title| if title.starts_with('>') { "---:" } else { "---" }).collect();
        Table { text: format!("| {} |\n| {} |\n", titles.join(" | "), rules.join(" | ")) }
    }

    /// One more row.
    pub(crate) fn row(&mut self, cells: &[String]) {
        self.text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }

    /// The table as text.
    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

/// A count with thousands set apart, or a small number with two digits; nothing for what is not known.
pub(crate) fn shown(value: Option<f64>) -> String {
    match value {
        None => String::new(),
        Some(value) if value.abs() < 10.0 => format!("{value:.2}"),
        Some(value) if value.abs() < 100.0 => format!("{value:.1}"),
        Some(value) => thousands(value.round() as i64),
    }
}

/// Microseconds as milliseconds.
pub(crate) fn milliseconds(microseconds: Option<f64>) -> String {
    microseconds.map_or_else(String::new, |value| format!("{} ms", shown(Some(value / 1000.0))))
}

fn thousands(value: i64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_replaced_and_nothing_else() {
        let document = "a\n<!-- x -->\nold\n<!-- /x -->\nb\n";
        assert_eq!(replace(document, "x", "new\n").unwrap(), "a\n<!-- x -->\nnew\n<!-- /x -->\nb\n");
        assert!(replace(document, "y", "").is_err());
    }

    #[test]
    fn numbers_are_shown_as_people_read_them() {
        for (value, text) in [(0.567, "0.57"), (12.34, "12.3"), (999.6, "1,000"), (1_234_567.0, "1,234,567")]
        {
            assert_eq!(shown(Some(value)), text);
        }
        assert_eq!((shown(Some(-1_234.0)), shown(None)), ("-1,234".to_owned(), String::new()));
        assert_eq!(milliseconds(Some(1500.0)), "1.50 ms");
    }
}
