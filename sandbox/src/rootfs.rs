//! A container's root file system where the host sees it: `rootfs` in the bundle.
//!
//! An ordinary container's root is mounted in its own mount namespace only. Whoever has to find it from outside (a
//! hook, a restore from a checkpoint) looks for it in the bundle, so for them it is mounted there, and the container's
//! root is made of that mount.

use std::{
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use loment_cgroups::Entry;
use loment_sys::mount::{self, Propagation};
use nix::{
    errno::Errno,
    fcntl::{OFlag, open},
    mount::{MntFlags, umount2},
    sys::{prctl, signal::Signal, stat::Mode},
};

use crate::{
    Error, Result,
    child::{
        gather::{self, Cgroups},
        view,
    },
    container::RootfsMount,
    errand::Errand,
    error::Context,
    plan::{self, View},
    ready,
    user_namespace::UserNamespaces,
};

/// A root file system that is mounted in its bundle. It is unmounted when this is dropped, unless it is kept.
#[derive(Debug)]
pub(crate) struct VisibleRoot(Option<PathBuf>);

impl VisibleRoot {
    /// Sends for the mounts, which containerd has given: making them may wait for a disk or for a network. They are all
    /// there when the errand is done.
    ///
    /// # Errors
    /// [`crate::error::Cause::Invalid`] for mounts that cannot be honoured; the errand brings those of mounting.
    pub(crate) fn mount(rootfs: &[RootfsMount], bundle: &Path) -> Result<(Self, Errand)> {
        let root = plan::rootfs(rootfs, bundle)?;
        let place = place(bundle);
        let errand = Errand::send("mount the root file system", |channel| {
            // What it would mount after its parent's death nobody would unmount. It may have died already.
            prctl::set_pdeathsig(Signal::SIGKILL).at("tie to its parent", "the errand that mounts")?;
            match ready::is_ready(channel.as_fd()) {
                true => loment_sys::clone::exit_now(1),
                false => attach(View { root, ..View::default() }, &place),
            }
        })?;
        Ok((Self(Some(place)), errand))
    }

    /// It stays. [`unmount`] is for the end.
    pub(crate) fn keep(mut self) -> PathBuf {
        self.0.take().unwrap_or_default()
    }
}

impl Drop for VisibleRoot {
    fn drop(&mut self) {
        if let Some(place) = &self.0 {
            // The error that brought us here is the one to be told.
            let _ = unmount(place);
        }
    }
}

/// Where the root file system of a bundle is mounted: where containerd and its clients expect it, whatever `root.path`
/// says.
pub(crate) fn place(bundle: &Path) -> PathBuf {
    bundle.join("rootfs")
}

/// Unmounts a root file system with all that was mounted below it. What is not mounted is unmounted. May wait until what
/// was written is on the disk.
pub(crate) fn unmount(place: &Path) -> Result<()> {
    match umount2(place, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => Ok(()),
        Err(errno) => Err(Error::os("unmount", place.display(), errno)),
    }
}

/// In a process of its own.
fn attach(view: View, place: &Path) -> Result<()> {
    match std::fs::create_dir(place) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(Error::io("make directory", place.display(), &error));
        }
        _ => {}
    }
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let directory = open(place, flags, Mode::empty()).at("open", place.display())?;
    let nowhere = Cgroups { entry: &Entry::Tasks(Vec::new()), path: Path::new(""), has_namespace: false };
    let parts = gather::gather(&view, &nowhere, &UserNamespaces::of(None, &view)?)?;
    let (root, open) = view::make_root(&view, parts.root, &directory)?;
    open.close()?;
    // What the host mounts below it while the container is made comes into the container's copy, which is its slave.
    mount::set_attributes(root.as_fd(), false, 0, 0, Some(Propagation::Shared)).at("share", place.display())
}
