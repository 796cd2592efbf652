//! Signal dispositions. signal(7)

use nix::sys::signal::SigSet;

use crate::Result;

/// Highest signal number of Linux.
const SIGRTMAX: libc::c_int = 64;

/// Gives every signal its default action and unblocks all: what a program expects of whoever executes it. Ignored
/// signals and the mask would survive execve(2), and the Rust runtime ignores SIGPIPE.
///
/// For a process with one thread: the C library's own signals (32 and 33) are reset too.
pub fn reset() -> Result<()> {
    // The kernel's struct sigaction: handler, flags, restorer, mask. All zero is SIG_DFL. The C library's wrapper
    // would leave its own signals alone, which others may have ignored.
    let default = [0u64; 4];
    for signal in 1..=SIGRTMAX {
        let nowhere: *mut u64 = std::ptr::null_mut();
        // SAFETY: the kernel reads a sigaction and a mask of 8 bytes from an array that outlives the call; no handler
        // is installed, so no code of ours can run in signal context. SIGKILL and SIGSTOP answer EINVAL, rightly.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), nowhere, size_of::<u64>()) };
    }
    SigSet::empty().thread_set_mask()
}
