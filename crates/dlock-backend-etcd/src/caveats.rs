//! What this cluster can't promise, as far as it can be seen.

use crate::config::CompactionMode;

pub(crate) fn caveats(compaction: CompactionMode, shared: bool, version: &str) -> Vec<String> {
    let mut caveats = Vec::new();
    if loses_watch_events(version) {
        caveats.push(format!(
            "etcd {version} can lose watch events (fixed in 3.4.31 and 3.5.13): hand-overs may take a second or two"
        ));
    }
    let way_out = "every grant and release leaves a revision in etcd, which fill its quota: have them compacted (etcd's \
                   --auto-compaction-retention, or etcd.compaction.mode = \"on\")";
    match compaction {
        // Whoever turns it off has it done otherwise.
        CompactionMode::On | CompactionMode::Off => {}
        CompactionMode::Auto if !shared => {}
        CompactionMode::Auto => {
            caveats.push(format!("dlock does not compact an etcd that others use; {way_out}"))
        }
    }
    caveats
}

fn loses_watch_events(version: &str) -> bool {
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    match (numbers.next(), numbers.next(), numbers.next()) {
        (Some(3), Some(4), Some(patch)) => patch < 31,
        (Some(3), Some(5), Some(patch)) => patch < 13,
        _ => false,
    }
}
