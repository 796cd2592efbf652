//! Reading a tree.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;

use anyhow::Context as _;
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::libc;
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};

use super::place::{Place, kind, open_path};
use super::{Item, Meta};
use crate::commands::note;

/// How much of a file is passed on at once.
const CHUNK: usize = 256 << 10;

/// Sends all that is at a place. Ends early, without an error, when nobody takes it any more: who does not says why.
pub(crate) fn tree(place: &Place, items: &SyncSender<Item>) -> anyhow::Result<()> {
    let name = place.name.as_deref().unwrap_or(OsStr::new("."));
    let reader = Reader { items };
    match reader.entry(&place.directory, name, &place.path) {
        Err(Stopped::NobodyListens) => Ok(()),
        Err(Stopped::Failed(error)) => Err(error),
        Ok(()) => Ok(()),
    }
}

/// Why reading has stopped.
enum Stopped {
    NobodyListens,
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for Stopped {
    fn from(error: anyhow::Error) -> Self {
        Stopped::Failed(error)
    }
}

struct Reader<'a> {
    items: &'a SyncSender<Item>,
}

impl Reader<'_> {
    fn send(&self, item: Item) -> Result<(), Stopped> {
        self.items.send(item).map_err(|_| Stopped::NobodyListens)
    }

    fn entry(&self, directory: &OwnedFd, name: &OsStr, path: &Path) -> Result<(), Stopped> {
        let found = open_path(directory, name).with_context(|| format!("open {}", path.display()))?;
        let status = fstat(&found).with_context(|| format!("look at {}", path.display()))?;
        let name = name.to_owned();
        match kind(&status) {
            SFlag::S_IFDIR => self.directory(&found, name, &status, path),
            SFlag::S_IFREG => self.file(&found, name, &status, path),
            SFlag::S_IFLNK => {
                let target = readlinkat(&found, "").with_context(|| format!("read the link {}", path.display()))?;
                self.send(Item::Link { name, target, meta: meta(&status) })
            }
            _ => {
                note(&format!("warning: skipping {}: it is neither a file nor a directory nor a link", path.display()));
                Ok(())
            }
        }
    }

    fn directory(&self, found: &OwnedFd, name: OsString, status: &FileStat, path: &Path) -> Result<(), Stopped> {
        let failed = || format!("read directory {}", path.display());
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let opened = openat(found, ".", flags, Mode::empty()).with_context(failed)?;
        let mut names: Vec<OsString> = Vec::new();
        let listed = opened.try_clone().context("copy a descriptor")?;
        for entry in Dir::from_fd(listed).with_context(failed)?.iter() {
            let entry = entry.with_context(failed)?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name != "." && name != ".." {
                names.push(name.to_owned());
            }
        }
        names.sort();
        self.send(Item::Enter { name, meta: meta(status) })?;
        for name in &names {
            let inner: PathBuf = path.join(name);
            match self.entry(&opened, name, &inner) {
                // Somebody has just removed it.
                Err(Stopped::Failed(error)) if error.downcast_ref() == Some(&Errno::ENOENT) => {
                    note(&format!("warning: {} was removed before it was copied", inner.display()));
                }
                other => other?,
            }
        }
        self.send(Item::Leave)
    }

    fn file(&self, found: &OwnedFd, name: OsString, status: &FileStat, path: &Path) -> Result<(), Stopped> {
        let mut file = reopen(found).with_context(|| format!("open {}", path.display()))?;
        self.send(Item::File { name, meta: meta(status) })?;
        loop {
            let mut chunk = vec![0; CHUNK];
            let count = file.read(&mut chunk).with_context(|| format!("read {}", path.display()))?;
            if count == 0 {
                return self.send(Item::End);
            }
            chunk.truncate(count);
            self.send(Item::Data(chunk))?;
        }
    }
}

/// Opens for reading the very file that a descriptor stands for, whatever has its name now.
fn reopen(found: impl AsFd) -> std::io::Result<File> {
    let path = format!("/proc/self/fd/{}", found.as_fd().as_raw_fd());
    File::options().read(true).custom_flags(libc::O_NOCTTY).open(path)
}

fn meta(status: &FileStat) -> Meta {
    Meta { mode: status.st_mode & 0o7777, uid: status.st_uid, gid: status.st_gid }
}
