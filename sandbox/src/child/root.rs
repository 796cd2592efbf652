//! The container's root as a descriptor, and paths below it.
//!
//! The image, and other containers through shared volumes, decide what links there are below the root. So a path is
//! resolved by the kernel with the descriptor as its root, never as a string of the host, and what was found is kept
//! as a descriptor: nothing can be swapped between finding and mounting (CVE-2021-30465, CVE-2024-45310).

use std::{
    ffi::OsString,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Component, Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat},
    sys::{
        stat::{Mode, SFlag, fstat, mkdirat},
        statfs::{PROC_SUPER_MAGIC, fstatfs},
    },
    unistd::{Gid, Uid, setfsgid, setfsuid},
};

use crate::{Result, error::Context};

/// What a path must not go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Links {
    /// Symbolic links are followed, within the root. Magic links of procfs never are.
    Follow,
    /// No link at all.
    Refuse,
}

/// What is made where nothing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    Directory,
    File,
}

/// As many links as the kernel follows on one path. path_resolution(7)
const MOST_LINKS: usize = 40;

/// The names of a path, the last one first.
fn steps(path: &Path) -> Vec<OsString> {
    let names = path.components().rev().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    names.collect()
}

/// A container's root directory.
#[derive(Debug)]
pub(crate) struct Root {
    directory: OwnedFd,
    /// User and group of what is made in it.
    owner: (Uid, Gid),
}

impl Root {
    pub(crate) fn new(directory: OwnedFd) -> Self {
        Self { directory, owner: (Uid::from_raw(0), Gid::from_raw(0)) }
    }

    /// What is made in it belongs to this user and group of the host: the container's root.
    pub(crate) fn owned_by(self, (uid, gid): (u32, u32)) -> Self {
        Self { owner: (Uid::from_raw(uid), Gid::from_raw(gid)), ..self }
    }

