//! The lock service on one Redis node: servers that share it.

use dlock_suites::Backend::Redis;

mod service {
    dlock_suites::service_suite!(super::Redis);
}

mod faults {
    dlock_suites::fault_suite!(super::Redis);
}

mod mastered {
    dlock_suites::fault_suite!(@mastered super::Redis);
}
