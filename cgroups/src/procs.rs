//! The processes of a cgroup and of those below it.

use std::{io, os::fd::BorrowedFd};

use nix::errno::Errno;

use crate::{dir::read_at, tree};

/// All process ids in `dir` and below, each once, in ascending order.
pub(crate) fn pids(dir: BorrowedFd<'_>) -> io::Result<Vec<i32>> {
    let mut pids = Vec::new();
    let mut text = String::new();
    collect(dir, &mut text, &mut pids)?;
    tree::each_below(dir, |below| collect(below, &mut text, &mut pids))?;
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

fn collect(dir: BorrowedFd<'_>, text: &mut String, pids: &mut Vec<i32>) -> io::Result<()> {
    match read_at(dir, c"cgroup.procs", text) {
        // A threaded cgroup: its processes are listed in the domain above it.
        Err(e) if e.raw_os_error() == Some(Errno::EOPNOTSUPP as i32) => Ok(()),
        Err(e) => Err(e),
        Ok(_) => {
            parse(text, pids);
            Ok(())
        }
    }
}

/// A process that cannot be seen from our pid namespace is listed as 0, which must never get to kill(2).
pub(crate) fn parse(text: &str, pids: &mut Vec<i32>) {
    pids.extend(text.lines().filter_map(|line| line.trim().parse().ok()).filter(|pid: &i32| *pid > 0));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_of_another_pid_namespace_is_left_out() {
        let mut pids = Vec::new();
        parse("12\n0\n7\n-1\nx\n", &mut pids);
        assert_eq!(pids, [12, 7]);
    }
}
