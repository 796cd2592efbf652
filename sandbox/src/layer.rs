//! The writable layer of a root file system, made new for another attempt at running a container.

use std::{
    ffi::CStr,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use nix::{
    dir::Dir,
    errno::Errno,
    fcntl::{AT_FDCWD, AtFlags, OFlag, openat},
    sys::stat::{Mode, SFlag, fstatat},
    unistd::{UnlinkatFlags, unlinkat},
};

use crate::{Result, container::RootfsMount, error::Context};

/// Empties the upper and the work directory of an overlay, so that the next attempt begins as the first did. `Ok(false)`
/// when there is no writable layer to empty.
///
/// The container must have ended: an overlay that is still mounted would not notice. The directory itself is kept,
/// with its owner and mode; what an overlay notes on it is taken off.
pub fn fresh_writable_layer(mounts: &[RootfsMount]) -> Result<bool> {
    let mut any = false;
    for mount in mounts.iter().filter(|mount| mount.kind == "overlay") {
        let option = |key: &str| mount.options.iter().rev().find_map(|option| option.strip_prefix(key));
        let Some(upper) = option("upperdir=") else { continue };
        empty(Path::new(upper)).at("empty the writable layer", upper)?;
        if let Some(work) = option("workdir=") {
            empty(Path::new(work)).at("empty the work directory of an overlay", work)?;
        }
        any = true;
    }
    Ok(any)
}

fn empty(path: &Path) -> nix::Result<()> {
    let directory = open_directory(AT_FDCWD, path)?;
    forget_overlay(&directory);
    remove_contents(&directory)
}

fn open_directory<Fd: AsFd, P: ?Sized + nix::NixPath>(parent: Fd, name: &P) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

/// Removes everything in `directory`, never through a link: a container may have left links to anywhere. Goes down
/// one directory at a time, so that a deep tree costs descriptors of one path only.
fn remove_contents(directory: &OwnedFd) -> nix::Result<()> {
    let mut path = vec![(directory.try_clone().map_err(|_| Errno::EMFILE)?, None)];
    while let Some((current, _)) = path.last() {
        match remove_files(current)? {
            Some(name) => {
                let below = open_directory(current, name.as_c_str())?;
                path.push((below, Some(name)));
            }
            None => {
                let name = path.pop().and_then(|(_, name)| name);
                if let (Some((parent, _)), Some(name)) = (path.last(), name) {
                    unlinkat(parent, name.as_c_str(), UnlinkatFlags::RemoveDir)?;
                }
            }
        }
    }
    Ok(())
}

/// Removes what is not a directory with something in it; answers with the first one that is.
fn remove_files(directory: &OwnedFd) -> nix::Result<Option<std::ffi::CString>> {
    let mut listing =
        Dir::openat(directory, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    for entry in listing.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        if !remove(directory, name)? {
            return Ok(Some(name.to_owned()));
        }
    }
    Ok(None)
}

fn remove(directory: &OwnedFd, name: &CStr) -> nix::Result<bool> {
    let kind = fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW)?.st_mode & SFlag::S_IFMT.bits();
    let flag = match kind == SFlag::S_IFDIR.bits() {
        true => UnlinkatFlags::RemoveDir,
        false => UnlinkatFlags::NoRemoveDir,
    };
    match unlinkat(directory, name, flag) {
        Ok(()) | Err(Errno::ENOENT) => Ok(true),
        Err(Errno::ENOTEMPTY | Errno::EEXIST) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// What an overlay notes on its upper directory (where it came from, that it was merged) would be wrong for the next.
fn forget_overlay(directory: &OwnedFd) {
    for name in [c"trusted.overlay.origin", c"trusted.overlay.impure", c"user.overlay.origin", c"user.overlay.impure"] {
        // Absent is as good as removed.
        let _ = loment_sys::fd::remove_attribute(directory.as_fd(), name);
    }
}
