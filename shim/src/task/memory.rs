//! Memory kills of a container, told before its end.

use std::sync::Arc;

use containerd_shim_protos::events::task::TaskOOM;

use super::{Task, ready::readable};
use crate::events::Event;

impl Task {
    /// Tells of memory kills as long as the cgroup lives.
    pub(super) async fn watch_memory(self: Arc<Self>) {
        let watch = match self.with_container(|container| Ok(container.cgroup().watch_oom()?)) {
            Ok(watch) => watch,
            Err(failure) => return log::warn!("watch memory of container {}: {failure}", self.plan.id),
        };
        while self.exit.get().is_none() {
            tokio::select! {
                ready = readable(&watch) => if ready.is_err() { return },
                _ended = self.exit.wait() => return,
            }
            watch.acknowledge();
            self.publish_oom();
        }
    }

    /// Publishes memory kills that have not been told yet.
    pub(super) fn publish_oom(&self) {
        for _ in 0..self.count_oom_kills().min(1) {
            self.shim.events.send(&Event::Oom(TaskOOM { container_id: self.plan.id.clone(), ..TaskOOM::default() }));
        }
    }

    /// Memory kills since this was last asked.
    pub(super) fn count_oom_kills(&self) -> u64 {
        let mut live = crate::lock(&self.live);
        // Without a memory controller nothing is killed for memory on the container's account.
        let kills = live.container().and_then(|container| container.cgroup().oom_kills().ok());
        let kills = kills.unwrap_or(live.oom_kills);
        kills.saturating_sub(std::mem::replace(&mut live.oom_kills, kills))
    }
}