    /// Opens what is at `path`, if there is anything.
    pub(crate) fn open(&self, path: &Path, links: Links, flags: OFlag) -> nix::Result<OwnedFd> {
        let links = match links {
            Links::Follow => ResolveFlag::empty(),
            Links::Refuse => ResolveFlag::RESOLVE_NO_SYMLINKS,
        };
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS | links);
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        // Somebody renames directories or mounts at this very moment: the kernel asks to try again. openat2(2)
        for _ in 0..64 {
            match openat2(self.directory.as_fd(), path, how) {
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                answer => return answer,
            }
        }
        Err(Errno::EAGAIN)
    }

    /// What is at `path`, as a place to mount on or to look at; `None` when there is nothing.
    pub(crate) fn find(&self, path: &Path, links: Links) -> nix::Result<Option<OwnedFd>> {
        match self.open(path, links, OFlag::O_PATH) {
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
            answer => answer.map(Some),
        }
    }

    /// The directory at `path`; what is missing of it is made.
    pub(crate) fn make_directory(&self, path: &Path, links: Links) -> Result<OwnedFd> {
        match self.open(path, links, OFlag::O_PATH | OFlag::O_DIRECTORY) {
            Err(Errno::ENOENT) => self.make(path, links, Missing::Directory),
            answer => answer,
        }
        .at("make directory in the root", path.display())
    }

    /// The file at `path` (anything but a directory); an empty one is made if there is none.
    pub(crate) fn make_file(&self, path: &Path, links: Links) -> Result<OwnedFd> {
        let found = match self.open(path, links, OFlag::O_PATH) {
            Err(Errno::ENOENT) => self.make(path, links, Missing::File),
            answer => answer,
        }
        .at("make file in the root", path.display())?;
        let kind = fstat(&found).at("examine", path.display())?.st_mode & SFlag::S_IFMT.bits();
        match kind == SFlag::S_IFDIR.bits() {
            true => Err(Errno::EISDIR).at("mount a file on", path.display()),
            false => Ok(found),
        }
    }

    /// Goes to `path` step by step and makes what is missing, of what links on the way name too: an image's
    /// `/var/run` may lead to a `/run` that it does not have.
    ///
    /// Every step goes from a directory, which is a descriptor, to a name in it; a link is read and what it names is
    /// walked in the same way, from the root if it is absolute; and `..` goes back to where the walk has come from, from
    /// the root nowhere. So whatever is exchanged meanwhile, no step leads out.
    fn make(&self, path: &Path, links: Links, last: Missing) -> nix::Result<OwnedFd> {
        let mut way = vec![self.open(Path::new(""), links, OFlag::O_PATH | OFlag::O_DIRECTORY)?];
        let mut ahead = steps(path);
        let mut links_left = if links == Links::Follow { MOST_LINKS } else { 0 };
        while let Some(name) = ahead.pop() {
            let here = way.last().ok_or(Errno::ENOENT)?;
            if name == ".." {
                way.truncate((way.len() - 1).max(1));
                continue;
            }
            let missing = if ahead.is_empty() { last } else { Missing::Directory };
            let found = self.step(here, Path::new(&name), missing)?;
            let kind = fstat(&found)?.st_mode & SFlag::S_IFMT.bits();
            if kind == SFlag::S_IFLNK.bits() {
                // Links of procfs mostly say something else than where they lead.
                if links_left == 0 || fstatfs(&found)?.filesystem_type() == PROC_SUPER_MAGIC {
                    return Err(Errno::ELOOP);
                }
                links_left -= 1;
                let target = PathBuf::from(readlinkat(&found, "")?);
                if target.is_absolute() {
                    way.truncate(1);
                }
                ahead.extend(steps(&target));
            } else if kind == SFlag::S_IFDIR.bits() {
                way.push(found);
            } else {
                return if ahead.is_empty() && last == Missing::File { Ok(found) } else { Err(Errno::ENOTDIR) };
            }
        }
        way.pop().ok_or(Errno::ENOENT)
    }

    /// What has this name in a directory, made if it is missing; a link itself.
    fn step(&self, directory: &OwnedFd, name: &Path, missing: Missing) -> nix::Result<OwnedFd> {
        let find = || openat(directory, name, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty());
        match find() {
            Err(Errno::ENOENT) => {}
            answer => return answer,
        }
        let made = match missing {
            Missing::Directory => self.as_owner(|| mkdirat(directory, name, Mode::from_bits_truncate(0o755))),
            Missing::File => {
                let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                self.as_owner(|| openat(directory, name, flags, Mode::from_bits_truncate(0o644))).map(drop)
            }
        };
        match made {
            // Somebody else was faster.
            Ok(()) | Err(Errno::EEXIST) => find(),
            Err(errno) => Err(errno),
        }
    }

    /// The directory that `path` is in, which is made if it is missing, and the name in it.
    pub(crate) fn parent<'path>(&self, path: &'path Path, links: Links) -> Result<(OwnedFd, &'path Path)> {
        let name = path.file_name().ok_or(Errno::EINVAL).at("find a name in", path.display())?;
        let directory = self.make_directory(path.parent().unwrap_or(Path::new("")), links)?;
        Ok((directory, Path::new(name)))
    }

    /// Makes something as the owner, so that it is born with the right one: a change of owner afterwards could meet
    /// what somebody else has put in its place. Where the owner may make nothing (a volume of the host's root), the
    /// runtime's own user does.
    pub(crate) fn as_owner<T>(&self, make: impl Fn() -> nix::Result<T>) -> nix::Result<T> {
        if self.owner.0.is_root() {
            return make();
        }
        // The kernel takes the capabilities over files away with the user, and gives them back.
        setfsgid(self.owner.1);
        setfsuid(self.owner.0);
        let made = make();
        setfsuid(Uid::from_raw(0));
        setfsgid(Gid::from_raw(0));
        match made {
            Err(Errno::EACCES | Errno::EPERM) => make(),
            answer => answer,
        }
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}
