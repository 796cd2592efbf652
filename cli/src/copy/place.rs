//! A path, found below a root that no link leads out of.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{FileStat, SFlag, fstat};

/// Where absolute paths begin.
#[derive(Debug)]
pub(crate) enum Root {
    /// This machine's files, as this command sees them.
    Here,
    /// A container's. Its links are its own: `/etc/passwd` and `../../..` are in it.
    Container(OwnedFd),
}

impl Root {
    /// Opens what is at `path`, following links inside of the root.
    pub(crate) fn open(&self, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
        let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC);
        // Somebody renames directories or mounts at this very moment: the kernel asks to try again. openat2(2)
        for _ in 0..64 {
            let opened = match self {
                Root::Here => openat2(AT_FDCWD, path, how),
                Root::Container(root) => {
                    let inside = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
                    openat2(root.as_fd(), path, how.resolve(inside))
                }
            };
            if !matches!(opened, Err(Errno::EAGAIN)) {
                return opened;
            }
        }
        Err(Errno::EAGAIN)
    }

    pub(crate) fn directory(&self, path: &Path) -> nix::Result<OwnedFd> {
        self.open(path, OFlag::O_PATH | OFlag::O_DIRECTORY)
    }
}

/// A directory, and the name of something in it. No name means the directory itself.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) directory: OwnedFd,
    pub(crate) name: Option<OsString>,
    /// For messages.
    pub(crate) path: PathBuf,
}

impl Place {
    /// Finds what is at `path`. A link at its end is not followed, unless a slash stands behind it.
    pub(crate) fn find(root: &Root, path: &Path) -> nix::Result<Self> {
        let place = |directory: OwnedFd, name: Option<&OsStr>| Place {
            directory,
            name: name.map(OsStr::to_owned),
            path: path.to_owned(),
        };
        match named(path) {
            Some((parent, name)) => Ok(place(root.directory(parent)?, Some(name))),
            None => Ok(place(root.directory(path)?, None)),
        }
    }

    /// What is there; a link is a link.
    pub(crate) fn status(&self) -> nix::Result<FileStat> {
        fstat(open_path(&self.directory, self.name.as_deref().unwrap_or(OsStr::new(".")))?)
    }
}

/// The parent and the name of a path that ends with a name: not `/`, `a/..`, `a/.` or `a/`.
pub(crate) fn named(path: &Path) -> Option<(&Path, &OsStr)> {
    let text = path.as_os_str().as_encoded_bytes();
    if text.ends_with(b"/") || text.ends_with(b"/.") || text == b"." {
        return None;
    }
    let Some(Component::Normal(name)) = path.components().next_back() else { return None };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Some((parent, name))
}

/// A descriptor of what has this name in a directory, without opening it: a device would notice.
pub(crate) fn open_path(directory: impl AsFd, name: &OsStr) -> nix::Result<OwnedFd> {
    nix::fcntl::openat(
        directory,
        name,
        OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
        nix::sys::stat::Mode::empty(),
    )
}

/// The kind of something: `S_IFDIR`, `S_IFREG` ...
pub(crate) fn kind(status: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(status.st_mode & SFlag::S_IFMT.bits())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_ends_with_a_name_or_is_a_directory() {
        let of = |path: &'static str| named(Path::new(path)).map(|(parent, name)| (parent.to_str(), name.to_str()));
        assert_eq!(of("/a/b"), Some((Some("/a"), Some("b"))));
        assert_eq!(of("b"), Some((Some("."), Some("b"))));
        for directory in ["/", "/a/", "a/.", ".", "..", "a/.."] {
            assert_eq!(of(directory), None, "{directory}");
        }
    }

    /// Needs a directory whose links lead out of it.
    #[test]
    fn no_link_of_a_container_leads_out_of_it() {
        let directory = std::env::temp_dir().join(format!("loment-place-{}", std::process::id()));
        std::fs::create_dir_all(directory.join("etc")).unwrap();
        std::fs::write(directory.join("etc/passwd"), "inside").unwrap();
        std::os::unix::fs::symlink("/etc", directory.join("absolute")).unwrap();
        std::os::unix::fs::symlink("../../../../../../etc", directory.join("relative")).unwrap();
        let root = Root::Container(Root::Here.directory(&directory).unwrap());
        for path in ["/etc/passwd", "absolute/passwd", "/relative/passwd", "/../../../etc/passwd"] {
            let file = root.open(Path::new(path), OFlag::O_RDONLY).unwrap();
            assert_eq!(std::io::read_to_string(std::fs::File::from(file)).unwrap(), "inside", "{path}");
        }
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
