//! A file that is being written: without a name, so that nothing of it stays when this command is killed, and then at once
//! in the place where it belongs.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Seek as _;
use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::bail;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::{UnlinkatFlags, linkat, unlinkat};

use super::place::{kind, open_path};

/// The longest name to which something can still be added: names end at 255 bytes.
const LONG: usize = 200;

#[derive(Debug)]
pub(crate) struct Fresh<'a> {
    pub(crate) file: File,
    directory: &'a OwnedFd,
    /// The name that it has while it has not its own.
    temporary: OsString,
    has_it: bool,
}

impl<'a> Fresh<'a> {
    /// Begins a file that is to be called `name`; only its owner may open it.
    pub(crate) fn new(directory: &'a OwnedFd, name: &OsStr) -> nix::Result<Self> {
        let mut temporary = OsString::from(format!(".loment-cp.{}.", std::process::id()));
        temporary.push(if name.len() < LONG { name } else { OsStr::new("file") });
        let (flags, mode) = (OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::S_IRUSR | Mode::S_IWUSR);
        let (file, has_it) = match openat(directory, ".", flags | OFlag::O_TMPFILE, mode) {
            Ok(file) => (file, false),
            // A file system that has no files without a name: open(2).
            Err(Errno::EOPNOTSUPP | Errno::EISDIR | Errno::EINVAL) => {
                let flags = flags | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
                (openat(directory, temporary.as_os_str(), flags, mode)?, true)
            }
            Err(errno) => return Err(errno),
        };
        Ok(Self { file: file.into(), directory, temporary, has_it })
    }

    /// Puts it in the place of what is called `name`, if there is something. What is mounted there, a file of the pod's
    /// (`/etc/hosts`), stays the same file and is written anew.
    pub(crate) fn take_place(mut self, name: &OsStr) -> anyhow::Result<()> {
        if !self.has_it {
            let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            let temporary = self.temporary.as_os_str();
            linkat(AT_FDCWD, path.as_str(), self.directory, temporary, AtFlags::AT_SYMLINK_FOLLOW)?;
            self.has_it = true;
        }
        match renameat(self.directory, self.temporary.as_os_str(), self.directory, name) {
            Err(Errno::EBUSY) => self.write_over(name),
            renamed => {
                self.has_it = renamed.is_err();
                Ok(renamed?)
            }
        }
    }

    fn write_over(&mut self, name: &OsStr) -> anyhow::Result<()> {
        let found = open_path(self.directory, name)?;
        if kind(&fstat(&found)?) != SFlag::S_IFREG {
            bail!("what is mounted there is no file");
        }
        let mut to = File::options().write(true).truncate(true).open(format!("/proc/self/fd/{}", found.as_raw_fd()))?;
        self.file.rewind()?;
        std::io::copy(&mut self.file, &mut to)?;
        Ok(())
    }
}

impl Drop for Fresh<'_> {
    fn drop(&mut self) {
        if self.has_it {
            // What is left where even this fails has a name that tells whose it is.
            let _ = unlinkat(self.directory, self.temporary.as_os_str(), UnlinkatFlags::NoRemoveDir);
        }
    }
}
