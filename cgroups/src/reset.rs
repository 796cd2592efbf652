//! A cgroup that is used again, as it was when it was made.

use std::{io, os::fd::AsFd};

use nix::errno::Errno;

use crate::{dir::Dir, freeze, tree};

/// Removes the cgroups below; false while a process is in one.
pub(crate) fn empty(dir: &Dir) -> io::Result<bool> {
    match tree::remove_below(dir.as_fd()) {
        Err(e) if e.raw_os_error() == Some(Errno::EBUSY as i32) => Ok(false),
        done => done.map(|()| true),
    }
}

/// v2: hands no controllers down any more, or no process could be in it; and lets processes run: `cgroup.kill` leaves a
/// cgroup frozen, and who is born in it next would be.
pub(crate) fn open(dir: &Dir) -> io::Result<()> {
    let mut handed_down = String::new();
    dir.read("cgroup.subtree_control", &mut handed_down)?;
    let taken_back: Vec<_> = handed_down.split_whitespace().map(|name| format!("-{name}")).collect();
    if !taken_back.is_empty() {
        dir.write("cgroup.subtree_control", &taken_back.join(" "))?;
    }
    match freeze::thaw_v2(dir) {
        // systemd has removed it.
        Err(e) if e.kind() == io::ErrorKind::NotFound || e.raw_os_error() == Some(Errno::ENODEV as i32) => Ok(()),
        done => done,
    }
}
