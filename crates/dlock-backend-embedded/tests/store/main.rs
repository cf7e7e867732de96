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
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, LazyLock};

    /// A directory must outlive its store, and the suite says nothing when it is done with one: they are removed the next
    /// time.
    static DIRECTORIES: LazyLock<PathBuf> = LazyLock::new(|| {
        let directories = Path::new(env!("CARGO_TARGET_TMPDIR")).join("durable-conformance");
        let _removed = std::fs::remove_dir_all(&directories);
        directories
    });
    static COUNT: AtomicUsize = AtomicUsize::new(0);

    dlock_store::conformance_suite!(|| async {
        let number = COUNT.fetch_add(1, Ordering::Relaxed).to_string();
        vec![Arc::new(EmbeddedStore::open(&DIRECTORIES.join(number)).unwrap()) as _]
    });
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
