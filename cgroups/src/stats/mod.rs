//! Usage and limits, as the kernel accounts them.

pub mod v1;
pub mod v2;

/// Usage of one cgroup, in the form that its layout accounts it. Hybrid reports [`Stats::V1`].
#[derive(Debug, Clone, PartialEq)]
pub enum Stats {
    /// Carries what `io.containerd.cgroups.v1.Metrics` does.
    V1(Box<v1::Stats>),
    /// Carries what `io.containerd.cgroups.v2.Metrics` does.
    V2(Box<v2::Stats>),
}
