//! Killing all processes of a cgroup, forks that race it included.

use std::{collections::BTreeSet, io, time::Duration};

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// How long a freeze may take before the signals are sent all the same.
pub(crate) const FREEZE_PATIENCE: Duration = Duration::from_millis(50);
/// A bound for cgroups that could not be frozen: each round kills at least what the one before has left.
const ROUNDS: usize = 100;

/// What killing needs from a cgroup.
pub(crate) trait Target {
    /// Stops everything; false when that could not be had in time.
    fn freeze(&self) -> bool;
    /// Lets everything go on, so that it can die.
    fn thaw(&self) -> io::Result<()>;
    /// The processes in it now.
    fn pids(&self) -> io::Result<Vec<i32>>;
}

/// Freezes, sends SIGKILL to all, thaws. What is frozen can neither fork nor exit, so that no process is missed and no
/// process id can have passed to somebody else. Without a freeze it is done again until nothing new is found.
pub(crate) fn kill_all(target: &impl Target) -> io::Result<()> {
    let mut killed = BTreeSet::new();
    for _ in 0..ROUNDS {
        let frozen = target.freeze();
        let found = target.pids();
        let sent = found.as_deref().map_or(Ok(()), send_kill);
        match target.thaw() {
            // The last process has gone, and somebody has removed the cgroup.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            thawed => thawed?,
        }
        sent?;
        let before = killed.len();
        killed.extend(found?);
        if frozen || killed.len() == before {
            return Ok(());
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "new processes appear faster than they are killed"))
}

/// Sends to all before it reports the first failure.
fn send_kill(pids: &[i32]) -> io::Result<()> {
    let mut failure = Ok(());
    for pid in pids {
        match kill(Pid::from_raw(*pid), Signal::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(e) if failure.is_ok() => failure = Err(e.into()),
            Err(_) => {}
        }
    }
    failure
}
