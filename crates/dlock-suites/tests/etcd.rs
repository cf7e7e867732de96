//! The lock service over etcd: three servers.

use dlock_suites::Backend::Etcd;

mod service {
    dlock_suites::service_suite!(super::Etcd);
}

mod faults {
    dlock_suites::fault_suite!(super::Etcd);
}

mod mastered {
    dlock_suites::fault_suite!(@mastered super::Etcd);
}
