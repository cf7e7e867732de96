//! The store in memory and on disk: the contract's suite, and what survives what.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod full_disk;
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
    use std::sync::Arc;

    dlock_store::conformance_suite!(|| async {
        let directory = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(directory.path()).unwrap();
        vec![Arc::new(store) as _]
    });
}
