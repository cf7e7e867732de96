//! The lock service over three NATS nodes: three servers.

use dlock_suites::Backend::NatsCluster;

mod service {
    dlock_suites::service_suite!(super::NatsCluster);
}

mod faults {
    dlock_suites::fault_suite!(super::NatsCluster);
}
