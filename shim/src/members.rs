//! The containers of a shim, by their bundles, on disk.
//!
//! Whoever is answered with Task v3 runs `delete` for the sandbox alone: were the shim killed, nobody would name its
//! containers, and they would run on. So their bundles are linked from the one that the shim was started in.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt as _, symlink},
    path::{Path, PathBuf},
};

use crate::failure::{Failure, Result};

/// Name of their directory in the bundle.
const NAME: &str = "members";

/// Where they are noted, if they have to be.
#[derive(Debug, Default)]
pub(crate) struct Members(Option<PathBuf>);

impl Members {
    /// Those of a shim that was started in this bundle.
    pub(crate) fn of(bundle: &Path) -> Self {
        Self(Some(bundle.to_owned()))
    }

    /// Notes a container, before there is anything of it.
    pub(crate) fn add(&self, id: &str, bundle: &Path) -> Result<()> {
        let Some(home) = self.0.as_deref().filter(|home| *home != bundle) else { return Ok(()) };
        let directory = home.join(NAME);
        let link = directory.join(id);
        let linked = match symlink(bundle, &link) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                DirBuilder::new().mode(0o700).create(&directory).and_then(|()| symlink(bundle, &link))
            }
            linked => linked,
        };
        linked.map_err(|error| Failure::io("note container", link.display(), &error))
    }

    /// Forgets one of which nothing is left.
    pub(crate) fn remove(&self, id: &str) {
        let Some(home) = &self.0 else { return };
        // It goes with the bundle at the latest.
        let _missing = fs::remove_file(home.join(NAME).join(id));
    }
}

/// The bundles of those that are noted in a shim's bundle.
pub(crate) fn bundles(home: &Path) -> Vec<PathBuf> {
    let noted = fs::read_dir(home.join(NAME)).into_iter().flatten().flatten();
    noted.filter_map(|entry| fs::read_link(entry.path()).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_noted_until_it_is_gone_and_the_shims_own_bundle_is_not() {
        let home = std::env::temp_dir().join(format!("loment-members-{}", std::process::id()));
        fs::create_dir(&home).unwrap();
        let members = Members::of(&home);
        members.add("own", &home).unwrap();
        assert!(bundles(&home).is_empty());
        members.add("a", Path::new("/bundles/a")).unwrap();
        members.add("b", Path::new("/bundles/b")).unwrap();
        let mut found = bundles(&home);
        found.sort();
        assert_eq!(found, [PathBuf::from("/bundles/a"), PathBuf::from("/bundles/b")]);
        members.remove("a");
        members.remove("a");
        assert_eq!(bundles(&home), [PathBuf::from("/bundles/b")]);
        Members::default().add("c", Path::new("/bundles/c")).unwrap();
        fs::remove_dir_all(&home).unwrap();
        assert!(bundles(&home).is_empty());
    }
}
