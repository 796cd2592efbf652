//! The containers of a shim, on disk where it was started.
//!
//! Whoever is answered with Task v3 runs `delete` for the sandbox alone. Were the shim killed, nobody would name its
//! containers; and containerd removes their bundles when it finds that the shim is gone, which may be before. So what must
//! be known to clean up after them is kept in the bundle that the shim was started in.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt as _, symlink},
    path::{Path, PathBuf},
};

use crate::failure::{Failure, Result};

/// Name of their directory in the bundle.
const NAME: &str = "members";
/// In the directory of each, the link to its bundle.
const BUNDLE: &str = "bundle";
/// Its specification, in its bundle and in its place.
const SPEC: &str = "config.json";

/// Where they are kept, if they have to be.
#[derive(Debug, Default)]
pub(crate) struct Members(Option<PathBuf>);

/// A container that a shim has had.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Member {
    /// Where its record is.
    pub(crate) directory: PathBuf,
    /// Its bundle, which may be gone.
    pub(crate) bundle: PathBuf,
}

impl Member {
    /// Where its specification still is.
    pub(crate) fn of_spec(&self) -> &Path {
        if self.bundle.join(SPEC).exists() { &self.bundle } else { &self.directory }
    }
}

impl Members {
    /// Those of a shim that was started in this bundle.
    pub(crate) fn of(bundle: &Path) -> Self {
        Self(Some(bundle.to_owned()))
    }

    /// Makes a place for a container's record, before there is anything of it. That of the shim's own bundle stays there.
    pub(crate) fn add(&self, id: &str, bundle: &Path) -> Result<()> {
        let Some(home) = self.0.as_deref().filter(|home| *home != bundle) else { return Ok(()) };
        let directory = home.join(NAME).join(id);
        let failed = |error: io::Error| Failure::io("make directory", directory.display(), &error);
        DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(failed)?;
        symlink(bundle, directory.join(BUNDLE)).map_err(|error| {
            self.remove(id);
            failed(error)
        })
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
        let home = self.0.as_deref().filter(|home| *home != bundle)?;
        Some(home.join(NAME).join(id))
    }

    /// Forgets one of which nothing is left.
    pub(crate) fn remove(&self, id: &str) {
        let Some(home) = &self.0 else { return };
        let directory = home.join(NAME).join(id);
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
        let members = Members::of(&home);
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
        assert!(members.add("b", &bundle("b")).is_err(), "it is there");
        Members::default().add("c", &bundle("c")).unwrap();
        fs::remove_dir_all(&home).unwrap();
        assert!(kept(&home).is_empty());
    }
}
