//! Namespaces as descriptors: opened, compared, and visited by the runtime itself. namespaces(7)

use std::{
    fmt::Display,
    io::Write,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use loment_sys::clone::exit_now;
use nix::{
    fcntl::{OFlag, open as open_file},
    sched::{CloneFlags, setns},
    sys::stat::{Mode, fstat, stat},
};

use crate::{Error, Result, error::Context};

/// Exit status of a runtime that cannot come back from a visit: `EX_OSERR` of sysexits(3).
const STRANDED: i32 = 71;

/// Opens a namespace that a specification names.
pub(crate) fn open(path: &Path) -> Result<OwnedFd> {
    // O_NONBLOCK: the path may be anything, a FIFO too.
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    open_file(path, flags, Mode::empty()).map_err(|errno| {
        Error::os("open namespace", path.display(), errno).hint("has the sandbox that it belongs to ended?")
    })
}

/// Whether it is the caller's own namespace of the kind that procfs calls `file`.
pub(crate) fn is_own(namespace: BorrowedFd<'_>, file: &str, shown: impl Display) -> Result<bool> {
    let path = format!("/proc/self/ns/{file}");
    let own = stat(path.as_str()).at("examine", &path)?;
    let other = fstat(namespace).at("examine namespace", shown)?;
    Ok((own.st_dev, own.st_ino) == (other.st_dev, other.st_ino))
}

/// A visit of the runtime's, which has one thread, to another namespace. It ends when this is dropped.
///
/// A runtime that cannot come back must not go on, whoever has asked for what: its next container would be born among
/// another one's processes, or its next device be looked for in another one's network. So it ends at once, like one that
/// was killed, which its containers survive.
pub(crate) struct Visit {
    home: OwnedFd,
    kind: CloneFlags,
}

impl Visit {
    /// Children are born in the pid namespace `pids`. Only they are concerned: a process never changes its own. This way
    /// a process that joins a pid namespace is still the runtime's own child, without one in between.
    pub(crate) fn of_children_to(pids: BorrowedFd<'_>) -> Result<Self> {
        let home = home("pid")?;
        setns(pids, CloneFlags::CLONE_NEWPID)
            .map_err(|errno| Error::os("join", "the pid namespace", errno).hint("has its first process ended?"))?;
        Ok(Self { home, kind: CloneFlags::CLONE_NEWPID })
    }

    /// What belongs to a network is looked for in `network`.
    pub(crate) fn to_network(network: BorrowedFd<'_>) -> Result<Self> {
        let home = home("net")?;
        setns(network, CloneFlags::CLONE_NEWNET).at("enter", "the container's network namespace")?;
        Ok(Self { home, kind: CloneFlags::CLONE_NEWNET })
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if let Err(errno) = setns(self.home.as_fd(), self.kind) {
            // Nobody is left to be told when standard error is gone too.
            let _ = writeln!(
                std::io::stderr(),
                "come back to the runtime's own namespace ({:?}): {errno}; the runtime ends",
                self.kind
            );
            exit_now(STRANDED);
        }
    }
}

fn home(file: &str) -> Result<OwnedFd> {
    let path = format!("/proc/self/ns/{file}");
    open_file(path.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).at("open", &path)
}
