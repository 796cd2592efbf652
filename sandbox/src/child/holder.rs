//! What a holder does for the rest of its life: nothing, and as pid 1 of a shared pid namespace it reaps.

use nix::sys::{
    prctl,
    signal::{SigSet, Signal},
    wait::{WaitPidFlag, WaitStatus, waitpid},
};

/// Waits for SIGTERM or SIGINT, and answers with its exit status.
pub(crate) fn hold() -> i32 {
    let mut awaited = SigSet::empty();
    awaited.add(Signal::SIGTERM);
    awaited.add(Signal::SIGINT);
    awaited.add(Signal::SIGCHLD);
    // Pid 1 of a namespace does not get a signal that it has no handler for, unless it blocks it: a blocked signal is
    // kept, because a handler might be installed later. pid_namespaces(7)
    if awaited.thread_block().is_err() || prctl::set_name(c"pause").is_err() {
        return 1;
    }
    loop {
        match awaited.wait() {
            Ok(Signal::SIGTERM | Signal::SIGINT) => return 0,
            _ => reap(),
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
