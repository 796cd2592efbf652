//! What a container uses, also when its cgroup has just been removed.

use loment_cgroups::stats::{Usage, usage::Memory};
use loment_sandbox::container::Role;

use super::Task;
use crate::failure::Result;

/// A container and what it uses.
pub(crate) struct Measured {
    /// Usage of its cgroup.
    pub(crate) usage: Usage,
    /// Processes in it.
    pub(crate) processes: u64,
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
        if let Some(usage) = self.last_usage() {
            return Ok(Measured { usage, processes: 0 });
        }
        self.with_container(|container| {
            let cgroup = container.cgroup();
            Ok(Measured { usage: cgroup.usage()?, processes: cgroup.pids()?.len() as u64 })
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
        let kills = || Memory { oom_kills: live.kills.seen(), ..Memory::default() };
        live.last_usage = match counted {
            true => Some(Usage { memory: kills(), ..Usage::default() }),
            // A cgroup that is gone already has nothing to tell.
            false => live.container.cgroup().usage().ok(),
        };
    }
}
