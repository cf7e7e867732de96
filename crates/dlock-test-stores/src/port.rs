//! Ports that no other test takes meanwhile.

use std::fs::File;
use std::net::TcpListener;

/// A free port of the loopback, reserved among all tests of this machine while this value lives.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _reservation: File,
}

/// Below the range from which the kernel takes ports for outgoing connections; NATS and Redis Cluster use a second
/// port 10,000 above.
const RANGE: std::ops::Range<u16> = 12_000..22_000;

impl Port {
    /// Finds and reserves one.
    pub fn reserve() -> Port {
        let directory = std::env::temp_dir().join("dlock-test-ports");
        std::fs::create_dir_all(&directory).unwrap();
        loop {
            let number = rand::random_range(RANGE);
            let reservation = File::create(directory.join(number.to_string())).unwrap();
            let free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
            if reservation.try_lock().is_ok() && free(number) && free(number + 10_000) {
                return Port { number, _reservation: reservation };
            }
        }
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// As `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.number)
    }
}
