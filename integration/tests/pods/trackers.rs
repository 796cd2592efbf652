//! Ground of the tests that are named after what the trackers of other shims tell of: docs/faults-of-others.md.

use std::{future::poll_fn, path::Path, pin::Pin, task::Poll};

use anyhow::{Context as _, Result};
use loment_integration::{
    pod::eventually,
    process::{Process, command_line, descendants},
    programs,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// The lab's shims of this project. A fork of one counts until it is something else.
pub(super) fn shims() -> Vec<i32> {
    let is_shim = |process: &Process| {
        let line = command_line(process);
        let program = line.split(' ').next().map(Path::new).and_then(Path::file_name);
        program.is_some_and(|name| name == programs::SHIM)
    };
    descendants(std::process::id().cast_signed()).into_iter().filter(is_shim).map(|process| process.pid).collect()
}

/// Waits until there is no shim.
pub(super) async fn no_shim() -> Result<()> {
    let gone = eventually("the end of every shim", async || Ok(shims().is_empty().then_some(()))).await;
    gone.with_context(|| format!("these are left: {:?}", shims()))
}

/// Does all of this at once; the first failure, when all have ended.
pub(super) async fn at_once<T, F: Future<Output = Result<T>>>(all: impl IntoIterator<Item = F>) -> Result<Vec<T>> {
    let mut waiting: Vec<Option<Pin<Box<F>>>> = all.into_iter().map(|one| Some(Box::pin(one))).collect();
    let mut done: Vec<Option<Result<T>>> = waiting.iter().map(|_| None).collect();
    poll_fn(|context| {
        for (slot, result) in waiting.iter_mut().zip(&mut done) {
            if let Some(Poll::Ready(answer)) = slot.as_mut().map(|one| one.as_mut().poll(context)) {
                (*slot, *result) = (None, Some(answer));
            }
        }
        if waiting.iter().all(Option::is_none) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
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
