//! Ground of the tests that are named after what the trackers of other shims tell of: docs/faults-of-others.md.

use anyhow::{Context as _, Result};
use loment_integration::{
    pod::eventually,
    process::{descendants, shims},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Waits until there is no shim.
pub(super) async fn no_shim() -> Result<()> {
    let gone = eventually("the end of every shim", async || Ok(shims().is_empty().then_some(()))).await;
    gone.with_context(|| format!("these are left: {:?}", shims()))
}

/// A process that stands still as long as this exists.
pub(super) struct Stopped(i32);

impl Stopped {
    pub(super) fn new(pid: i32) -> Result<Self> {
        kill(Pid::from_raw(pid), Signal::SIGSTOP).with_context(|| format!("stop process {pid}"))?;
        Ok(Self(pid))
    }

    /// The lab's containerd.
    pub(super) fn containerd() -> Result<Self> {
        let own = std::process::id().cast_signed();
        let found = descendants(own).into_iter().find(|one| one.parent == own && one.name == "containerd");
        Self::new(found.context("find containerd")?.pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // Cannot fail but for a process that is gone.
        let _ = kill(Pid::from_raw(self.0), Signal::SIGCONT);
    }
}
