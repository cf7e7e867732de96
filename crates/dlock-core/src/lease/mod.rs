//! The arithmetic of leases: who may count on what until when, on clocks that nobody compares.
//!
//! Every rule takes the time as an argument, from the monotonic clock of the process that asks. Two facts make the
//! rules safe, as long as any two machines' clocks differ in *rate* by less than 10 %:
//!
//! - A client counts its time from the **sending** of a heartbeat that was acknowledged, less a margin
//!   ([`ClientLease`]); its home counts from the **receiving** of the same heartbeat ([`HomeLease`]), which is later.
//! - A server counts its own time from the sending of a write of its counter, less a tenth ([`MemberLease`]); its
//!   peers count from when they *saw* the counter change ([`MemberObserver`]), which is later.
//!
//! The margin is that of the classic lease (Gray and Cheriton, 1989) with clock drift.

mod client;
mod home;
mod member;
mod terms;

pub use client::ClientLease;
pub use home::{HomeLease, PauseDetector};
pub use member::{Lapse, MEMBER_BEAT, MEMBER_TIMEOUT, MemberLease, MemberObserver};
pub use terms::{LOCK_DELAY_MAX, LeaseTerms, TTL_DEFAULT, TTL_MAX, TTL_MIN, TermsError};

#[cfg(test)]
mod tests;
