//! The only unsafe code: the process's randomness, answered from the seed on the threads of simulations.
//!
//! The standard library's maps are in a random order: `std` asks the C library's `getrandom` for its seed, by a symbol
//! that a program may define itself. Each run has a thread of its own, since `std` keeps such seeds per thread.
#![allow(unsafe_code)]

use std::cell::Cell;

thread_local! {
    /// The state of this thread's generator; none on threads that simulate nothing.
    static STATE: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Runs `body` on a new thread on which all randomness comes from `seed`.
///
/// # Errors
/// What the thread panicked with.
pub(crate) fn on_seeded_thread<T: Send>(
    seed: u64,
    body: impl FnOnce() -> T + Send,
) -> std::thread::Result<T> {
    std::thread::scope(|scope| {
        let seeded = || {
            STATE.set(Some(seed));
            body()
        };
        scope.spawn(seeded).join()
    })
}

/// SplitMix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Replaces the C library's function of this name in programs that link this crate; see `getrandom(2)`.
///
/// # Safety
/// As the C function: `buffer` must be valid for writes of `length` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, flags: u32) -> isize {
    let Some(mut state) = STATE.get() else {
        // SAFETY: the caller's promise is what the system call asks for.
        return unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) } as isize;
    };
    for at in 0..length {
        // SAFETY: `at` is below `length`, for which the caller says that the buffer is valid.
        unsafe { buffer.add(at).write(next(&mut state) as u8) };
    }
    STATE.set(Some(state));
    length as isize
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::{BuildHasher, RandomState};

    fn draw(seed: u64) -> [u64; 2] {
        on_seeded_thread(seed, || [RandomState::new().hash_one(1), RandomState::new().hash_one(1)]).unwrap()
    }

    #[test]
    fn the_standard_librarys_randomness_comes_from_the_seed() {
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn other_threads_keep_their_randomness() {
        let draw = || std::thread::spawn(|| RandomState::new().hash_one(1)).join().unwrap();
        assert_ne!(draw(), draw());
    }
}
