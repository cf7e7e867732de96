//! What this process has used.

use std::time::Duration;

/// What a process has used since its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessUsage {
    /// The processors' time, its own and the system's for it.
    pub cpu: Duration,
    /// How much of its memory is in RAM.
    pub resident_bytes: u64,
    /// How much of it was at most.
    pub resident_bytes_peak: u64,
}

impl ProcessUsage {
    /// This process' own; none where the system does not tell.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub fn now() -> Option<ProcessUsage> {
        let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        Some(ProcessUsage {
            cpu: Duration::new(cpu.tv_sec as u64, cpu.tv_nsec as u32),
            resident_bytes: bytes(&status, "VmRSS:")?,
            resident_bytes_peak: bytes(&status, "VmHWM:")?,
        })
    }

    /// This process' own; none where the system does not tell.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    pub fn now() -> Option<ProcessUsage> {
        None
    }
}

/// A line of `/proc/self/status`, such as `VmRSS:     1234 kB`.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn bytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_what_it_has_used() {
        let before = ProcessUsage::now().unwrap();
        assert!(before.resident_bytes > 0 && before.resident_bytes_peak >= before.resident_bytes);
        let mut turns = 0u64;
        while ProcessUsage::now().unwrap().cpu == before.cpu {
            turns = std::hint::black_box(turns + 1);
        }
        let block = std::hint::black_box(vec![1u8; 64 << 20]);
        assert!(ProcessUsage::now().unwrap().resident_bytes_peak >= before.resident_bytes + (32 << 20));
        drop(block);
    }

    #[test]
    fn what_is_not_there_is_not_taken_for_nothing() {
        assert_eq!(bytes("VmPeak:\t  12 kB\nVmRSS:\t   7 kB\n", "VmRSS:"), Some(7 * 1024));
        assert_eq!(bytes("VmPeak:\t  12 kB\n", "VmRSS:"), None);
        assert_eq!(bytes("VmRSS:\t seven kB\n", "VmRSS:"), None);
    }
}
