//! A pod that uses more local storage than it may is evicted.

use std::sync::Arc;

use loment_sandbox::lifecycle::Event;

use super::{host::Host, storage};

impl Host {
    /// Looks at the pod's storage again and again, and has it evicted when that is more than it may be.
    pub(super) async fn watch_storage(self: Arc<Self>) {
        let Some(limits) = &self.storage else { return };
        loop {
            tokio::time::sleep(limits.interval).await;
            if self.has_finished() {
                return;
            }
            match storage::measure(self.storage_places(limits)).await {
                Ok(used) => {
                    if let Some(message) = limits.exceeded(&used) {
                        return self.tell(Event::Evict { reason: "Evicted".into(), message });
                    }
                }
                Err(failure) => log::warn!("pod: {failure}"),
            }
        }
    }

    fn storage_places(&self, limits: &storage::Limits) -> storage::Places {
        let volume = |name: &str| self.directory().map(|directory| directory.join("volumes").join(name));
        let container = |name: &str| {
            let task = self.with_spec(|spec| spec.id(name)).and_then(|id| self.task(id));
            task.and_then(|task| task.writable_layer()).into_iter().chain(self.logs_of(name)).collect()
        };
        storage::Places {
            volumes: limits.volumes().map(|name| volume(name).unwrap_or_default()).collect(),
            containers: limits.containers().map(container).collect(),
        }
    }
}
