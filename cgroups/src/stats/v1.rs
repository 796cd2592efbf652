//! What the v1 controllers account, in the shape and with the names of `io.containerd.cgroups.v1.Metrics`.

/// Usage of one cgroup on v1 or hybrid. A controller that is not mounted is `None` or empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// One entry for each huge page size.
    pub hugetlb: Vec<Hugetlb>,
    /// Processes and threads.
    pub pids: Option<Pids>,
    /// Processor time.
    pub cpu: Option<Cpu>,
    /// Memory.
    pub memory: Option<Memory>,
    /// Block devices.
    pub blkio: Option<Blkio>,
    /// RDMA devices.
    pub rdma: Option<Rdma>,
    /// `memory.oom_control`.
    pub memory_oom_control: Option<MemoryOomControl>,
}

/// Huge pages of one size, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hugetlb {
    /// Bytes in use.
    pub usage: u64,
    /// The most that was in use.
    pub max: u64,
    /// How often the limit was hit.
    pub failcnt: u64,
    /// `2MB`, `1GB`.
    pub pagesize: String,
}

/// Tasks (processes and threads) of the cgroup and those below.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pids {
    /// How many there are.
    pub current: u64,
    /// How many there may be; 0 without a limit.
    pub limit: u64,
}

/// Processor time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cpu {
    /// Time used.
    pub usage: CpuUsage,
    /// What the quota held back.
    pub throttling: Throttling,
}

/// Processor time used, in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CpuUsage {
    /// All of it.
    pub total: u64,
    /// In the kernel.
    pub kernel: u64,
    /// In user mode.
    pub user: u64,
    /// By processor number.
    pub per_cpu: Vec<u64>,
}

/// What a cpu quota held back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Throttling {
    /// Enforcement periods that have passed.
    pub periods: u64,
    /// Those in which the quota ran out.
    pub throttled_periods: u64,
    /// Time held back, in nanoseconds.
    pub throttled_time: u64,
}

/// Memory in bytes, page events in counts: `memory.stat` and the limit files. `total_` fields count this cgroup and
/// those below.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of memory.stat in the kernel's cgroup-v1/memory document")]
pub struct Memory {
    pub cache: u64,
    pub rss: u64,
    pub rss_huge: u64,
    pub mapped_file: u64,
    pub dirty: u64,
    pub writeback: u64,
    pub pg_pg_in: u64,
    pub pg_pg_out: u64,
    pub pg_fault: u64,
    pub pg_maj_fault: u64,
    pub inactive_anon: u64,
    pub active_anon: u64,
    pub inactive_file: u64,
    pub active_file: u64,
    pub unevictable: u64,
    pub hierarchical_memory_limit: u64,
    pub hierarchical_swap_limit: u64,
    pub total_cache: u64,
    pub total_rss: u64,
    pub total_rss_huge: u64,
    pub total_mapped_file: u64,
    pub total_dirty: u64,
    pub total_writeback: u64,
    pub total_pg_pg_in: u64,
    pub total_pg_pg_out: u64,
    pub total_pg_fault: u64,
    pub total_pg_maj_fault: u64,
    pub total_inactive_anon: u64,
    pub total_active_anon: u64,
    pub total_inactive_file: u64,
    pub total_active_file: u64,
    pub total_unevictable: u64,
    /// `memory.*`: everything charged.
    pub usage: Option<MemoryEntry>,
    /// `memory.memsw.*`: memory and swap together, as the message has it; `None` without swap accounting.
    pub swap: Option<MemoryEntry>,
    /// `memory.kmem.*`.
    pub kernel: Option<MemoryEntry>,
    /// `memory.kmem.tcp.*`.
    pub kernel_tcp: Option<MemoryEntry>,
}

/// One set of limit files, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryEntry {
    /// What may be used; 9223372036854771712 without a limit (the kernel's largest whole page).
    pub limit: u64,
    /// What is used.
    pub usage: u64,
    /// The most that was used.
    pub max: u64,
    /// How often the limit was hit.
    pub failcnt: u64,
}

/// `memory.oom_control`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryOomControl {
    /// 1 when processes wait instead of being killed.
    pub oom_kill_disable: u64,
    /// 1 while processes wait for memory.
    pub under_oom: u64,
    /// Processes killed so far.
    pub oom_kill: u64,
}

/// Block devices; each list has one entry for each device and operation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Blkio {
    /// Bytes.
    pub io_service_bytes_recursive: Vec<BlkioEntry>,
    /// Operations.
    pub io_serviced_recursive: Vec<BlkioEntry>,
    /// Operations waiting.
    pub io_queued_recursive: Vec<BlkioEntry>,
    /// Nanoseconds from dispatch to completion.
    pub io_service_time_recursive: Vec<BlkioEntry>,
    /// Nanoseconds in queues.
    pub io_wait_time_recursive: Vec<BlkioEntry>,
    /// Merged requests.
    pub io_merged_recursive: Vec<BlkioEntry>,
    /// Milliseconds of device time.
    pub io_time_recursive: Vec<BlkioEntry>,
    /// Sectors.
    pub sectors_recursive: Vec<BlkioEntry>,
}

/// One number of one device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BlkioEntry {
    /// `Read`, `Write`, `Sync`, `Async`, `Discard`, `Total`; empty where the kernel makes no difference.
    pub op: String,
    /// Major device number. (The message's device path is found by [`super::device_name`].)
    pub major: u64,
    /// Minor device number.
    pub minor: u64,
    /// The number.
    pub value: u64,
}

/// RDMA devices.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rdma {
    /// In use.
    pub current: Vec<RdmaEntry>,
    /// Allowed; `u32::MAX` without a limit.
    pub limit: Vec<RdmaEntry>,
}

/// One RDMA device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RdmaEntry {
    /// Its name.
    pub device: String,
    /// Handles.
    pub hca_handles: u32,
    /// Objects.
    pub hca_objects: u32,
}
