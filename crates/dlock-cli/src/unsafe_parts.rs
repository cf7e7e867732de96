//! The only unsafe code: what has to happen in a new process between fork and exec, signals to oneself, and a file
//! descriptor that the runtime waits for.
//!
//! Between fork and exec only async-signal-safe functions may be called; the ones here are.
#![allow(unsafe_code)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Lets the command's process begin as the leader of a new group; with `terminal`, in the terminal's foreground; and, on
/// Linux, be killed when this program dies, however it dies, so that no command goes on without its lock.
pub(crate) fn prepare(command: &mut Command, terminal: bool) {
    command.process_group(0);
    let parent = std::process::id();
    let prepare = move || {
        if terminal {
            take_terminal()?;
        }
        die_with_parent(parent)
    };
    // SAFETY: the closure calls only prctl, getppid, getpid, signal and tcsetpgrp, which are async-signal-safe, and
    // touches no memory that another thread could hold locked.
    unsafe {
        command.pre_exec(prepare);
    }
}

#[cfg(target_os = "linux")]
fn die_with_parent(parent: u32) -> io::Result<()> {
    // SAFETY: plain system calls without pointers.
    let (set, now) = unsafe { (libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL), libc::getppid()) };
    if set != 0 {
        return Err(io::Error::last_os_error());
    }
    // It may have died before the call, and then no signal comes.
    if u32::try_from(now) != Ok(parent) {
        return Err(io::ErrorKind::Interrupted.into());
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent(_: u32) -> io::Result<()> {
    Ok(())
}

/// Makes the own group the terminal's foreground group. Whoever is in the background gets TTOU for that, and stops,
/// unless it is ignored.
pub(crate) fn take_terminal() -> io::Result<()> {
    // SAFETY: plain system calls; the only pointer is a file descriptor that is open.
    unsafe {
        let before = libc::signal(libc::SIGTTOU, libc::SIG_IGN);
        let result = libc::tcsetpgrp(libc::STDIN_FILENO, libc::getpgrp());
        let error = io::Error::last_os_error();
        libc::signal(libc::SIGTTOU, before);
        if result == 0 { Ok(()) } else { Err(error) }
    }
}

/// Lets the runtime that this is called in wait for a file descriptor.
#[cfg(target_os = "linux")]
pub(crate) fn register(
    fd: std::os::fd::OwnedFd,
) -> io::Result<tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>> {
    // SAFETY: an `OwnedFd` has a valid descriptor, which nobody closes or replaces while it is registered.
    Ok(unsafe { tokio::io::unix::AsyncFd::register(fd) }?)
}
