//! The form of `cgroupsPath` that means a scope of systemd's: `slice:prefix:name`.

use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// A scope in a slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    /// `kubepods-pod1.slice`
    pub(crate) slice: String,
    /// `cri-containerd-1234.scope`
    pub(crate) unit: String,
}

/// Where units go when nobody says where.
const DEFAULT_SLICE: &str = "system.slice";
/// The slice above all.
const ROOT_SLICE: &str = "-.slice";

impl Name {
    /// What a path means; `None` when it is an ordinary one.
    pub(crate) fn parse(path: &Path) -> Result<Option<Self>> {
        let Some(text) = path.to_str().filter(|text| !text.contains('/')) else { return Ok(None) };
        let [slice, prefix, name] = text.split(':').collect::<Vec<_>>()[..] else { return Ok(None) };
        let refuse = |why: &str| Err(Error::invalid("use cgroup path", format!("{text:?}"), why));
        let slice = if slice.is_empty() { DEFAULT_SLICE } else { slice };
        if expand(slice).is_none() {
            return refuse("it does not begin with the name of a slice, as in kubepods-pod1.slice");
        }
        let unit = if prefix.is_empty() { format!("{name}.scope") } else { format!("{prefix}-{name}.scope") };
        // systemd.unit(5)
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '@' | '\\');
        if name.is_empty() || unit.len() > 255 || !unit.chars().all(fits) {
            return refuse("what follows the slice is no name for a unit");
        }
        Ok(Some(Self { slice: slice.to_owned(), unit }))
    }

    /// Path of the scope below the root of every hierarchy.
    pub(crate) fn path(&self) -> PathBuf {
        expand(&self.slice).unwrap_or_default().join(&self.unit)
    }
}

/// The unit whose cgroup is at `path`, if that is where systemd has its scopes.
pub(crate) fn unit_at(path: &Path) -> Option<String> {
    let has = |path: &Path, extension: &str| path.extension().is_some_and(|known| known == extension);
    let is_scope =
        has(path, "scope") && path.parent().is_some_and(|slice| has(slice, "slice") || slice.as_os_str().is_empty());
    is_scope.then(|| path.file_name()?.to_str().map(ToOwned::to_owned))?
}

/// Where the slice is whose name a path ends with; `None` when it is an ordinary path.
pub(crate) fn slice_path(path: &Path) -> Option<PathBuf> {
    expand(path.file_name()?.to_str()?)
}

/// Where a slice is: a dash in a name means a slice below another one. systemd.slice(5)
fn expand(slice: &str) -> Option<PathBuf> {
    if slice == ROOT_SLICE {
        return Some(PathBuf::new());
    }
    let name = slice.strip_suffix(".slice").filter(|name| slice.len() <= 255 && !name.is_empty())?;
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '@' | '\\');
    let mut path = PathBuf::new();
    let mut above = String::new();
    for part in name.split('-') {
        if part.is_empty() || !part.chars().all(fits) {
            return None;
        }
        above = if above.is_empty() { part.to_owned() } else { format!("{above}-{part}") };
        path.push(format!("{above}.slice"));
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(form: &str) -> String {
        Name::parse(Path::new(form)).unwrap().unwrap().path().display().to_string()
    }

    #[test]
    fn a_dash_in_the_name_of_a_slice_is_a_slice_above() {
        assert_eq!(path("a-b-c.slice:cri-containerd:1"), "a.slice/a-b.slice/a-b-c.slice/cri-containerd-1.scope");
        assert_eq!(path("machine.slice:libpod:ab"), "machine.slice/libpod-ab.scope");
        assert_eq!(path("-.slice:x:1"), "x-1.scope");
    }

    #[test]
    fn what_is_left_out_is_what_others_take() {
        assert_eq!(path("::1"), "system.slice/1.scope");
        assert_eq!(path(":docker:1"), "system.slice/docker-1.scope");
    }

    #[test]
    fn a_scope_is_known_by_its_place() {
        assert_eq!(unit_at(Path::new("a.slice/a-b.slice/x-1.scope")), Some("x-1.scope".into()));
        assert_eq!(unit_at(Path::new("x-1.scope")), Some("x-1.scope".into()));
        for path in ["a.slice/x-1", "a/x.scope", "a.slice"] {
            assert_eq!(unit_at(Path::new(path)), None, "{path}");
        }
    }

    #[test]
    fn a_slice_is_where_its_name_says_whatever_stands_before_it() {
        let expected = Some("a.slice/a-b.slice".into());
        assert_eq!(slice_path(Path::new("a-b.slice")), expected);
        assert_eq!(slice_path(Path::new("/a.slice/a-b.slice")), expected);
        assert_eq!(slice_path(Path::new("/kubepods/besteffort/pod1")), None);
        assert_eq!(slice_path(Path::new("/")), None);
    }

    #[test]
    fn a_path_is_no_form() {
        for form in ["/a:b:c", "a/b:c:d", "a", "a:b", "a:b:c:d"] {
            assert_eq!(Name::parse(Path::new(form)).unwrap(), None, "{form}");
        }
    }

    #[test]
    fn names_that_systemd_would_not_take_are_refused() {
        for form in
            ["a:b:c", "a--b.slice:x:1", "-a.slice:x:1", "a-.slice:x:1", ".slice:x:1", "a.slice:x:", "a.slice:x:y z"]
        {
            assert!(Name::parse(Path::new(form)).is_err(), "{form}");
        }
    }

    proptest! {
        #[test]
        fn a_scope_stays_below_its_slice(form in "[a-z.-]{0,8}(\\.slice)?:[a-z./-]{0,8}:[a-z./-]{0,8}") {
            if let Ok(Some(name)) = Name::parse(Path::new(&form)) {
                let path = name.path();
                prop_assert!(path.components().all(|part| matches!(part, std::path::Component::Normal(_))));
            }
        }
    }
}
