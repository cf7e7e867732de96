//! The lock service over three etcd nodes: three servers.

use dlock_suites::Backend::EtcdCluster;

mod service {
    dlock_suites::service_suite!(super::EtcdCluster);
}

mod faults {
    dlock_suites::fault_suite!(super::EtcdCluster);
}
