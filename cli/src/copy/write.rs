//! Writing a tree.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::mpsc::Receiver;

use anyhow::{Context as _, bail};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fchownat, symlinkat, unlinkat};

use super::enclosure::Ids;
use super::fresh::Fresh;
use super::place::{Place, kind, open_path};
use super::{Item, Meta};

/// What becomes of owner and permissions.
#[derive(Debug, Clone)]
pub(crate) enum Rules {
    /// Both are kept, as an archive that root unpacks keeps them.
    Keep(Ids),
    /// All belongs to who writes, with the permissions that the mask leaves; `owner` is named where that is another one
    /// than the kernel would take.
    Masked { mask: u32, owner: Option<(u32, u32)>, exactly: bool },
}

/// A place to write to.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) place: Place,
    pub(crate) rules: Rules,
    /// Whether what the user has named may be a link or a device, and is written through.
    pub(crate) through: bool,
}

/// Writes what comes. A file is there whole or not at all.
pub(crate) fn tree(target: Target, items: &Receiver<Item>) -> anyhow::Result<()> {
    let Target { place, rules, through } = target;
    let mut writer = Writer { rules, open: vec![Open { directory: place.directory, made: None }], path: place.path };
    // The first name is the one that the user has chosen.
    let mut first = Some((place.name, through));
    while let Ok(item) = items.recv() {
        let chosen = first.take();
        match item {
            Item::Enter { meta, .. } if matches!(chosen, Some((None, _))) => writer.enter_itself(meta)?,
            Item::Enter { name, meta } => writer.enter(chosen.and_then(|(name, _)| name).unwrap_or(name), meta)?,
            Item::Leave => writer.leave()?,
            Item::File { name, meta } => {
                let through = matches!(chosen, Some((_, true)));
                let name = chosen.and_then(|(name, _)| name).unwrap_or(name);
                writer.file(&name, meta, through, items)?;
            }
            Item::Link { name, target, meta } => {
                writer.link(&chosen.and_then(|(name, _)| name).unwrap_or(name), &target, meta)?;
            }
            Item::Data(_) | Item::End => bail!("the parts of a file came in a wrong order"),
        }
    }
    Ok(())
}

struct Writer {
    rules: Rules,
    /// From the place down to the directory that is being written.
    open: Vec<Open>,
    /// For messages.
    path: PathBuf,
}

struct Open {
    directory: OwnedFd,
    /// What it is to become when all of it is there, if it was made here.
    made: Option<Meta>,
}

impl Writer {
    fn here(&self) -> anyhow::Result<&OwnedFd> {
        self.open.last().map(|open| &open.directory).context("the parts of a tree came in a wrong order")
    }

    /// The directory that was named, which exists, is the top of the tree.
    fn enter_itself(&mut self, _: Meta) -> anyhow::Result<()> {
        let directory = self.here()?.try_clone().context("copy a descriptor")?;
        self.open.push(Open { directory, made: None });
        Ok(())
    }

    fn enter(&mut self, name: OsString, meta: Meta) -> anyhow::Result<()> {
        let path = self.path.join(&name);
        let made = match mkdirat(self.here()?, name.as_os_str(), Mode::S_IRWXU) {
            Ok(()) => Some(meta),
            Err(Errno::EEXIST) => None,
            Err(errno) => return Err(errno).with_context(|| format!("make directory {}", path.display())),
        };
        // Who has put a link there in between, or before, does not lead elsewhere.
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let directory = openat(self.here()?, name.as_os_str(), flags, Mode::empty()).with_context(|| {
            format!("open directory {} (what is there is not one, and a link is not followed)", path.display())
        })?;
        if self.open.len() > 1 {
            self.path = path;
        }
        self.open.push(Open { directory, made });
        Ok(())
    }

    fn leave(&mut self) -> anyhow::Result<()> {
        let Some(Open { directory, made }) = self.open.pop() else { return Ok(()) };
        if let Some(meta) = made {
            // A descriptor that only stands for a path cannot be changed through.
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            let opened = openat(&directory, ".", flags, Mode::empty());
            let opened = opened.with_context(|| format!("open directory {}", self.path.display()))?;
            self.give(&opened, meta, 0o777).with_context(|| format!("make directory {}", self.path.display()))?;
        }
        if self.open.len() > 1 {
            self.path.pop();
        }
        Ok(())
    }

    fn file(&mut self, name: &OsStr, meta: Meta, through: bool, items: &Receiver<Item>) -> anyhow::Result<()> {
        let path = self.path.join(name);
        let failed = || format!("write {}", path.display());
        let directory = self.here()?;
        if through && let Some(mut file) = special(directory, name).with_context(failed)? {
            return fill(&mut file, items).with_context(failed);
        }
        let mut fresh = Fresh::new(directory, name).with_context(failed)?;
        fill(&mut fresh.file, items).with_context(failed)?;
        self.give(&fresh.file, meta, 0o666).with_context(failed)?;
        fresh.take_place(name).with_context(failed)
    }

    fn link(&mut self, name: &OsStr, target: &OsStr, meta: Meta) -> anyhow::Result<()> {
        let path = self.path.join(name);
        let failed = || format!("make the link {}", path.display());
        let directory = self.here()?;
        let mut made = symlinkat(target, directory, name);
        if made == Err(Errno::EEXIST) {
            unlinkat(directory, name, UnlinkatFlags::NoRemoveDir).with_context(failed)?;
            made = symlinkat(target, directory, name);
        }
        made.with_context(failed)?;
        if let Some((uid, gid)) = self.owner(meta) {
            let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            fchownat(directory, name, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW).with_context(failed)?;
        }
        Ok(())
    }

    fn owner(&self, meta: Meta) -> Option<(u32, u32)> {
        match &self.rules {
            Rules::Keep(ids) => Some(ids.outside(meta.uid, meta.gid)),
            Rules::Masked { owner, .. } => *owner,
        }
    }

    /// Sets owner and permissions. The owner first: a change of it takes set-user-id away. `usual` is what something of
    /// its kind has where its own permissions do not count.
    fn give(&self, what: impl AsFd, meta: Meta, usual: u32) -> nix::Result<()> {
        if let Some((uid, gid)) = self.owner(meta) {
            fchown(&what, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        }
        let mode = match &self.rules {
            Rules::Keep(_) => meta.mode,
            Rules::Masked { mask, exactly: true, .. } => meta.mode & 0o777 & !mask,
            Rules::Masked { mask, .. } => usual & !mask,
        };
        fchmod(what, Mode::from_bits_truncate(mode))
    }
}

/// Writes a file's content. Where it has no end the other side has stopped, and says why.
fn fill(file: &mut File, items: &Receiver<Item>) -> anyhow::Result<()> {
    loop {
        match items.recv() {
            Ok(Item::Data(data)) => file.write_all(&data)?,
            Ok(Item::End) => return Ok(()),
            _ => bail!("its content has not come to an end"),
        }
    }
}

/// Opens what the user has named where it is no ordinary file, which is replaced as a whole, but a device, or a link.
fn special(directory: &OwnedFd, name: &OsStr) -> anyhow::Result<Option<File>> {
    match open_path(directory, name).and_then(fstat) {
        Err(Errno::ENOENT) => return Ok(None),
        status if kind(&status?) == SFlag::S_IFREG => return Ok(None),
        _ => {}
    }
    let flags = OFlag::O_WRONLY | OFlag::O_TRUNC | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
    Ok(Some(File::from(openat(directory, name, flags, Mode::empty())?)))
}
