//! The lock service over NATS: three servers.

use dlock_client::ValueBlock;
use dlock_suites::Backend::Nats;
use dlock_suites::{Deployment, Proxy};
use futures::future::try_join_all;
use std::time::Duration;

mod service {
    dlock_suites::service_suite!(super::Nats);
}

mod faults {
    dlock_suites::fault_suite!(super::Nats);
}

/// The server reads all of the bucket before it serves: that may take longer than it waits for an answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_bucket_behind_a_slow_line_is_read_to_its_end() {
    /// With values of 1 KiB they are 2 MiB: at 64 KiB in 200 ms, more than six seconds' worth.
    const RECORDS: usize = 2048;
    let mut deployment = Deployment::with_proxies(Nats, 1);
    let client = deployment.client(0).await;
    let names: Vec<String> = (0..RECORDS).map(|number| format!("long/{number}")).collect();
    let guards = try_join_all(names.iter().map(|name| client.lock(name).acquire())).await.expect("locks");
    let value = || ValueBlock::new(vec![7; 1024]).expect("1 KiB");
    try_join_all(guards.into_iter().map(|guard| guard.release_with_value(value()))).await.expect("releases");
    let slow = |proxy: &Proxy| proxy.set(|fault| fault.delay = Duration::from_millis(200));
    deployment.proxies.iter().flatten().for_each(slow);
    deployment.servers[0].restart();
    deployment.proxies.iter().flatten().for_each(Proxy::mend);
    let read = client.lock(&names[RECORDS - 1]).acquire().await.expect("a lock");
    assert_eq!(read.value().map(|value| value.block.bytes().len()), Some(1024));
}

mod mastered {
    dlock_suites::fault_suite!(@mastered super::Nats);
}
