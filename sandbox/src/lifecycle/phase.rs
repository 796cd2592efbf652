//! The phase of a pod.

/// `status.phase`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Phase {
    /// Not all containers have run yet.
    Pending,
    /// At least one container runs, starts or is about to be started again.
    Running,
    /// All app containers ended well and none will be started again.
    Succeeded,
    /// All containers ended, at least one app container badly.
    Failed,
    /// The state cannot be had. The machine never says so; a command does when it cannot reach the shim.
    Unknown,
}
