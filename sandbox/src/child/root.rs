//! The container's root as a descriptor, and paths below it.
//!
//! The image, and other containers through shared volumes, decide what links there are below the root. So a path is
//! resolved by the kernel with the descriptor as its root, never as a string of the host, and what was found is kept
//! as a descriptor: nothing can be swapped between finding and mounting (CVE-2021-30465, CVE-2024-45310).

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2},
    sys::stat::{Mode, SFlag, fstat, mkdirat},
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
        if let Ok(found) = self.open(path, links, OFlag::O_PATH | OFlag::O_DIRECTORY) {
            return Ok(found);
        }
        let mut reached = PathBuf::new();
        let mut parent = self.open(&reached, links, OFlag::O_PATH).at("open", "the root")?;
        for name in path {
            reached.push(name);
            parent = match self.open(&reached, links, OFlag::O_PATH | OFlag::O_DIRECTORY) {
                Err(Errno::ENOENT) => self.make_directory_at(&parent, Path::new(name)),
                answer => answer,
            }
            .at("make directory in the root", reached.display())?;
        }
        Ok(parent)
    }

    /// The file at `path` (anything but a directory); an empty one is made if there is none.
    pub(crate) fn make_file(&self, path: &Path, links: Links) -> Result<OwnedFd> {
        let found = self.find(path, links).at("look in the root for", path.display())?;
        if let Some(found) = found {
            let kind = fstat(&found).at("examine", path.display())?.st_mode;
            if kind & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits() {
                return Err(Errno::EISDIR).at("mount a file on", path.display());
            }
            return Ok(found);
        }
        let (directory, name) = self.parent(path, links)?;
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        match self.as_owner(|| openat(&directory, name, flags, Mode::from_bits_truncate(0o644))) {
            // Nothing was found and yet there is something: a link that leads nowhere.
            Err(Errno::EEXIST) => Err(Errno::ELOOP),
            answer => answer,
        }
        .at("make file in the root", path.display())
    }

    /// The directory that `path` is in, which is made if it is missing, and the name in it.
    pub(crate) fn parent<'path>(&self, path: &'path Path, links: Links) -> Result<(OwnedFd, &'path Path)> {
        let name = path.file_name().ok_or(Errno::EINVAL).at("find a name in", path.display())?;
        let directory = self.make_directory(path.parent().unwrap_or(Path::new("")), links)?;
        Ok((directory, Path::new(name)))
    }

    fn make_directory_at(&self, parent: &OwnedFd, name: &Path) -> nix::Result<OwnedFd> {
        match self.as_owner(|| mkdirat(parent, name, Mode::from_bits_truncate(0o755))) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno),
        }
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        openat(parent, name, flags, Mode::empty())
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
