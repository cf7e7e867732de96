//! The etcd backend against real etcd servers, alone and in clusters, healthy and hurt.
#![allow(clippy::unwrap_used)]

mod access;
mod conformance;
mod failover;
mod history;
mod outcomes;
mod startup;
mod watches;

use dlock_backend_etcd::{EtcdConfig, EtcdStore};
use dlock_store::conformance::calls::*;
use dlock_store::{Change, Record, Store, StoreError, Verdict, Version, Write};

fn config(endpoints: &[String]) -> EtcdConfig {
    EtcdConfig { endpoints: endpoints.to_vec(), ..EtcdConfig::default() }
}

async fn connect(endpoints: &[String]) -> EtcdStore {
    EtcdStore::connect(&config(endpoints)).await.unwrap()
}
