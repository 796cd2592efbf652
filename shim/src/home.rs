//! Whether anybody still knows of the shim.
//!
//! containerd that is killed, or whose client hangs up, in the middle of a start can lose a shim: it removes the bundle and
//! asks nothing more (containerd issues 12344, 13692). A shim finds that by itself: the bundle that it was started in is gone,
//! and so are those of its containers, of which none runs. As long as one runs nobody looks, and an idle pod sleeps.

use std::{path::PathBuf, sync::Arc};

use crate::{shim::Shim, task::Task};

/// The bundle that a shim was started in.
pub(crate) struct Home(pub(crate) PathBuf);

impl Home {
    /// Leaves if nobody can name the shim any more. Whether to look again.
    pub(crate) async fn look(&self, shim: &Arc<Shim>) -> bool {
        let tasks = shim.tasks();
        if shim.is_making() || tasks.iter().any(|task| task.exit().get().is_none()) {
            return false;
        }
        if self.0.exists() || tasks.iter().any(|task| task.bundle().exists()) {
            return true;
        }
        log::warn!("nobody knows of this shim: {} is gone, and it leaves", self.0.display());
        if let Err(failure) = leave(shim, &tasks).await {
            log::warn!("leave: {failure}");
        }
        true
    }
}

/// Ends what there is, and leaves when that is done.
async fn leave(shim: &Arc<Shim>, tasks: &[Arc<Task>]) -> crate::failure::Result<()> {
    if let Some(sandbox) = shim.pod_sandbox() {
        return sandbox.shut_down(shim).await;
    }
    for task in tasks {
        task.delete().await?;
        shim.remove(task);
    }
    shim.leave();
    Ok(())
}
