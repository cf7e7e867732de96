//! The lock service over NATS: three servers.

use dlock_suites::Backend::Nats;

mod service {
    dlock_suites::service_suite!(super::Nats);
}

mod faults {
    dlock_suites::fault_suite!(super::Nats);
}
