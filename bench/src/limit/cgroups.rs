//! A cgroup in every hierarchy, made and entered as cheaply as it can be.

use std::{
    fs::{self, File},
    os::fd::{AsFd as _, BorrowedFd},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use nix::unistd::write;

/// The hierarchies of this machine.
#[derive(Debug)]
pub(super) struct Hierarchies {
    mounts: Vec<Mounted>,
}

#[derive(Debug)]
struct Mounted {
    point: PathBuf,
    v2: bool,
}

/// A cgroup in all of them; removed by [`Group::remove`].
#[derive(Debug)]
pub(super) struct Group {
    pub(super) directories: Vec<PathBuf>,
    /// A `tasks` file for each hierarchy of v1.
    tasks: Vec<File>,
    /// The directory of v2.
    v2: Option<File>,
}

impl Hierarchies {
    pub(super) fn find() -> Result<Self> {
        let layout = loment_cgroups::Layout::detect()?;
        let mounted =
            |point: &Path| Mounted { v2: point.join("cgroup.controllers").is_file(), point: point.to_owned() };
        Ok(Self { mounts: layout.mount_points().map(mounted).collect() })
    }

    /// Makes a cgroup, with those above it, and opens what a child enters it by.
    pub(super) fn make(&self, path: &str) -> Result<Group> {
        let mut group = Group { directories: Vec::new(), tasks: Vec::new(), v2: None };
        for mount in &self.mounts {
            let directory = mount.point.join(path.trim_start_matches('/'));
            make(&mount.point, &directory)?;
            let open = |file: &Path, write: bool| {
                let opened = File::options().read(!write).write(write).open(file);
                opened.with_context(|| format!("open {}", file.display()))
            };
            if mount.v2 {
                group.v2 = Some(open(&directory, false)?);
            } else {
                group.tasks.push(open(&directory.join("tasks"), true)?);
            }
            group.directories.push(directory);
        }
        Ok(group)
    }
}

impl Group {
    /// What a child is born in.
    pub(super) fn v2(&self) -> Option<BorrowedFd<'_>> {
        self.v2.as_ref().map(|directory| directory.as_fd())
    }

    /// Moves the calling process, which has one thread, into the hierarchies of v1.
    pub(super) fn enter(&self) -> nix::Result<()> {
        self.tasks.iter().try_for_each(|file| write(file, b"0").map(drop))
    }

    pub(super) fn remove(self) -> Result<()> {
        for directory in &self.directories {
            fs::remove_dir(directory).with_context(|| format!("remove cgroup {}", directory.display()))?;
        }
        Ok(())
    }
}

/// A new cpuset is empty and takes no process, so each gets its parent's.
fn make(top: &Path, directory: &Path) -> Result<()> {
    if directory == top || directory.is_dir() {
        return Ok(());
    }
    let Some(parent) = directory.parent() else { return Ok(()) };
    make(top, parent)?;
    fs::create_dir(directory).with_context(|| format!("create cgroup {}", directory.display()))?;
    for name in ["cpuset.cpus", "cpuset.mems"] {
        if let Ok(value) = fs::read(parent.join(name))
            && directory.join("tasks").exists()
        {
            fs::write(directory.join(name), value).with_context(|| format!("set {name} of {}", directory.display()))?;
        }
    }
    Ok(())
}
