//! `tmpcopyup`: a tmpfs that begins with what it covers.

use std::{ffi::CStr, os::fd::OwnedFd, path::Path};

use nix::{
    dir::Dir,
    errno::Errno,
    fcntl::{AtFlags, OFlag, openat, readlinkat},
    sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, fchmod, fchmodat, fstatat, mkdirat, mknodat},
    unistd::{Gid, Uid, fchownat, symlinkat},
};

const FOLLOW_NOTHING: AtFlags = AtFlags::AT_SYMLINK_NOFOLLOW;

/// Deepest tree that is copied; what is deeper is an error rather than a stack that runs out.
const DEEPEST: usize = 64;

/// Copies the tree in `from` into the empty `to`: modes, owners, links, devices; never through a link.
pub(crate) fn copy_up(from: &OwnedFd, to: &OwnedFd) -> nix::Result<()> {
    // Places to mount on, and detached mounts, are descriptors that only name a directory.
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let open = |directory| openat(directory, ".", flags, Mode::empty());
    copy_directory(&open(from)?, &open(to)?, DEEPEST)
}

fn copy_directory(from: &OwnedFd, to: &OwnedFd, depth: usize) -> nix::Result<()> {
    let depth = depth.checked_sub(1).ok_or(Errno::ELOOP)?;
    let mut directory = Dir::openat(from, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    for entry in directory.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            copy_entry(from, to, name, depth)?;
        }
    }
    let own = nix::sys::stat::fstat(from)?;
    nix::unistd::fchown(to, Some(Uid::from_raw(own.st_uid)), Some(Gid::from_raw(own.st_gid)))?;
    fchmod(to, permissions(&own))
}

fn copy_entry(from: &OwnedFd, to: &OwnedFd, name: &CStr, depth: usize) -> nix::Result<()> {
    let status = fstatat(from, name, FOLLOW_NOTHING)?;
    let kind = SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT;
    if kind == SFlag::S_IFDIR {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        mkdirat(to, name, Mode::S_IRWXU)?;
        let (from, to) = (openat(from, name, flags, Mode::empty())?, openat(to, name, flags, Mode::empty())?);
        return copy_directory(&from, &to, depth);
    }
    if kind == SFlag::S_IFREG {
        copy_file(from, to, name)?;
    } else if kind == SFlag::S_IFLNK {
        symlinkat(Path::new(&readlinkat(from, name)?), to, name)?;
    } else {
        mknodat(to, name, kind, permissions(&status), status.st_rdev)?;
    }
    let (uid, gid) = (Uid::from_raw(status.st_uid), Gid::from_raw(status.st_gid));
    fchownat(to, name, Some(uid), Some(gid), FOLLOW_NOTHING)?;
    match kind == SFlag::S_IFLNK {
        true => Ok(()),
        false => fchmodat(to, name, permissions(&status), FchmodatFlags::FollowSymlink),
    }
}

fn copy_file(from: &OwnedFd, to: &OwnedFd, name: &CStr) -> nix::Result<()> {
    let reading = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let writing = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let source = openat(from, name, reading, Mode::empty())?;
    let target = openat(to, name, writing, Mode::S_IRUSR | Mode::S_IWUSR)?;
    let copied = std::io::copy(&mut std::fs::File::from(source), &mut std::fs::File::from(target));
    copied.map(drop).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(Errno::EIO as i32)))
}

fn permissions(status: &FileStat) -> Mode {
    Mode::from_bits_truncate(status.st_mode & 0o7777)
}
