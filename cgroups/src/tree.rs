//! Walking the cgroups below a cgroup.
//!
//! A container may have made them, in any depth and number: the walk holds one descriptor and the names on the way,
//! never a stack frame or a descriptor per level.

use std::{
    ffi::{CStr, CString},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use nix::{
    dir::Type,
    errno::Errno,
    unistd::{UnlinkatFlags, unlinkat},
};

use crate::dir::{has_children, list, open_dir_at};

/// Calls `visit` with each cgroup below `root` (not with `root` itself), parents before their children. A cgroup that
/// goes away meanwhile is passed over.
pub(crate) fn each_below(root: BorrowedFd<'_>, visit: impl FnMut(BorrowedFd<'_>) -> io::Result<()>) -> io::Result<()> {
    walk(root, visit, |_, _| Ok(()))
}

/// Removes every cgroup below `root`, deepest first.
pub(crate) fn remove_below(root: BorrowedFd<'_>) -> io::Result<()> {
    let remove = |parent: BorrowedFd<'_>, name: &CStr| match unlinkat(parent, name, UnlinkatFlags::RemoveDir) {
        Ok(()) | Err(Errno::ENOENT | Errno::ENODEV) => Ok(()),
        Err(e) => Err(e.into()),
    };
    walk(root, |_| Ok(()), remove)
}

/// A level of the walk: the name of the directory in its parent, and its children still to be visited.
type Level = (CString, Vec<CString>);

fn walk(
    root: BorrowedFd<'_>,
    mut enter: impl FnMut(BorrowedFd<'_>) -> io::Result<()>,
    mut leave: impl FnMut(BorrowedFd<'_>, &CStr) -> io::Result<()>,
) -> io::Result<()> {
    if !has_children(root)? {
        return Ok(());
    }
    let Some(mut here) = open_dir_at(root, c".")? else { return Ok(()) };
    let mut levels: Vec<Level> = vec![(CString::default(), children(here.as_fd())?)];
    while let Some((_, left)) = levels.last_mut() {
        if let Some(name) = left.pop() {
            let Some(child) = open_dir_at(&here, name.as_c_str())? else { continue };
            enter(child.as_fd())?;
            levels.push((name, children(child.as_fd())?));
            here = child;
        } else if let Some((name, _)) = levels.pop().filter(|_| !levels.is_empty()) {
            here = up(here)?;
            leave(here.as_fd(), &name)?;
        }
    }
    Ok(())
}

fn up(dir: OwnedFd) -> io::Result<OwnedFd> {
    open_dir_at(&dir, c"..")?.ok_or_else(|| Errno::ENOENT.into())
}

fn children(dir: BorrowedFd<'_>) -> io::Result<Vec<CString>> {
    if !has_children(dir)? {
        return Ok(Vec::new());
    }
    let Some(mut listing) = list(dir)? else { return Ok(Vec::new()) };
    let mut names = Vec::new();
    for entry in listing.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type() == Some(Type::Directory) && name != c"." && name != c".." {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}
