//! The containers of a shim, on disk where it was started.
//!
//! Whoever is answered with Task v3 runs `delete` for the sandbox alone, and so does containerd 1.7 where the shim makes the
//! sandbox. Were the shim killed, nobody would name its containers; and when containerd finds that it is gone, it removes
//! their bundles, which may be before. So their records are kept in the bundle that the shim was started in, each in a
//! directory beside a link to its own bundle, where a link leads back for who does name it.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt as _, symlink},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use loment_sandbox::record;
use nix::fcntl::{Flock, FlockArg};

use crate::failure::{Failure, Result};

/// Name of their directory in the bundle.
const NAME: &str = "members";
/// In the directory of each, the link to its bundle.
const BUNDLE: &str = "bundle";
/// In its bundle, the link to that directory.
const PLACE: &str = "loment.member";
/// Its specification, in its bundle and in its place.
const SPEC: &str = "config.json";

/// Where they are kept, if they have to be.
#[derive(Debug)]
pub(crate) struct Members {
    home: PathBuf,
    is_kept: AtomicBool,
}

/// A container, as far as `delete` knows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Member {
    /// Where its record is.
    pub(crate) directory: PathBuf,
    /// Its bundle, which may be gone.
    pub(crate) bundle: PathBuf,
}

impl Members {
    /// Those of a shim that was started in this bundle. `is_kept` says that nobody will name them.
    pub(crate) fn of(bundle: &Path, is_kept: bool) -> Self {
        Self { home: bundle.to_owned(), is_kept: AtomicBool::new(is_kept) }
    }

    /// From now on they are kept: the sandbox is the shim's.
    pub(crate) fn keep(&self) {
        self.is_kept.store(true, Ordering::Relaxed);
    }

    /// The place of a container's record, if it is not its bundle. That of the shim's own bundle stays there.
    pub(crate) fn place(&self, id: &str, bundle: &Path) -> Option<PathBuf> {
        let is_meant = self.home != bundle && self.is_kept.load(Ordering::Relaxed);
        is_meant.then(|| self.home.join(NAME).join(id))
    }

    /// Makes a place for a container's record, before there is anything of it.
    pub(crate) fn add(&self, id: &str, bundle: &Path) -> Result<()> {
        let Some(directory) = self.place(id, bundle) else { return Ok(()) };
        // A part of it would say that there is a container.
        Self::make(&directory, bundle).inspect_err(|_| self.remove(id))
    }

    fn make(directory: &Path, bundle: &Path) -> Result<()> {
        let failed = |error: io::Error| Failure::io("make directory", directory.display(), &error);
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        for (target, link) in [(bundle, directory.join(BUNDLE)), (directory, bundle.join(PLACE))] {
            match symlink(target, link) {
                // One of the same name before it, whose end failed: its record is still wanted.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                linked => linked.map_err(failed)?,
            }
        }
        Ok(())
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

    /// Forgets one of which nothing is left.
    pub(crate) fn remove(&self, id: &str) {
        if !self.is_kept.load(Ordering::Relaxed) {
            return;
        }
        let directory = self.home.join(NAME).join(id);
        // What is on record could not be removed: whoever comes after this shim needs the rest as well.
        if !matches!(record::read(&directory), Ok(None)) {
            return;
        }
        let link = directory.join(BUNDLE);
        if let Ok(bundle) = fs::read_link(&link) {
            let _gone = fs::remove_file(bundle.join(PLACE));
        }
        let _none = fs::remove_file(directory.join(SPEC));
        // What stays goes with the bundle.
        let _missing = fs::remove_file(link);
        let _missing = fs::remove_dir(&directory);
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

impl Member {
    /// The container of a bundle, wherever its record is kept.
    pub(crate) fn of(bundle: &Path) -> Self {
        let directory = fs::read_link(bundle.join(PLACE)).unwrap_or_else(|_| bundle.to_owned());
        Self { directory, bundle: bundle.to_owned() }
    }

    /// A directory with its specification, if there still is one.
    pub(crate) fn of_spec(&self) -> Option<&Path> {
        [self.bundle.as_path(), &self.directory].into_iter().find(|directory| directory.join(SPEC).exists())
    }

    /// Waits for who else cleans up after it: while hooks look at its bundle, that must not go. `None`: nothing is left.
    pub(crate) fn alone(&self) -> Option<Flock<File>> {
        Flock::lock(File::open(&self.directory).ok()?, FlockArg::LockExclusive).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_kept_until_it_is_gone_and_the_shims_own_bundle_is_not() {
        let top = std::env::temp_dir().join(format!("loment-members-{}", std::process::id()));
        let home = top.join("own");
        let bundle = |name: &str| top.join(name);
        for name in ["own", "a", "b", "c"] {
            fs::create_dir_all(bundle(name)).unwrap();
        }
        let members = Members::of(&home, true);
        members.add("own", &home).unwrap();
        assert_eq!((kept(&home), members.place("own", &home)), (Vec::new(), None));
        members.add("a", &bundle("a")).unwrap();
        members.add("b", &bundle("b")).unwrap();
        let member = |name: &str| Member { directory: home.join("members").join(name), bundle: bundle(name) };
        let mut found = kept(&home);
        found.sort();
        assert_eq!(found, [member("a"), member("b")]);
        assert_eq!(members.place("a", &bundle("a")), Some(member("a").directory));
        members.remove("a");
        members.remove("a");
        assert_eq!(Member::of(&bundle("a")).directory, bundle("a"));
        assert_eq!(kept(&home), [member("b")]);
        members.add("b", &bundle("b")).unwrap();
        assert_eq!(Member::of(&bundle("b")), member("b"));
        let named = Members::of(&home, false);
        named.add("c", &bundle("c")).unwrap();
        assert_eq!(kept(&home).len(), 1, "containerd names each container");
        assert_eq!(Member::of(&bundle("c")).directory, bundle("c"));
        named.keep();
        named.add("c", &bundle("c")).unwrap();
        assert_eq!(kept(&home).len(), 2);
        fs::remove_dir_all(&top).unwrap();
        assert!(kept(&home).is_empty());
    }
}
