//! The usual lock on etcd, in the same world: it loses updates, as it is known to, or this world would be too kind.

use dlock_simulation::{Keep, Options, Recipe, Writes, run};

const SEEDS: u64 = 150;

/// The writes of some dozens of runs, together.
fn writes(recipe: Recipe, calm: bool) -> Writes {
    let options = Options { recipe: Some(recipe), calm, ..Options::default() };
    let mut all = Writes::default();
    for seed in 0..SEEDS {
        let writes = run(seed, options, Keep::Hash).expect("a harness without defects").writes;
        all.accepted += writes.accepted;
        all.fenced += writes.fenced;
        all.lost_updates += writes.lost_updates;
    }
    assert!(all.accepted > 20 * SEEDS, "{all:?}: too few to find anything");
    all
}

#[test]
fn the_lock_recipe_loses_updates_of_clients_that_were_paused() {
    assert!(writes(Recipe::Unfenced, false).lost_updates > 0);
}

#[test]
fn a_resource_that_checks_tokens_loses_none_of_them() {
    let writes = writes(Recipe::Fenced, false);
    assert_eq!(writes.lost_updates, 0);
    assert!(writes.fenced > 0);
}

#[test]
fn where_nothing_goes_wrong_the_recipe_is_right() {
    let writes = writes(Recipe::Unfenced, true);
    assert_eq!((writes.lost_updates, writes.fenced), (0, 0));
}
