//! What the v2 controllers account, in the shape and with the names of `io.containerd.cgroups.v2.Metrics`.

pub use super::v1::{Rdma, RdmaEntry};

/// Usage of one cgroup on v2. A controller that is not enabled is `None` or empty.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stats {
    /// Processes and threads.
    pub pids: Option<Pids>,
    /// Processor time.
    pub cpu: Option<Cpu>,
    /// Memory.
    pub memory: Option<Memory>,
    /// RDMA devices.
    pub rdma: Option<Rdma>,
    /// Block devices.
    pub io: Option<Io>,
    /// One entry for each huge page size.
    pub hugetlb: Vec<Hugetlb>,
    /// `memory.events`.
    pub memory_events: Option<MemoryEvents>,
}

/// Pressure stall information of one resource (kernel's `accounting/psi`).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Psi {
    /// At least one task waited.
    pub some: PsiData,
    /// All tasks waited at once.
    pub full: PsiData,
}

/// One line of a pressure file.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PsiData {
    /// Per cent of the last 10 seconds.
    pub avg10: f64,
    /// Per cent of the last 60 seconds.
    pub avg60: f64,
    /// Per cent of the last 300 seconds.
    pub avg300: f64,
    /// Microseconds since the cgroup was made.
    pub total: u64,
}

/// Tasks (processes and threads) of the cgroup and those below.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pids {
    /// How many there are.
    pub current: u64,
    /// How many there may be; 0 without a limit.
    pub limit: u64,
}

/// Processor time, in microseconds (`cpu.stat`).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cpu {
    /// All of it.
    pub usage_usec: u64,
    /// In user mode.
    pub user_usec: u64,
    /// In the kernel.
    pub system_usec: u64,
    /// Enforcement periods that have passed.
    pub nr_periods: u64,
    /// Those in which the quota ran out.
    pub nr_throttled: u64,
    /// Time held back.
    pub throttled_usec: u64,
    /// Pressure, when the kernel keeps it.
    pub psi: Option<Psi>,
    /// Periods in which burst was used.
    pub nr_bursts: u64,
    /// Time above the quota.
    pub burst_usec: u64,
}

/// Memory in bytes, page events in counts (`memory.stat` and the limit files).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[allow(missing_docs, reason = "the names are those of memory.stat in the kernel's cgroup-v2 document")]
pub struct Memory {
    pub anon: u64,
    pub file: u64,
    pub kernel_stack: u64,
    pub slab: u64,
    pub sock: u64,
    pub shmem: u64,
    pub file_mapped: u64,
    pub file_dirty: u64,
    pub file_writeback: u64,
    pub anon_thp: u64,
    pub inactive_anon: u64,
    pub active_anon: u64,
    pub inactive_file: u64,
    pub active_file: u64,
    pub unevictable: u64,
    pub slab_reclaimable: u64,
    pub slab_unreclaimable: u64,
    pub pgfault: u64,
    pub pgmajfault: u64,
    /// `workingset_refault_anon` and `workingset_refault_file` together, since Linux 5.9 has split it.
    pub workingset_refault: u64,
    /// Both halves together, as above.
    pub workingset_activate: u64,
    pub workingset_nodereclaim: u64,
    pub pgrefill: u64,
    pub pgscan: u64,
    pub pgsteal: u64,
    pub pgactivate: u64,
    pub pgdeactivate: u64,
    pub pglazyfree: u64,
    pub pglazyfreed: u64,
    pub thp_fault_alloc: u64,
    pub thp_collapse_alloc: u64,
    /// `memory.current`.
    pub usage: u64,
    /// `memory.max`; `u64::MAX` without a limit.
    pub usage_limit: u64,
    /// `memory.swap.current`.
    pub swap_usage: u64,
    /// `memory.swap.max`; `u64::MAX` without a limit.
    pub swap_limit: u64,
    /// `memory.peak` (Linux 5.19).
    pub max_usage: u64,
    /// `memory.swap.peak` (Linux 6.5).
    pub swap_max_usage: u64,
    /// Pressure, when the kernel keeps it.
    pub psi: Option<Psi>,
}

/// `memory.events`: counts of this cgroup and those below.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryEvents {
    /// Reclaimed although below `memory.low`.
    pub low: u64,
    /// Throttled above `memory.high`.
    pub high: u64,
    /// Went against `memory.max`.
    pub max: u64,
    /// Allocations that would have failed.
    pub oom: u64,
    /// Processes killed.
    pub oom_kill: u64,
    /// Whole groups killed.
    pub oom_group_kill: u64,
}

/// Block devices.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Io {
    /// `io.stat`.
    pub usage: Vec<IoEntry>,
    /// Pressure, when the kernel keeps it.
    pub psi: Option<Psi>,
}

/// One block device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IoEntry {
    /// Major device number.
    pub major: u64,
    /// Minor device number.
    pub minor: u64,
    /// Bytes read.
    pub rbytes: u64,
    /// Bytes written.
    pub wbytes: u64,
    /// Read operations.
    pub rios: u64,
    /// Write operations.
    pub wios: u64,
}

/// Huge pages of one size, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hugetlb {
    /// Bytes in use.
    pub current: u64,
    /// Bytes allowed; `u64::MAX` without a limit.
    pub max: u64,
    /// `2MB`, `1GB`.
    pub pagesize: String,
    /// How often the limit was hit.
    pub failcnt: u64,
}
