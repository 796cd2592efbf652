//! Namespaces by the links and files that stand for them. proc_pid_ns(5)

use std::fs;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, fstat};
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};

use super::super::kind::{Id, Kind};
use super::super::survey::Set;

/// The namespaces that the links in a directory of procfs name.
pub(crate) fn set(directory: &Path) -> Set {
    let link = |kind: Kind| Some((kind, link(&directory.join(kind.file()))?.inode));
    Kind::ALL.into_iter().filter_map(link).collect()
}

/// The namespace that a link of procfs names.
pub(super) fn link(path: &Path) -> Option<Id> {
    Id::parse(fs::read_link(path).ok()?.to_str()?)
}

/// The namespace that a descriptor is of, which is of this kind.
pub(crate) fn id_of(fd: BorrowedFd<'_>, kind: Kind) -> nix::Result<Id> {
    Ok(Id { kind, inode: fstat(fd)?.st_ino })
}

/// Opens a namespace; `EINVAL` for what is none. A path may lead to anything by the time it is opened, also to a device that
/// does something when it is: so it is examined before. open(2), `O_PATH`
pub(crate) fn open_namespace(path: &Path) -> nix::Result<OwnedFd> {
    let place = open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    if fstatfs(&place)?.filesystem_type() != NSFS_MAGIC {
        return Err(Errno::EINVAL);
    }
    let place = PathBuf::from(format!("/proc/self/fd/{}", place.as_raw_fd()));
    open(&place, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn what_is_no_namespace_is_not_opened() {
        let own = open_namespace(Path::new("/proc/self/ns/uts")).unwrap();
        assert_eq!(id_of(own.as_fd(), Kind::Uts).ok(), link(Path::new("/proc/self/ns/uts")));
        for path in ["/dev/null", "/proc/self/stat", "/"] {
            assert_eq!(open_namespace(Path::new(path)).unwrap_err(), Errno::EINVAL, "{path}");
        }
        assert_eq!(open_namespace(Path::new("/nonexistent")).unwrap_err(), Errno::ENOENT);
    }
}
