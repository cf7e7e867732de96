//! The store in memory and on disk: the contract's suite, and what survives what.
#![allow(clippy::unwrap_used, clippy::print_stdout, unreachable_pub)]

mod at_once;
mod files;
mod full_disk;
mod killed;
mod power;
mod reopening;

mod in_memory {
    use dlock_backend_embedded::EmbeddedStore;
    use std::sync::Arc;

    dlock_store::conformance_suite!(|| async { vec![Arc::new(EmbeddedStore::in_memory()) as _] });
}

mod in_memory_shared {
    use dlock_backend_embedded::EmbeddedStore;
    use std::sync::Arc;

    dlock_store::conformance_suite!(|| async {
        let store = EmbeddedStore::in_memory_shared();
        vec![Arc::new(store.clone()) as _, Arc::new(store.clone()) as _, Arc::new(store) as _]
    });
}

mod durable {
    use dlock_backend_embedded::EmbeddedStore;
    use std::path::Path;
    use std::sync::{Arc, LazyLock};

    /// One for all, as a directory must outlive its store, and the suite says nothing when it is done with one.
    static STORE: LazyLock<EmbeddedStore> = LazyLock::new(|| {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("durable-conformance");
        let _removed = std::fs::remove_dir_all(&directory);
        EmbeddedStore::open(&directory).unwrap()
    });

    dlock_store::conformance_suite!(|| async { vec![Arc::new(STORE.clone()) as _] });
}

/// Snapshots are written all the time.
mod durable_in_little_room {
    use dlock_backend_embedded::simulated::SimulatedDisk;
    use dlock_backend_embedded::{EmbeddedStore, Upkeep};
    use std::path::Path;
    use std::sync::Arc;

    dlock_store::conformance_suite!(|| async {
        let upkeep = Upkeep { log_bytes: 4096, ..Upkeep::default() };
        let store = EmbeddedStore::open_on(Arc::new(SimulatedDisk::default()), Path::new("disk"), upkeep);
        vec![Arc::new(store.unwrap()) as _]
    });
}
