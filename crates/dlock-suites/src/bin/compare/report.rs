//! What was measured, for people and for programs.

use crate::drive::Measured;
use dlock_suites::Backend;
use serde::Serialize;
use std::fmt;

/// All of one store. Times are in milliseconds.
#[derive(Serialize)]
pub(crate) struct Report {
    backend: &'static str,
    title: &'static str,
    /// Each lock on a name of its own.
    pub(crate) pairs: Vec<Pairs>,
    /// The same, on resources that dlock's server masters.
    pub(crate) mastered: Vec<Pairs>,
    /// All on one name.
    pub(crate) contended: Vec<Contended>,
    /// From one client's release to the next one's grant.
    pub(crate) hand_over: Vec<HandOver>,
    /// The load spread over several servers.
    pub(crate) servers: Vec<Scale>,
    /// The same, where each server has only a share of a processor.
    pub(crate) confined: Vec<Scale>,
}

#[derive(Serialize)]
pub(crate) struct Pairs {
    in_flight: usize,
    raw_per_second: Option<f64>,
    recipe_per_second: Option<f64>,
    dlock_per_second: Option<f64>,
    dlock_p50: Option<f64>,
    dlock_p99: Option<f64>,
    /// Medians of the rounds' ratios.
    dlock_to_raw: Option<f64>,
    dlock_to_recipe: Option<f64>,
}

#[derive(Serialize)]
pub(crate) struct Contended {
    who: &'static str,
    hand_overs_per_second: f64,
    wait_p50: f64,
    wait_p99: f64,
}

#[derive(Serialize)]
pub(crate) struct HandOver {
    who: &'static str,
    p50: f64,
    p99: f64,
}

#[derive(Serialize)]
pub(crate) struct Scale {
    pub(crate) servers: usize,
    pub(crate) pairs_per_second: f64,
}

impl Pairs {
    pub(crate) fn of(
        in_flight: usize,
        raw: Option<&Measured>,
        recipe: Option<&Measured>,
        dlock: Option<&Measured>,
    ) -> Pairs {
        let rate = |measured: Option<&Measured>| measured.map(Measured::rate);
        Pairs {
            in_flight,
            raw_per_second: rate(raw),
            recipe_per_second: rate(recipe),
            dlock_per_second: rate(dlock),
            dlock_p50: dlock.map(|dlock| dlock.percentile(0.5)),
            dlock_p99: dlock.map(|dlock| dlock.percentile(0.99)),
            dlock_to_raw: dlock.zip(raw).map(|(dlock, raw)| dlock.ratio_to(raw)),
            dlock_to_recipe: dlock.zip(recipe).map(|(dlock, recipe)| dlock.ratio_to(recipe)),
        }
    }
}

impl Contended {
    pub(crate) fn of(who: &'static str, measured: &Measured) -> Contended {
        Contended {
            who,
            hand_overs_per_second: measured.rate(),
            wait_p50: measured.percentile(0.5),
            wait_p99: measured.percentile(0.99),
        }
    }
}

impl HandOver {
    pub(crate) fn of(who: &'static str, measured: &Measured) -> HandOver {
        HandOver { who, p50: measured.percentile(0.5), p99: measured.percentile(0.99) }
    }
}

impl Report {
    pub(crate) fn of(backend: Backend) -> Report {
        let (contended, hand_over, servers) = (Vec::new(), Vec::new(), Vec::new());
        Report {
            backend: backend.name(),
            title: backend.title(),
            pairs: Vec::new(),
            mastered: Vec::new(),
            contended,
            hand_over,
            servers,
            confined: Vec::new(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number =
            |value: Option<f64>| value.map_or_else(|| format!("{:>9}", "-"), |value| format!("{value:>9.0}"));
        let ratio =
            |value: Option<f64>| value.map_or_else(|| format!("{:>9}", "-"), |value| format!("{value:>9.2}"));
        writeln!(f, "{}, each lock on a name of its own, pairs per second", self.title)?;
        for (rows, what) in [(&self.pairs, "dlock"), (&self.mastered, "mastered")] {
            writeln!(f, "in flight       raw    recipe {what:>9}    p50 ms    p99 ms  to raw  to recipe")?;
            for row in rows {
                let rates =
                    [row.raw_per_second, row.recipe_per_second, row.dlock_per_second].map(number).concat();
                let others = [row.dlock_p50, row.dlock_p99, row.dlock_to_raw, row.dlock_to_recipe];
                writeln!(f, "{:>9} {rates} {}", row.in_flight, others.map(ratio).concat())?;
            }
        }
        writeln!(f, "{} on one name, hand-overs per second, and how long each waits", crate::WAITERS)?;
        for Contended { who, hand_overs_per_second, wait_p50, wait_p99 } in &self.contended {
            writeln!(f, "{hand_overs_per_second:>9.0}  p50 {wait_p50:.1} ms, p99 {wait_p99:.1} ms  {who}")?;
        }
        writeln!(f, "from one client's release to the other's grant")?;
        for HandOver { who, p50, p99 } in &self.hand_over {
            writeln!(f, "  p50 {p50:.2} ms, p99 {p99:.2} ms  {who}")?;
        }
        for (rows, what) in [(&self.servers, ""), (&self.confined, ", each with a share of a processor")] {
            for Scale { servers, pairs_per_second } in rows {
                writeln!(f, "{pairs_per_second:>9.0} pairs per second over {servers} servers{what}")?;
            }
        }
        Ok(())
    }
}
