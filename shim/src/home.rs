//! Whether anybody still knows of the shim.
//!
//! containerd that is killed, or whose client hangs up, can lose a shim and asks nothing more of it. In the middle of a start
//! it removes the bundle (containerd issues 12344, 13692); at a Delete whose answer nobody waits for, or when its Shutdown
//! gets lost, it leaves that and sees to the rest when the shim has gone (issue 8981). A shim finds both by itself, when
//! nothing of it runs. As long as something runs nobody looks, and an idle pod sleeps.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crate::{shim::Shim, task::Task};

/// How long a shim whose last task is gone waits to be told to leave. containerd does so at once, and takes at most 3 s for
/// it.
const FORSAKEN: Duration = Duration::from_secs(10);

/// The bundle that a shim was started in.
pub(crate) struct Home(pub(crate) PathBuf);

impl Home {
    /// Leaves if nobody can name the shim any more, or wants it, which has had nothing to do for a time `quiet`. Whether to
    /// look again.
    pub(crate) async fn look(&self, shim: &Arc<Shim>, quiet: Duration) -> bool {
        let tasks = shim.tasks();
        if shim.is_making() || tasks.iter().any(|task| task.has_process()) {
            return false;
        }
        if shim.is_emptied() && quiet >= FORSAKEN {
            log::warn!("nothing is left of {} and nobody has told the shim to leave: it leaves", self.0.display());
            shim.leave();
            return true;
        }
        if is_there(&self.0) || tasks.iter().any(|task| is_there(task.bundle())) {
            return true;
        }
        log::warn!("nobody knows of this shim: {} is gone, and it leaves", self.0.display());
        if let Err(failure) = leave(shim, &tasks).await {
            log::warn!("leave: {failure}");
        }
        true
    }
}

/// Whether a bundle is there. What cannot be told is no reason to end a pod.
fn is_there(bundle: &Path) -> bool {
    bundle.try_exists().unwrap_or(true)
}

/// Ends what there is, and leaves when that is done.
async fn leave(shim: &Arc<Shim>, tasks: &[Arc<Task>]) -> crate::failure::Result<()> {
    if let Some(sandbox) = shim.pod_sandbox() {
        return sandbox.shut_down(shim).await;
    }
    // A pod that the shim was to run may have lost its holder: nobody makes it another one.
    if let Some(host) = shim.host.get() {
        host.give_up_sandbox();
    }
    for task in tasks {
        task.delete().await?;
        shim.remove(task);
    }
    shim.leave();
    Ok(())
}
