//! What is written, where: results to standard output, all else to standard error.

use crate::arguments::OutputFormat;
use crate::exit::Exit;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;
use std::io::{self, Write};

/// A line to standard error.
pub(crate) fn complain(message: &str) {
    // There is nobody left to tell if this fails.
    let _ = writeln!(io::stderr(), "dlockctl: {message}");
}

/// A line to standard output; a reader that has gone ends the program quietly.
pub(crate) fn line(text: &str) -> Result<(), Exit> {
    writeln!(io::stdout(), "{text}").map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Exit::signal(libc::SIGPIPE),
        _ => Exit::system(error),
    })
}

/// One JSON value on a line.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Exit> {
    let text = serde_json::to_string(value).map_err(|error| Exit::new(crate::exit::FAILURE, error))?;
    line(&text)
}

/// Rows as a table for people, or as a JSON array.
pub(crate) fn rows<T: Serialize>(
    format: OutputFormat,
    header: &[&str],
    items: &[T],
    cells: impl Fn(&T) -> Vec<String>,
) -> Result<(), Exit> {
    if format == OutputFormat::Json {
        return json(&items);
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header);
    for item in items {
        table.add_row(cells(item));
    }
    line(&table.trim_fmt())
}

/// A moment as ISO 8601 has it, in UTC.
pub(crate) fn moment(unix_ms: u64) -> String {
    let timestamp = i64::try_from(unix_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    timestamp.map_or_else(|| unix_ms.to_string(), |timestamp| timestamp.to_string())
}
