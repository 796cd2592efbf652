//! The specification's `cgroupsPath`.

use std::path::{Component, Path, PathBuf};

use crate::{Error, Result};

/// Checks a `cgroupsPath` and returns it relative to each hierarchy's mount point.
///
/// Absolute and relative paths mean the same: below the mount point. `..` and the root itself are refused.
pub(crate) fn below_root(path: &Path) -> Result<PathBuf> {
    let refuse = |why: &str| Err(Error::invalid("use cgroup path", format!("{:?}", path.display().to_string()), why));
    let mut relative = PathBuf::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) if name.as_encoded_bytes().iter().any(|b| matches!(b, 0 | b'\n')) => {
                return refuse("a name may hold neither NUL nor newline");
            }
            Component::Normal(name) => relative.push(name),
            Component::ParentDir | Component::Prefix(_) => return refuse("'..' is not allowed"),
        }
    }
    if relative.as_os_str().is_empty() {
        return refuse("it names the root of all cgroups");
    }
    Ok(relative)
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn absolute_and_relative_paths_mean_the_same() {
        for path in ["/k8s.io/abc", "k8s.io/abc", "//k8s.io/./abc/"] {
            assert_eq!(below_root(Path::new(path)).unwrap(), Path::new("k8s.io/abc"));
        }
    }

    #[test]
    fn a_path_that_leaves_its_place_is_refused() {
        for path in ["..", "/a/../b", "a/..", "/", "", ".", "a/b\nc"] {
            let error = below_root(Path::new(path)).unwrap_err();
            assert_eq!(error.cause.kind(), ErrorKind::InvalidInput, "{path:?}");
        }
    }

    #[test]
    fn colons_inside_a_path_are_only_colons() {
        assert_eq!(below_root(Path::new("/a:b:c/d")).unwrap(), Path::new("a:b:c/d"));
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_stays_below_the_root(path in "[a-z./:\\n]{0,24}") {
            if let Ok(relative) = below_root(Path::new(&path)) {
                prop_assert!(relative.is_relative());
                prop_assert!(relative.components().all(|c| matches!(c, Component::Normal(_))));
                prop_assert!(relative.components().count() > 0);
            }
        }
    }
}
