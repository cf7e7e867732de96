//! The names and modes of the mixed workload.

use dlock_core::Mode;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::sync::Arc;

/// How uneven it is: the nth name is drawn n^-0.99 times as often as the first, as is usual for stores of keys.
const SKEW: f64 = 0.99;

/// Names, and how often each is drawn.
pub(super) struct Names {
    names: Vec<String>,
    /// How much of all draws fall on this name or one before it.
    cumulative: Vec<f64>,
}

impl Names {
    pub(super) fn new(count: u32) -> Names {
        let mut sum = 0.0;
        let cumulative = (1..=count).map(|rank| {
            sum += f64::from(rank).powf(-SKEW);
            sum
        });
        let mut cumulative: Vec<f64> = cumulative.collect();
        cumulative.iter_mut().for_each(|part| *part /= sum);
        Names { names: (0..count).map(|number| format!("bench/mixed/{number}")).collect(), cumulative }
    }
}

/// One worker's draws.
pub(super) struct Draw {
    names: Arc<Names>,
    random: StdRng,
}

impl Draw {
    pub(super) fn new(names: Arc<Names>, seed: u64, worker: u32) -> Draw {
        Draw { names, random: StdRng::seed_from_u64(seed.wrapping_mul(1_000_003) + u64::from(worker)) }
    }

    /// A name, and a mode: in nine of ten cases one of those that share.
    pub(super) fn next(&mut self) -> (&str, Mode) {
        let part: f64 = self.random.random();
        let index = self.names.cumulative.partition_point(|sum| *sum <= part).min(self.names.names.len() - 1);
        let modes: &[Mode] = if self.random.random_bool(0.9) {
            &[Mode::ConcurrentRead, Mode::ProtectedRead]
        } else {
            &[Mode::ConcurrentWrite, Mode::ProtectedWrite, Mode::Exclusive]
        };
        let mode = modes[self.random.random_range(0..modes.len())];
        (&self.names.names[index], mode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn some_names_are_drawn_much_more_often_and_most_modes_share() {
        let mut draw = Draw::new(Arc::new(Names::new(100)), 1, 0);
        let (mut names, mut shared) = (HashMap::<String, u32>::new(), 0);
        for _ in 0..10_000 {
            let (name, mode) = draw.next();
            *names.entry(name.to_owned()).or_default() += 1;
            shared += u32::from(matches!(mode, Mode::ConcurrentRead | Mode::ProtectedRead));
        }
        assert!(names["bench/mixed/0"] > 10 * names["bench/mixed/50"]);
        assert!((8_500..9_500).contains(&shared), "{shared}");
        let (mut again, mut same) =
            (Draw::new(draw.names.clone(), 7, 3), Draw::new(draw.names.clone(), 7, 3));
        assert!((0..100).all(|_| again.next() == same.next()));
    }
}
