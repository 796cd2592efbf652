//! The containers of a shim, on disk where it was started.
//!
//! Whoever is answered with Task v3 runs `delete` for the sandbox alone, and so does containerd 1.7 where the shim makes the
//! sandbox. Were the shim killed, nobody would name its containers. So their bundles are linked from the one that the shim
//! was started in. With Task v3 containerd removes them when it finds that the shim is gone, which may be before: there the
//! records are kept beside the links.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt as _, symlink},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use crate::failure::{Failure, Result};

/// Name of their directory in the bundle.
const NAME: &str = "members";
/// In the directory of each, the link to its bundle.
const BUNDLE: &str = "bundle";
/// Its specification, in its bundle and in its place.
const SPEC: &str = "config.json";

/// Where they are kept, if they have to be.
#[derive(Debug)]
pub(crate) struct Members {
    home: PathBuf,
    is_kept: AtomicBool,
    has_records: bool,
}

/// A container that a shim has had.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Member {
    /// Where its record is.
    pub(crate) directory: PathBuf,
    /// Its bundle, which may be gone.
    pub(crate) bundle: PathBuf,
}

impl Member {
    /// Where its record may be, each with where its specification is then.
    pub(crate) fn places(&self) -> [(&Path, &Path); 2] {
        let of_spec = if self.bundle.join(SPEC).exists() { &self.bundle } else { &self.directory };
        [(&self.directory, of_spec), (&self.bundle, &self.bundle)]
    }
}

impl Members {
    /// Those of a shim that was started in this bundle. `has_records` says that their own bundles may go before.
    pub(crate) fn of(bundle: &Path, has_records: bool) -> Self {
        Self { home: bundle.to_owned(), is_kept: AtomicBool::new(has_records), has_records }
    }

    /// From now on they are kept: the sandbox is the shim's.
    pub(crate) fn keep(&self) {
        self.is_kept.store(true, Ordering::Relaxed);
    }

    fn home(&self, bundle: &Path) -> Option<&Path> {
        Some(self.home.as_path()).filter(|home| *home != bundle && self.is_kept.load(Ordering::Relaxed))
    }

    /// Makes a place for a container's record, before there is anything of it. That of the shim's own bundle stays there.
    pub(crate) fn add(&self, id: &str, bundle: &Path) -> Result<()> {
        let Some(home) = self.home(bundle) else { return Ok(()) };
        let directory = home.join(NAME).join(id);
        let failed = |error: io::Error| Failure::io("make directory", directory.display(), &error);
        DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(failed)?;
        match symlink(bundle, directory.join(BUNDLE)) {
            // One of the same name before it, whose end failed: its record is still wanted.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            linked => linked.map_err(failed),
        }
    }

    /// Keeps a container's specification too: hooks that it names are to be run after its end.
    pub(crate) fn keep_spec(&self, id: &str, bundle: &Path) -> Result<()> {
        let Some(place) = self.place(id, bundle) else { return Ok(()) };
        let (from, to) = (bundle.join(SPEC), place.join(SPEC));
        // Another attempt at it has the same.
        match fs::hard_link(&from, &to) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                fs::copy(&from, &to).map(drop).map_err(|error| Failure::io("copy", from.display(), &error))
            }
            _ => Ok(()),
        }
    }

    /// The place of a container's record, if it is not its bundle.
    pub(crate) fn place(&self, id: &str, bundle: &Path) -> Option<PathBuf> {
        let home = self.home(bundle).filter(|_| self.has_records)?;
        Some(home.join(NAME).join(id))
    }

    /// Forgets one of which nothing is left.
    pub(crate) fn remove(&self, id: &str) {
        if !self.is_kept.load(Ordering::Relaxed) {
            return;
        }
        let directory = self.home.join(NAME).join(id);
        let _none = fs::remove_file(directory.join(SPEC));
        // What stays goes with the bundle. A record is taken away by whoever has cleaned up.
        let _missing = fs::remove_file(directory.join(BUNDLE)).and_then(|()| fs::remove_dir(&directory));
    }
}

/// Those that are kept in a shim's bundle.
pub(crate) fn kept(home: &Path) -> Vec<Member> {
    let all = fs::read_dir(home.join(NAME)).into_iter().flatten().flatten();
    all.map(|entry| {
        let directory = entry.path();
        let bundle = fs::read_link(directory.join(BUNDLE)).unwrap_or_default();
        Member { directory, bundle }
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_kept_until_it_is_gone_and_the_shims_own_bundle_is_not() {
        let home = std::env::temp_dir().join(format!("loment-members-{}", std::process::id()));
        fs::create_dir(&home).unwrap();
        let members = Members::of(&home, true);
        members.add("own", &home).unwrap();
        assert_eq!((kept(&home), members.place("own", &home)), (Vec::new(), None));
        let bundle = |name: &str| Path::new("/bundles").join(name);
        members.add("a", &bundle("a")).unwrap();
        members.add("b", &bundle("b")).unwrap();
        let member = |name: &str| Member { directory: home.join("members").join(name), bundle: bundle(name) };
        let mut found = kept(&home);
        found.sort();
        assert_eq!(found, [member("a"), member("b")]);
        assert_eq!(members.place("a", &bundle("a")), Some(member("a").directory));
        members.remove("a");
        members.remove("a");
        assert_eq!(kept(&home), [member("b")]);
        members.add("b", &bundle("b")).unwrap();
        let links = Members::of(&home, false);
        links.add("c", &bundle("c")).unwrap();
        assert_eq!(kept(&home).len(), 1, "containerd names each container");
        links.keep();
        links.add("c", &bundle("c")).unwrap();
        assert_eq!((kept(&home).len(), links.place("c", &bundle("c"))), (2, None));
        fs::remove_dir_all(&home).unwrap();
        assert!(kept(&home).is_empty());
    }
}
