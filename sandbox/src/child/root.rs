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

fn kind(file: &OwnedFd) -> nix::Result<SFlag> {
    fstat(file).map(|status| SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT)
}

fn is_of_procfs(file: &OwnedFd) -> nix::Result<bool> {
    fstatfs(file).map(|of| of.filesystem_type() == PROC_SUPER_MAGIC)
}

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
            Ok(found) => found,
            Err(Errno::ENOENT) => {
                return self.make(path, links, Missing::File).at("make file in the root", path.display());
            }
            Err(errno) => return Err(errno).at("look in the root for", path.display()),
        };
        match kind(&found).at("examine", path.display())? {
            SFlag::S_IFDIR => Err(Errno::EISDIR).at("mount a file on", path.display()),
            _ => Ok(found),
        }
    }

    /// Makes what is missing of `path`, of what links on the way name too: an image's `/var/run` may lead to a `/run` that
    /// it does not have.
    fn make(&self, path: &Path, links: Links, last: Missing) -> nix::Result<OwnedFd> {
        // Mostly the last name alone is missing.
        let directory = self.open(path.parent().unwrap_or(Path::new("")), links, OFlag::O_PATH | OFlag::O_DIRECTORY);
        let name = path.file_name().map(Path::new).ok_or(Errno::EINVAL)?;
        match directory.and_then(|directory| self.make_at(&directory, name, last)) {
            Err(Errno::ENOENT | Errno::EEXIST) => self.walk(path, links, last),
            answer => answer,
        }
    }

    /// Goes to `path` step by step and makes what is missing.
    ///
    /// Every step goes from a directory, which is a descriptor, to a name in it; a link is read and what it names is
    /// walked in the same way, from the root if it is absolute; and `..` goes back to where the walk has come from, from
    /// the root nowhere. So whatever is exchanged meanwhile, no step leads out.
    fn walk(&self, path: &Path, links: Links, last: Missing) -> nix::Result<OwnedFd> {
        let mut way = vec![self.open(Path::new(""), links, OFlag::O_PATH | OFlag::O_DIRECTORY)?];
        let mut ahead = steps(path);
        let mut links_left = if links == Links::Follow { MOST_LINKS } else { 0 };
        while let Some(name) = ahead.pop() {
            if name == ".." {
                way.truncate((way.len() - 1).max(1));
                continue;
            }
            let here = way.last().ok_or(Errno::ENOENT)?;
            let missing = if ahead.is_empty() { last } else { Missing::Directory };
            let found = self.step(here, Path::new(&name), missing)?;
            match kind(&found)? {
                // Links of procfs mostly say something else than where they lead.
                SFlag::S_IFLNK if links_left == 0 || is_of_procfs(&found)? => return Err(Errno::ELOOP),
                SFlag::S_IFLNK => {
                    links_left -= 1;
                    let target = PathBuf::from(readlinkat(&found, "")?);
                    if target.is_absolute() {
                        way.truncate(1);
                    }
                    ahead.extend(steps(&target));
                }
                SFlag::S_IFDIR => way.push(found),
                _ if ahead.is_empty() && last == Missing::File => return Ok(found),
                _ => return Err(Errno::ENOTDIR),
            }
        }
        match last {
            Missing::Directory => way.pop().ok_or(Errno::ENOENT),
            Missing::File => Err(Errno::EISDIR),
        }
    }

    /// What has this name in a directory, made if it is missing; a link itself.
    fn step(&self, directory: &OwnedFd, name: &Path, missing: Missing) -> nix::Result<OwnedFd> {
        let find = || openat(directory, name, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty());
        match find() {
            Err(Errno::ENOENT) => match self.make_at(directory, name, missing) {
                // Somebody else was faster.
                Err(Errno::EEXIST) => find(),
                answer => answer,
            },
            answer => answer,
        }
    }

    /// Makes what must not be there yet.
    fn make_at(&self, directory: &OwnedFd, name: &Path, missing: Missing) -> nix::Result<OwnedFd> {
        let open = |flags, mode| {
            openat(directory, name, flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::from_bits_truncate(mode))
        };
        match missing {
            Missing::Directory => {
                self.as_owner(|| mkdirat(directory, name, Mode::from_bits_truncate(0o755)))?;
                open(OFlag::O_PATH | OFlag::O_DIRECTORY, 0)
            }
            Missing::File => self.as_owner(|| open(OFlag::O_CREAT | OFlag::O_EXCL, 0o644)),
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
