//! The cgroup hierarchies of this machine.

use std::{fs::File, io::Read, path::Path, sync::Arc};

use crate::{
    Error, Result,
    controller::{Controller, Controllers},
    dir::Dir,
    mountinfo::{self, Mounts},
    usual,
};

/// The cgroup hierarchies of this machine: v1, hybrid or v2.
///
/// Looks once, and holds one descriptor for each hierarchy; clones share them.
#[derive(Debug, Clone)]
pub struct Layout {
    inner: Arc<Inner>,
}

/// Which of the three layouts a machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Every controller in a v1 hierarchy.
    V1,
    /// Controllers in v1 hierarchies, and a v2 mount beside them that may carry some of the rest.
    Hybrid,
    /// One unified hierarchy.
    V2,
}

#[derive(Debug)]
struct Inner {
    v1: Vec<Hierarchy>,
    v2: Option<Dir>,
}

/// A v1 hierarchy.
#[derive(Debug)]
pub(crate) struct Hierarchy {
    pub(crate) controllers: Controllers,
    pub(crate) root: Dir,
}

impl Layout {
    /// Finds what is mounted now.
    pub fn detect() -> Result<Self> {
        const CGROUP: &str = "/proc/self/cgroup";
        match read(CGROUP).ok().and_then(|text| usual::find(&text)) {
            Some(mounts) => Self::open(mounts),
            None => Self::open(mountinfo::parse(&read("/proc/self/mountinfo")?)),
        }
    }

    pub(crate) fn open(mounts: Mounts) -> Result<Self> {
        let open =
            |path: &Path| Dir::open_root(path).map_err(|e| Error::new("open cgroup hierarchy", path.display(), e));
        let v1 = mounts.v1.iter().map(|m| Ok(Hierarchy { controllers: m.controllers, root: open(&m.mount_point)? }));
        let v1 = v1.collect::<Result<Vec<_>>>()?;
        let v2 = mounts.v2.as_deref().map(open).transpose()?;
        if v1.is_empty() && v2.is_none() {
            let cause = std::io::Error::new(std::io::ErrorKind::NotFound, "no cgroup hierarchy is mounted");
            return Err(Error::new("find cgroups in", "/proc/self/mountinfo", cause)
                .hint("mount one: mount -t cgroup2 none /sys/fs/cgroup"));
        }
        Ok(Self { inner: Arc::new(Inner { v1, v2 }) })
    }

    /// Which of the three layouts this is.
    pub fn kind(&self) -> Kind {
        match (self.inner.v1.is_empty(), &self.inner.v2) {
            (true, _) => Kind::V2,
            (false, None) => Kind::V1,
            (false, Some(_)) => Kind::Hybrid,
        }
    }

    /// Where the hierarchies are mounted: those of v1, then v2.
    pub fn mount_points(&self) -> impl Iterator<Item = &Path> {
        self.inner.v1.iter().map(|h| h.root.path()).chain(self.inner.v2.iter().map(Dir::path))
    }

    pub(crate) fn v1(&self) -> &[Hierarchy] {
        &self.inner.v1
    }

    pub(crate) fn v2(&self) -> Option<&Dir> {
        self.inner.v2.as_ref()
    }

    /// The hierarchy's place in [`Layout::v1`].
    pub(crate) fn v1_index(&self, controller: Controller) -> Option<usize> {
        self.inner.v1.iter().position(|h| h.controllers.contains(controller))
    }
}

fn read(path: &str) -> Result<String> {
    // With room for most machines': the file has no size, and would be read bit by bit.
    let mut text = Vec::with_capacity(4 << 10);
    let read = File::open(path).and_then(|mut file| file.read_to_end(&mut text));
    read.map_err(|e| Error::new("read mounted cgroups from", path, e))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_cgroups_is_told_what_to_mount() {
        let error = Layout::open(Mounts::default()).unwrap_err();
        assert!(error.to_string().contains("mount -t cgroup2"), "{error}");
    }

    #[test]
    fn the_layout_of_this_machine_is_found() {
        let layout = Layout::detect().unwrap();
        assert_eq!(layout.mount_points().count(), layout.v1().len() + usize::from(layout.v2().is_some()));
        assert!(layout.mount_points().all(Path::is_dir));
    }
}
