//! Sandboxes that are made by hand: namespaces with a name.
//!
//! A sandbox is a directory with a record and a file for each of its namespaces, on which the namespace is mounted (its
//! *pin*). All that there is of one can be told from its directory, at every moment of its making: `remove` needs
//! nothing else, so that what a killed command leaves is removed like a whole one.
//!
//! The directory above is a mount of its own, which is private: a mount namespace can be pinned nowhere else, and pins
//! do not spread to mount namespaces of others.

pub(crate) mod enter;
mod founder;
pub(crate) mod make;
pub(crate) mod record;
pub(crate) mod remove;
pub(crate) mod sysctl;
pub(crate) mod wanted;

use std::fs::{self, File};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::kind::{Id, Kind};
use crate::leaks::mounts::top_at;

/// Where sandboxes are.
#[derive(Clone, Debug)]
pub(crate) struct Lab {
    root: PathBuf,
}

impl Lab {
    /// `root` as mountinfo would name it.
    pub(crate) fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Makes the directory, and lets one command at a time make or remove something until the answer is dropped.
    fn lock(&self) -> anyhow::Result<File> {
        loop {
            let what = || format!("make {}", self.root.display());
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.root).with_context(what)?;
            let what = || format!("lock {}", self.root.display());
            let directory = File::open(&self.root).with_context(what)?;
            directory.lock().with_context(what)?;
            // Who had it before may have removed the directory that was opened here.
            let inode = directory.metadata().with_context(what)?.ino();
            if fs::metadata(&self.root).is_ok_and(|found| found.ino() == inode) {
                return Ok(directory);
            }
        }
    }

    /// Makes it a private mount, if it is none yet.
    fn open(&self) -> anyhow::Result<()> {
        let none: Option<&str> = None;
        if top_at(&self.root).is_none() {
            mount(Some(&self.root), &self.root, none, MsFlags::MS_BIND, none)
                .with_context(|| format!("mount {} on itself (root is needed)", self.root.display()))?;
        }
        // Again, for a command that was killed in between.
        mount(none, &self.root, none, MsFlags::MS_PRIVATE, none)
            .with_context(|| format!("make the mount {} private", self.root.display()))
    }

    /// Takes mount and directory away when no sandbox is left.
    fn close(&self) -> anyhow::Result<()> {
        if !fs::read_dir(&self.root).is_ok_and(|mut entries| entries.next().is_none()) {
            return Ok(());
        }
        unmount(&self.root)?;
        fs::remove_dir(&self.root).with_context(|| format!("remove {}", self.root.display()))
    }
}

/// Unmounts all that is mounted at this very place.
fn unmount(at: &Path) -> anyhow::Result<()> {
    loop {
        match umount2(at, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            // Nothing is mounted there (any more).
            Err(Errno::EINVAL | Errno::ENOENT) => return Ok(()),
            Err(error) => return Err(error).with_context(|| format!("unmount {}", at.display())),
        }
    }
}

/// The namespaces that are pinned in a sandbox's directory, by their inodes.
pub(crate) fn pinned(directory: &Path) -> Vec<Id> {
    let own = fs::metadata("/proc/self/ns/net").map(|file| file.dev()).ok();
    let pin = |kind: Kind| {
        let file = fs::symlink_metadata(directory.join(kind.file())).ok()?;
        (Some(file.dev()) == own).then(|| Id { kind, inode: file.ino() })
    };
    Kind::ALL.into_iter().filter_map(pin).collect()
}
