//! seccomp(2): filters of syscalls. Kernel 5.0 for the listener, 5.19 for [`Flags::WAIT_KILLABLE_RECV`].

use std::ops::BitOr;
use std::os::fd::{FromRawFd, OwnedFd};

use nix::errno::Errno;

/// One instruction of classic BPF, as the kernel takes it.
pub use libc::sock_filter as Instruction;

/// How a filter is loaded: the `SECCOMP_FILTER_FLAG_*` bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u32);

impl Flags {
    /// Every action but "allow" is logged, as `/proc/sys/kernel/seccomp/actions_logged` lets it.
    pub const LOG: Self = Self(1 << 1);
    /// The mitigation of speculative store bypass is left off.
    pub const SPEC_ALLOW: Self = Self(1 << 2);
    /// The filter has a listener that is asked about the syscalls it notifies.
    pub const NEW_LISTENER: Self = Self(1 << 3);
    /// While its syscall is with the listener, a task can only be killed, not interrupted by another signal.
    /// Only together with [`Flags::NEW_LISTENER`].
    pub const WAIT_KILLABLE_RECV: Self = Self(1 << 5);

    /// The bits as the kernel takes them.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Flags from bits, `None` if one of them is not known here.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Option<Self> {
        const KNOWN: u32 = Flags::LOG.0 | Flags::SPEC_ALLOW.0 | Flags::NEW_LISTENER.0 | Flags::WAIT_KILLABLE_RECV.0;
        if bits & !KNOWN == 0 { Some(Self(bits)) } else { None }
    }

    /// Whether all bits of `other` are set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Puts a filter over the calling thread, for good and for all of its children: seccomp(2), `SECCOMP_SET_MODE_FILTER`.
///
/// Returns the descriptor of the listener, close-on-exec, if [`Flags::NEW_LISTENER`] is set. Allocates nothing, so it
/// may be called in the child of a clone.
///
/// # Errors
/// `EACCES` without `no_new_privs` and without `CAP_SYS_ADMIN`; `EINVAL` for a program that the kernel does not take;
/// `EBUSY` if a filter of this thread already has a listener.
pub fn load(program: &[Instruction], flags: Flags) -> nix::Result<Option<OwnedFd>> {
    let len = u16::try_from(program.len()).map_err(|_| Errno::EINVAL)?;
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    // SAFETY: the kernel reads `len` instructions from `filter`, which `program` borrows for the call, and writes none.
    let result = Errno::result(unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags.bits(), &raw const program)
    })?;
    if !flags.contains(Flags::NEW_LISTENER) {
        return Ok(None);
    }
    let listener = i32::try_from(result).map_err(|_| Errno::EBADF)?;
    // SAFETY: with NEW_LISTENER the call returns a new descriptor that nobody else owns.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(listener) }))
}
