//! What the kernel has killed for want of memory, and being told of it.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use nix::{
    errno::Errno,
    fcntl::OFlag,
    sys::{
        eventfd::{EfdFlags, EventFd},
        inotify::{AddWatchFlags, InitFlags, Inotify},
    },
    unistd::read,
};

use crate::{dir::Dir, dir::read_at, stats::parse, tree};

/// Readable when something ran out of memory: an eventfd on v1, an inotify descriptor on v2. On v1 also readable once
/// when the cgroup is removed (the kernel's cgroup file system tells an inotify nothing of that: seen on Linux 6.1).
///
/// v1 notifies when the memory has run out, which may be an instant before the kill is counted; and it does not
/// notify of a limit that a container has set on a cgroup of its own below. Read [`crate::Cgroup::oom_kills`] once
/// more when a process has ended.
#[derive(Debug)]
pub struct OomWatch {
    fd: OwnedFd,
}

impl OomWatch {
    /// Takes the notification, so that the descriptor is quiet again. Never blocks.
    pub fn acknowledge(&self) {
        let mut buffer = [0; 1024];
        // Both kinds of descriptor are non-blocking: an empty one answers EAGAIN, which ends the loop.
        while matches!(read(&self.fd, &mut buffer), Ok(1..) | Err(Errno::EINTR)) {}
    }

    /// v1: cgroup.event_control takes the eventfd and the file that is watched (memory document, section 10).
    pub(crate) fn v1(memory: &Dir) -> io::Result<Self> {
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let watched = memory.open("memory.oom_control", OFlag::O_RDONLY)?;
        let registration = format!("{} {}", event.as_fd().as_raw_fd(), watched.as_raw_fd());
        memory.write("cgroup.event_control", &registration)?;
        Ok(Self { fd: event.into() })
    }

    /// v2: a change of memory.events, which counts the cgroups below as well, is a modification of the file.
    pub(crate) fn v2(dir: &Dir) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        inotify.add_watch(&dir.join("memory.events"), AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_DELETE_SELF)?;
        Ok(Self { fd: inotify.into() })
    }
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// v1 counts a kill only where the killed process was: those below are added up. `None` when there is no count.
pub(crate) fn kills_v1(memory: &Dir) -> io::Result<Option<u64>> {
    let mut text = String::new();
    let mut sum = 0;
    let mut add = |dir: BorrowedFd<'_>| {
        let found = read_at(dir, c"memory.oom_control", &mut text)?;
        sum += parse::keyed(&text, "oom_kill");
        Ok(found)
    };
    if !add(memory.as_fd())? {
        return Ok(None);
    }
    tree::each_below(memory.as_fd(), |dir| add(dir).map(drop))?;
    Ok(Some(sum))
}

/// Those of one cgroup without the ones below, from the file that counts them.
pub(crate) fn own_kills(dir: &Dir, file: &str) -> io::Result<u64> {
    Ok(dir.read_string(file)?.map_or(0, |text| parse::keyed(&text, "oom_kill")))
}

/// v2 counts this cgroup and those below. `None` when there is no count.
pub(crate) fn kills_v2(dir: &Dir) -> io::Result<Option<u64>> {
    Ok(dir.read_string("memory.events")?.map(|text| parse::keyed(&text, "oom_kill")))
}
