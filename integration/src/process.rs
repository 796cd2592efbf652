//! Processes by descent. A lab is a subreaper: what it started stays below it, whoever dies in between, so that descent
//! says what is the lab's on a machine where others work too.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

use crate::programs;

/// A process as `/proc/<pid>/stat` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// Its parent's id.
    pub parent: i32,
    /// Its process group.
    pub group: i32,
    /// `Z` when it has ended and waits to be reaped.
    pub state: char,
    /// Its name, as in `ps -o comm`.
    pub name: String,
}

/// Reads one line of `/proc/<pid>/stat`. The name is in parentheses and may hold spaces and parentheses itself.
fn parse_stat(stat: &str) -> Option<Process> {
    let (before, after) = (stat.find('(')?, stat.rfind(')')?);
    let pid = stat.get(..before)?.trim().parse().ok()?;
    let name = stat.get(before + 1..after)?.to_owned();
    let mut rest = stat.get(after + 1..)?.split_whitespace();
    let (state, parent) = (rest.next()?.chars().next()?, rest.next()?.parse().ok()?);
    let group = rest.next()?.parse().ok()?;
    Some(Process { pid, parent, group, state, name })
}

/// Every process below `ancestor`, without itself.
pub fn descendants(ancestor: i32) -> Vec<Process> {
    let mut children: BTreeMap<i32, Vec<Process>> = BTreeMap::new();
    for entry in crate::files::entries(Path::new("/proc")) {
        // A process may end between the listing and the reading.
        let Some(process) = fs::read_to_string(entry.join("stat")).ok().as_deref().and_then(parse_stat) else {
            continue;
        };
        children.entry(process.parent).or_default().push(process);
    }
    let (mut found, mut todo) = (Vec::new(), vec![ancestor]);
    while let Some(parent) = todo.pop() {
        let of_parent = children.remove(&parent).unwrap_or_default();
        todo.extend(of_parent.iter().map(|child| child.pid));
        found.extend(of_parent);
    }
    found
}

/// The words of a process's command line, or its name in brackets when it has none.
pub fn command_line(process: &Process) -> String {
    let words = fs::read(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
    let words = String::from_utf8_lossy(&words).replace('\0', " ");
    match words.trim() {
        "" => format!("[{}]", process.name),
        words => words.to_owned(),
    }
}

/// The shims of this project below this process. A fork of one counts until it is something else.
pub fn shims() -> Vec<i32> {
    shims_with("").collect()
}

/// The shim that was started for this sandbox, below this process: the first, for it may just be forking.
pub fn shim_of(sandbox: &str) -> Option<i32> {
    shims_with(sandbox).next()
}

fn shims_with(word: &str) -> impl Iterator<Item = i32> {
    let is_shim = move |process: &Process| {
        let line = command_line(process);
        let program = line.split(' ').next().map(Path::new).and_then(Path::file_name);
        program.is_some_and(|name| name == programs::SHIM) && line.contains(word)
    };
    descendants(std::process::id().cast_signed()).into_iter().filter(is_shim).map(|process| process.pid)
}

/// Kills everything below the calling process, a subreaper, and reaps it. Returns how many processes there were.
pub fn sweep(limit: Duration) -> Result<usize> {
    let deadline = Instant::now() + limit;
    let own = nix::unistd::getpid().as_raw();
    let mut swept = 0;
    loop {
        let left = descendants(own);
        if left.is_empty() {
            return Ok(swept);
        }
        if Instant::now() > deadline {
            bail!("kill what the lab started: {} processes are still there, as {}", left.len(), command_line(&left[0]));
        }
        for process in &left {
            let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
        }
        swept += reap();
        thread::sleep(Duration::from_millis(5));
    }
}

/// Reaps every child that has ended; returns how many.
pub fn reap() -> usize {
    let mut reaped = 0;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return reaped,
            Ok(_) => reaped += 1,
            Err(Errno::EINTR) => {}
            Err(_) => return reaped,
        }
    }
}

/// Reaps what has ended of the processes that the calling one has adopted, as a subreaper. Its own children, which are
/// in its process group, or in `own`, are awaited by those who started them.
pub fn reap_adopted(own: &[u32]) {
    let (itself, group) = (nix::unistd::getpid().as_raw(), nix::unistd::getpgrp().as_raw());
    let is_own = |process: &Process| own.iter().any(|pid| i32::try_from(*pid) == Ok(process.pid));
    for process in descendants(itself) {
        if process.state == 'Z' && process.parent == itself && process.group != group && !is_own(&process) {
            // Cannot fail but for a child that is gone, and there is none to take it.
            let _ = waitpid(Pid::from_raw(process.pid), Some(WaitPidFlag::WNOHANG));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let process = parse_stat("42 (a) (b c) S 7 41 40 0");
        assert_eq!(process, Some(Process { pid: 42, parent: 7, group: 41, state: 'S', name: "a) (b c".into() }));
        assert_eq!(parse_stat("nonsense"), None);
    }
}
