//! fork(2).

use nix::unistd::{ForkResult, Pid};

use crate::clone::alone;

/// Which of the two processes this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fork {
    /// The new one.
    Child,
    /// The old one, with the pid of the new one.
    Parent(Pid),
}

/// Forks.
///
/// Errors: EAGAIN (limit of processes), ENOMEM; EDEADLK when the process has more than one thread, because the child
/// would inherit locks that no thread of it will ever release.
pub fn fork() -> nix::Result<Fork> {
    alone()?;
    // SAFETY: with a single thread no lock can be held by another one, so the child may do whatever the parent may.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Child => Ok(Fork::Child),
        ForkResult::Parent { child } => Ok(Fork::Parent(child)),
    }
}
