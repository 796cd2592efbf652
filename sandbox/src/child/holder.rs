//! What a holder does for the rest of its life: nothing, and as pid 1 of a shared pid namespace it reaps.

use nix::sys::{
    prctl,
    signal::{SigSet, Signal},
    wait::{WaitPidFlag, WaitStatus, waitpid},
};

use crate::{Result, error::Context};

/// The signals that a holder waits for, kept for it from now on.
#[derive(Debug)]
pub(crate) struct Holder {
    awaited: SigSet,
}

impl Holder {
    /// To be called before anyone can know of this process: pid 1 of a namespace loses a signal that it has no handler
    /// for, unless it blocks it. A blocked one is kept, because a handler might be installed later. pid_namespaces(7)
    pub(crate) fn prepare() -> Result<Self> {
        let awaited: SigSet = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD].into_iter().collect();
        awaited.thread_block().at("block", "signals")?;
        prctl::set_name(c"pause").at("set the name of", "the holder")?;
        Ok(Self { awaited })
    }

    /// Waits for SIGTERM or SIGINT, and answers with the exit status.
    pub(crate) fn hold(&self) -> i32 {
        loop {
            match self.awaited.wait() {
                Ok(Signal::SIGTERM | Signal::SIGINT) => return 0,
                _ => reap(),
            }
        }
    }
}

/// Reaps every child that has ended: orphans of the pid namespace become children of its pid 1.
fn reap() {
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            return;
        }
    }
}
