//! What a container uses, also when its cgroup has just been removed.

use std::path::PathBuf;

use loment_cgroups::stats::Usage;
use loment_sandbox::container::Role;

use super::Task;
use crate::failure::Result;

/// A cgroup and what it uses.
pub(crate) struct Measured {
    /// Usage.
    pub(crate) usage: Usage,
    /// Processes in it.
    pub(crate) processes: u64,
    /// Where it is below the mount points.
    pub(crate) cgroup: PathBuf,
}

impl Task {
    /// Its name in its pod.
    pub(crate) fn name(&self) -> &str {
        &self.plan.name
    }

    /// Whether it is the pod's sandbox.
    pub(crate) fn is_sandbox(&self) -> bool {
        self.plan.role == Role::Holder
    }

    /// What it uses now, or has used.
    pub(crate) fn measure(&self) -> Result<Measured> {
        let last = self.last_usage();
        self.with_container(|container| {
            let cgroup = container.cgroup();
            let processes = if last.is_some() { 0 } else { cgroup.pids()?.len() as u64 };
            let usage = last.map_or_else(|| cgroup.usage(), Ok)?;
            Ok(Measured { usage, processes, cgroup: cgroup.path().to_owned() })
        })
    }

    /// What it had used, when its cgroup is gone or about to go.
    pub(crate) fn last_usage(&self) -> Option<Usage> {
        crate::lock(&self.live).last_usage.clone()
    }

    /// Keeps what the container has used: its cgroup is about to be removed, and all its processes are gone. A pod with
    /// a cgroup of its own has counted it already, but for what cgroup v1 does not hand up.
    pub(super) fn keep_usage(&self) {
        let counted = self.shim.pod_has_cgroup();
        let mut live = crate::lock(&self.live);
        if live.last_usage.is_some() {
            return;
        }
        let all = || live.container().and_then(|container| container.cgroup().lasting_usage().ok());
        // A cgroup that is gone already has nothing to tell.
        let usage = if counted { None } else { all() };
        live.last_usage = Some(with_kills(usage.unwrap_or_default(), live.kills.seen()));
    }
}

/// A container's usage with the memory kills that are known: its cgroup may have been removed while it was read.
fn with_kills(mut usage: Usage, known: u64) -> Usage {
    usage.memory.oom_kills = usage.memory.oom_kills.max(known);
    usage
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_that_are_known_last_whatever_is_left_of_the_cgroup() {
        let mut usage = Usage::default();
        assert_eq!(with_kills(usage.clone(), 2).memory.oom_kills, 2);
        usage.memory.oom_kills = 3;
        assert_eq!(with_kills(usage, 2).memory.oom_kills, 3);
    }
}
