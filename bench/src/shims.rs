//! The ends of shims: their work is not over when containerd answers, and must not fall on what is timed next.

use std::{os::fd::OwnedFd, time::Duration};

use futures_util::future::join_all;
use loment_cri::Client;
use tokio::io::{Interest, unix::AsyncFd};

use crate::memory;

/// How long shims may take to end when their pods are gone, before what comes next begins all the same: one that serves
/// several pods stays.
const PATIENCE: Duration = Duration::from_secs(2);

/// The end of a process that is not a child.
#[derive(Debug)]
pub(crate) struct End(AsyncFd<OwnedFd>);

impl End {
    /// Of the process with this pid; `None` when it cannot be seen from here.
    #[expect(deprecated, reason = "its successor is unsafe; an OwnedFd is registered for as long as it is open")]
    pub(crate) fn of(pid: i32) -> Option<Self> {
        let process = loment_sys::pidfd::open(pid).ok()?;
        AsyncFd::with_interest(process, Interest::READABLE).ok().map(Self)
    }

    /// Of the shim of a sandbox.
    pub(crate) async fn of_shim(client: &Client, sandbox: &str) -> Option<Self> {
        memory::processes(client, sandbox).await.ok()?.shim.and_then(Self::of)
    }

    /// A pidfd is readable when its process has ended. pidfd_open(2)
    async fn wait(&self) {
        // An error only means that its end is not seen.
        let _ = self.0.readable().await;
    }
}

/// Waits until all have ended, or for as long as they may take.
pub(crate) async fn ended(shims: impl IntoIterator<Item = End>) {
    let shims: Vec<End> = shims.into_iter().collect();
    let _ = tokio::time::timeout(PATIENCE, join_all(shims.iter().map(End::wait))).await;
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_ends_of_all_are_waited_for() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut children: Vec<_> =
                (0..3).map(|_| Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap()).collect();
            let ends: Vec<End> =
                children.iter().map(|child| End::of(i32::try_from(child.id()).unwrap()).unwrap()).collect();
            // They end with their input.
            children.iter_mut().for_each(|child| drop(child.stdin.take()));
            ended(ends).await;
            for child in &mut children {
                assert!(child.try_wait().unwrap().is_some());
            }
        });
    }
}
