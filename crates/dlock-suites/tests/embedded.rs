//! The lock service on the embedded store: one server.

use dlock_suites::Backend::Embedded;

mod service {
    dlock_suites::service_suite!(super::Embedded);
}

mod faults {
    dlock_suites::fault_suite!(super::Embedded);
}
