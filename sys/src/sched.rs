//! When a process gets the processor and the disk, and from where its memory: sched_setattr(2), ioprio_set(2),
//! set_mempolicy(2).

use std::mem::size_of;

use crate::{Result, check};

/// A scheduling policy with its parameters, as sched_setattr(2) takes them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// Nice value of the fair policies.
    pub nice: i32,
    /// Static priority of the real-time policies.
    pub priority: u32,
    /// Nanoseconds, of the deadline policy.
    pub runtime: u64,
    /// Nanoseconds, of the deadline policy.
    pub deadline: u64,
    /// Nanoseconds, of the deadline policy.
    pub period: u64,
}

/// Sets the scheduling policy of this thread.
pub fn set_scheduler(attributes: Attributes) -> Result<()> {
    let attributes = libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy: attributes.policy,
        sched_flags: attributes.flags,
        sched_nice: attributes.nice,
        sched_priority: attributes.priority,
        sched_runtime: attributes.runtime,
        sched_deadline: attributes.deadline,
        sched_period: attributes.period,
    };
    // SAFETY: the kernel reads a sched_attr that carries its own size and outlives the call.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) }).map(drop)
}

/// Sets class (1 real time, 2 best effort, 3 idle) and level (0 to 7) of this thread's disk requests.
pub fn set_io_priority(class: u16, level: u16) -> Result<()> {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    let priority = libc::c_int::from(class) << 13 | libc::c_int::from(level);
    // SAFETY: takes numbers and touches no memory.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, priority) }).map(drop)
}

/// Sets from which memory nodes this process gets its memory: `MPOL_*` with its flags, and the nodes, of which the
/// first is bit 0 of the first word.
pub fn set_memory_policy(mode: u32, nodes: &[u64]) -> Result<()> {
    // The kernel counts one bit more than it reads.
    let bits = nodes.len() * u64::BITS as usize + 1;
    let (nodes, bits) = if nodes.is_empty() { (std::ptr::null(), 0) } else { (nodes.as_ptr(), bits) };
    // SAFETY: the kernel reads `bits` - 1 bits of a slice that outlives the call.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, nodes, bits) }).map(drop)
}
