//! Processes that are on their way out.
//!
//! A process that is killed gives up what it has one after the other, and namespaces that it kept can take it tens of
//! milliseconds. Others see that a connection to it has ended while its socket still takes new ones.

use std::{fs, os::fd::AsFd as _, time::Duration};

use loment_sys::pidfd;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// How long one may take: half of the time that containerd gives a `delete`.
const PATIENCE: Duration = Duration::from_millis(2500);

/// The bit of a process's flags that says so: `PF_EXITING` in the kernel's `include/linux/sched.h`, since 2.4.
const EXITING: u64 = 0x4;

/// If this process is on its way out, waits until it is gone. Whether it was, or is gone already.
pub(crate) fn await_end(pid: i32) -> bool {
    let Ok(process) = pidfd::open(pid) else { return true };
    // Read after it was opened: the pid is that of no other process.
    if fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !is_exiting(&stat)) {
        return false;
    }
    let timeout = PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::MAX);
    // Whether it is gone now is seen by what it has left.
    let _ended = poll(&mut [PollFd::new(process.as_fd(), PollFlags::POLLIN)], timeout);
    true
}

/// Reads `/proc/PID/stat`: the name, in parentheses, may hold spaces and parentheses itself. proc_pid_stat(5)
fn is_exiting(stat: &str) -> bool {
    let flags = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(6)?.parse::<u64>().ok());
    flags.is_some_and(|flags| flags & EXITING != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_on_its_way_out_when_its_flags_say_so() {
        assert!(is_exiting("12 (a) b) Z 1 12 12 0 -1 4228364 0 0"));
        assert!(!is_exiting("12 (a) b) S 1 12 12 0 -1 4194560 0 0"));
        assert!(!is_exiting("nonsense"));
    }

    #[test]
    fn one_that_lives_is_not_waited_for_and_one_that_has_ended_is() {
        assert!(!await_end(std::process::id().cast_signed()));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id().cast_signed();
        while !fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") Z ") {
            std::thread::yield_now();
        }
        assert!(await_end(pid));
        child.wait().unwrap();
        assert!(await_end(pid), "one that is gone has ended too");
    }
}
