//! The lock service over a Redis Cluster of six nodes: three servers.

use dlock_suites::Backend::RedisCluster;

mod service {
    dlock_suites::service_suite!(super::RedisCluster);
}

mod faults {
    // Its nodes name each other, so that no proxy stands between them and the servers.
    dlock_suites::fault_suite!(@each super::RedisCluster,
        a_killed_holders_lock_passes_on,
        a_killed_server_costs_no_session,
        a_server_that_stood_still_endangers_nobody,
        a_rolling_restart_loses_no_lock,
        a_killed_store_comes_back,
        a_store_that_stood_still_endangers_nobody,
    );
}
