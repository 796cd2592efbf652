//! Signal dispositions. signal(7)

use nix::sys::signal::SigSet;

use crate::Result;

/// Gives every signal its default action and unblocks all: what a program expects of whoever executes it. Ignored
/// signals and the mask would survive execve(2), and the Rust runtime ignores SIGPIPE.
pub fn reset() -> Result<()> {
    // SIGRTMAX; the C libraries keep some signals below SIGRTMIN for themselves and answer EINVAL for those.
    for signal in 1..=64 {
        // SAFETY: installs no handler, so no code of ours can run in signal context.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    SigSet::empty().thread_set_mask()
}
