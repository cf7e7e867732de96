//! The lock service over a quorum of five Redis nodes: three servers.

use dlock_suites::Backend::RedisQuorum;

mod service {
    dlock_suites::service_suite!(super::RedisQuorum);
}

mod faults {
    dlock_suites::fault_suite!(super::RedisQuorum);
}
