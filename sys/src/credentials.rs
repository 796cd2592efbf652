//! What a process may do: capabilities. capabilities(7)

use crate::{Errno, Result, check};

/// The three capability sets that capset(2) sets at once; bit n is capability n.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CapabilitySets {
    /// What counts now.
    pub effective: u64,
    /// What may become effective.
    pub permitted: u64,
    /// What execve(2) may keep.
    pub inheritable: u64,
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// The interface of capset(2) and capget(2) for capabilities of 64 bits.
const VERSION_3: u32 = 0x2008_0522;

/// Sets effective, permitted and inheritable capabilities of this thread. capset(2), version 3 of its interface.
pub fn capset(sets: CapabilitySets) -> Result<()> {
    let mut header = Header { version: VERSION_3, pid: 0 };
    let half = |shift: u32| Data {
        effective: (sets.effective >> shift) as u32,
        permitted: (sets.permitted >> shift) as u32,
        inheritable: (sets.inheritable >> shift) as u32,
    };
    let data = [half(0), half(32)];
    // SAFETY: version 3 reads one header and exactly two data records; both outlive the call.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) }).map(drop)
}

/// What this thread may hand on of `wanted`: the capabilities that are both permitted and in its bounding set. capget(2),
/// PR_CAPBSET_READ(2const)
pub fn grantable(wanted: u64) -> Result<u64> {
    let mut header = Header { version: VERSION_3, pid: 0 };
    let mut data = [const { Data { effective: 0, permitted: 0, inheritable: 0 } }; 2];
    // SAFETY: version 3 reads one header and writes exactly two data records; both outlive the call.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) })?;
    let [low, high] = data.map(|half| u64::from(half.permitted));
    let permitted = wanted & (high << 32 | low);
    // The kernel is asked for each by itself.
    let bounding =
        (0..64).filter(|capability| permitted & 1 << capability != 0 && is_in_bounding_set(*capability) == Some(true));
    Ok(bounding.fold(0, |all, capability| all | 1 << capability))
}

/// Every capability that this kernel knows.
pub fn known() -> u64 {
    let known = (0..64).take_while(|capability| is_in_bounding_set(*capability).is_some());
    known.fold(0, |all, capability| all | 1 << capability)
}

/// Whether a capability is in the bounding set; `None` if the kernel does not know it: after its last one it says
/// `EINVAL`.
fn is_in_bounding_set(capability: u32) -> Option<bool> {
    // SAFETY: takes numbers and touches no memory.
    let answer = unsafe { libc::prctl(libc::PR_CAPBSET_READ, libc::c_ulong::from(capability), 0, 0, 0) };
    Errno::result(answer).ok().map(|answer| answer == 1)
}

/// Takes every capability that is not in `keep` out of the bounding set, those too that are younger than this
/// program: the kernel says `EINVAL` after its last one. PR_CAPBSET_DROP(2const)
pub fn limit_bounding_set(keep: u64) -> Result<()> {
    for capability in 0..64 {
        if keep & (1 << capability) != 0 {
            continue;
        }
        // SAFETY: takes a number and touches no memory.
        match Errno::result(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability as libc::c_ulong, 0, 0, 0) }) {
            Err(Errno::EINVAL) => return Ok(()),
            answer => answer?,
        };
    }
    Ok(())
}

/// Makes `set` the ambient set. PR_CAP_AMBIENT(2const)
pub fn set_ambient(set: u64) -> Result<()> {
    let ambient = |operation: libc::c_int, capability: u32| {
        // SAFETY: takes numbers and touches no memory.
        Errno::result(unsafe {
            libc::prctl(libc::PR_CAP_AMBIENT, operation as libc::c_ulong, libc::c_ulong::from(capability), 0, 0)
        })
    };
    ambient(libc::PR_CAP_AMBIENT_CLEAR_ALL, 0)?;
    for capability in (0..64).filter(|capability| set & (1 << capability) != 0) {
        ambient(libc::PR_CAP_AMBIENT_RAISE, capability)?;
    }
    Ok(())
}

/// Sets user ids (real, effective, saved) of the calling thread only, which is all of a process with one thread. By the
/// call that runc makes: a seccomp profile may allow no other. Without CAP_SETUID the effective one alone is set, to one of
/// the other two.
pub fn set_uid(uid: u32) -> Result<()> {
    // SAFETY: takes numbers and touches no memory.
    check(unsafe { libc::syscall(libc::SYS_setuid, uid) }).map(drop)
}

/// Sets group ids of the calling thread only, in the same way.
pub fn set_gid(gid: u32) -> Result<()> {
    // SAFETY: takes numbers and touches no memory.
    check(unsafe { libc::syscall(libc::SYS_setgid, gid) }).map(drop)
}

/// Sets the supplementary groups of the calling thread only. setgroups(2)
pub fn set_groups(groups: &[u32]) -> Result<()> {
    // SAFETY: the kernel reads `len` ids from a slice that outlives the call.
    check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) }).map(drop)
}

/// Joins a fresh session keyring, so that the keys of whoever started this process are out of reach. It has no name: by
/// its name another process could have made it before, and found it later. KEYCTL_JOIN_SESSION_KEYRING(2const)
pub fn new_session_keyring() -> Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    let unnamed: *const libc::c_char = std::ptr::null();
    // SAFETY: the kernel takes a null pointer for "no name" and touches no memory.
    check(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, unnamed) }).map(drop)
}
