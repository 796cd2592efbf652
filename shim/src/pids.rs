//! The shim's children: whose end somebody watches, and who is reaped as an orphan.

use std::{
    collections::HashSet,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use tokio::sync::{Notify, watch};

/// Children that somebody watches by pidfd. All others that end are orphans which the kernel gave to the shim.
#[derive(Default)]
pub(crate) struct Pids {
    watched: Mutex<HashSet<i32>>,
    /// How many wait for a child whose pid they do not know yet.
    expected: AtomicUsize,
    /// A watched child has been reaped: one that hid orphans from the sweep is out of the way.
    pub(crate) reaped: Notify,
}

impl Pids {
    /// Somebody watches `pid`.
    pub(crate) fn add(&self, pid: i32) {
        crate::lock(&self.watched).insert(pid);
    }

    /// A child will come that somebody else makes. As long as the answer is kept nothing is taken for an orphan.
    pub(crate) fn expect(&self) -> impl Drop + use<'_> {
        struct Expected<'a>(&'a Pids);
        impl Drop for Expected<'_> {
            fn drop(&mut self) {
                self.0.expected.fetch_sub(1, Ordering::Relaxed);
                self.0.reaped.notify_one();
            }
        }
        self.expected.fetch_add(1, Ordering::Relaxed);
        Expected(self)
    }

    /// `pid` has been reaped.
    pub(crate) fn remove(&self, pid: i32) {
        crate::lock(&self.watched).remove(&pid);
        self.reaped.notify_one();
    }

    /// Reaps orphans.
    pub(crate) fn sweep(&self) {
        if self.expected.load(Ordering::Relaxed) > 0 {
            return;
        }
        let peek = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        while let Ok(status) = waitid(Id::All, peek) {
            let Some(pid) = status.pid().filter(|_| status != WaitStatus::StillAlive) else { return };
            if crate::lock(&self.watched).contains(&pid.as_raw()) {
                // The kernel shows the same child until its watcher has reaped it; then the sweep goes on.
                return;
            }
            let _reaped = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG);
        }
    }
}

/// How many of something are still to end before the shim may leave.
pub(crate) struct Ending(watch::Sender<usize>);

impl Default for Ending {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Ending {
    /// One more, as long as the answer is kept.
    pub(crate) fn one(&self) -> impl Drop + use<> {
        struct One(watch::Sender<usize>);
        impl Drop for One {
            fn drop(&mut self) {
                self.0.send_modify(|count| *count -= 1);
            }
        }
        self.0.send_modify(|count| *count += 1);
        One(self.0.clone())
    }

    /// Waits until all have ended.
    pub(crate) async fn all(&self) {
        // The sender lives in `self`.
        let mut count = self.0.subscribe();
        let _none = count.wait_for(|count| *count == 0).await;
    }
}
