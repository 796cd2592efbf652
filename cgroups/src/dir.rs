//! A directory of a hierarchy, kept open, and the files in it.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use nix::{
    NixPath,
    dir::Dir as Listing,
    errno::Errno,
    fcntl::{OFlag, openat},
    sys::stat::{Mode, fstat, mkdirat},
    unistd::{UnlinkatFlags, read, unlinkat, write},
};

/// An open directory with its path for messages.
#[derive(Debug)]
pub(crate) struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

impl Dir {
    /// Opens `relative` below `parent`, or says that it is not there.
    pub(crate) fn open_below(parent: &Dir, relative: &Path) -> io::Result<Option<Self>> {
        match open_dir(&parent.fd, relative) {
            Ok(fd) => Ok(Some(Self { fd, path: parent.path.join(relative) })),
            // ENODEV: the parent was removed while it was held open.
            Err(Errno::ENOENT | Errno::ENODEV) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Opens a mount point.
    pub(crate) fn open_root(path: &Path) -> io::Result<Self> {
        Ok(Self { fd: open_dir(nix::fcntl::AT_FDCWD, path)?, path: path.to_owned() })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Path of a file in it, for messages.
    pub(crate) fn join(&self, file: &str) -> PathBuf {
        self.path.join(file)
    }

    /// Opens a file in it.
    pub(crate) fn open(&self, file: &str, flags: OFlag) -> io::Result<OwnedFd> {
        Ok(openat(&self.fd, file, flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW, Mode::empty())?)
    }

    /// Writes a value in one call, as the kernel's parsers want it.
    pub(crate) fn write<P: NixPath + ?Sized>(&self, file: &P, value: &str) -> io::Result<()> {
        let fd = openat(&self.fd, file, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
        match write(&fd, value.as_bytes())? {
            n if n == value.len() => Ok(()),
            n => Err(io::Error::new(io::ErrorKind::WriteZero, format!("the kernel took {n} of {} bytes", value.len()))),
        }
    }

    /// Reads a whole file that is not a list (of processes) into `text`. A file that is not there leaves it empty and
    /// returns false.
    pub(crate) fn read<P: NixPath + ?Sized>(&self, file: &P, text: &mut String) -> io::Result<bool> {
        read_file(&self.fd, file, text, Content::Record)
    }

    /// Reads a whole small file.
    pub(crate) fn read_string(&self, file: &str) -> io::Result<Option<String>> {
        let mut text = String::new();
        Ok(self.read(file, &mut text)?.then_some(text))
    }

    /// Whether it has been removed.
    ///
    /// While a cgroup is being removed its files go one by one, and `cgroup.procs` is among the last: that a file is there
    /// says nothing of the others, also not of why they are missing. But rmdir(2) holds the directory's lock for as long as
    /// that takes, and listing a directory waits for it. One that is gone has nothing in it, not even itself.
    pub(crate) fn is_removed(&self) -> io::Result<bool> {
        Ok(match list(&self.fd)? {
            Some(mut listing) => listing.iter().next().transpose()?.is_none(),
            None => true,
        })
    }

    /// Makes a directory below; false when there is one already.
    pub(crate) fn make_dir(&self, relative: &Path) -> io::Result<bool> {
        match mkdirat(&self.fd, relative, Mode::from_bits_truncate(0o755)) {
            Ok(()) => Ok(true),
            Err(Errno::EEXIST) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    /// Removes a cgroup below; false when there is none.
    pub(crate) fn remove_dir(&self, relative: &Path) -> io::Result<bool> {
        match unlinkat(&self.fd, relative, UnlinkatFlags::RemoveDir) {
            Ok(()) => Ok(true),
            Err(Errno::ENOENT | Errno::ENODEV) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn open_dir<Fd: AsFd, P: NixPath + ?Sized>(parent: Fd, path: &P) -> nix::Result<OwnedFd> {
    openat(parent, path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
}

/// Opens a directory below an open one; `None` when it is gone.
pub(crate) fn open_dir_at<Fd: AsFd, P: NixPath + ?Sized>(parent: Fd, path: &P) -> io::Result<Option<OwnedFd>> {
    match open_dir(parent, path) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::ENOENT | Errno::ENODEV) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Opens an open directory for listing; `None` when it is gone.
pub(crate) fn list<Fd: AsFd>(dir: Fd) -> io::Result<Option<Listing>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    match openat(dir, c".", flags, Mode::empty()) {
        Ok(fd) => Ok(Some(Listing::from_fd(fd)?)),
        Err(Errno::ENOENT | Errno::ENODEV) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Reads a whole file below an open directory. Returns false, and empty text, when it is not there.
pub(crate) fn read_at<Fd: AsFd, P: NixPath + ?Sized>(dir: Fd, file: &P, text: &mut String) -> io::Result<bool> {
    read_file(dir, file, text, Content::List)
}

/// How the kernel makes a file's text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    /// At once: a read that does not fill the buffer has come to the end.
    Record,
    /// Piece by piece: only an empty read is the end.
    List,
}

fn read_file<Fd: AsFd, P: NixPath + ?Sized>(
    dir: Fd,
    file: &P,
    text: &mut String,
    content: Content,
) -> io::Result<bool> {
    let mut bytes = std::mem::take(text).into_bytes();
    bytes.clear();
    let fd = match openat(dir, file, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::ENOENT | Errno::ENODEV) => return Ok(false),
        Err(e) => return Err(e.into()),
    };
    let found = read_all(&fd, &mut bytes, content)?;
    *text = String::from_utf8(bytes).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
    Ok(found)
}

fn read_all(fd: &OwnedFd, bytes: &mut Vec<u8>, content: Content) -> io::Result<bool> {
    // Most files are one number; the longest, memory.stat, is below 4 KiB.
    let mut chunk = [0; 4096];
    loop {
        match read(fd, &mut chunk) {
            Ok(0) => return Ok(true),
            Ok(n) => {
                bytes.extend_from_slice(chunk.get(..n).unwrap_or_default());
                if n < chunk.len() && content == Content::Record {
                    return Ok(true);
                }
            }
            Err(Errno::EINTR) => {}
            // The cgroup was removed between open and read; or the controller was turned off.
            Err(Errno::ENODEV) => {
                bytes.clear();
                return Ok(false);
            }
            Err(e) => return Err(e.into()),
        }
    }
}

/// Whether a cgroup has cgroups below it: kernfs counts them in the number of links, so that most cgroups need no
/// listing.
pub(crate) fn has_children<Fd: AsFd>(dir: Fd) -> io::Result<bool> {
    Ok(fstat(dir)?.st_nlink != 2)
}
