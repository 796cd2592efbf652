//! What a pod uses: its own cgroup, or the sum of its containers, living and dead.

use std::path::{Component, Path};

use crate::{Cgroup, Layout, Result, path, stats::Usage, systemd};

/// What a pod uses.
///
/// A kubelet, and `loment create`, give a pod a cgroup of its own, named after the pod's uid, with those of its
/// containers below it: it counts everything, also containers that have gone and what belongs to no container. Where
/// there is none, containers stand beside those of other pods; then their usage is added up, and what those have used
/// that are gone has to be remembered.
#[derive(Debug, Default)]
pub struct Pod {
    own: Option<Cgroup>,
    /// What lasts of containers whose cgroups are gone.
    dead: Usage,
}

impl Pod {
    /// The pod with this uid whose sandbox (or any other container) is in `member`. Without a uid its cgroup cannot be
    /// told from one that pods share.
    pub fn around(member: &Cgroup, uid: Option<&str>) -> Result<Self> {
        let uid = uid.filter(|uid| !uid.is_empty());
        // Its name is looked at before it is opened, which takes a descriptor for each hierarchy.
        let is_own = uid.zip(member.path().parent()).is_some_and(|(uid, parent)| is_named_after(parent, uid));
        let own = if is_own { member.parent()? } else { None };
        Ok(Self { own, dead: Usage::default() })
    }

    /// The pod with this uid, which has no sandbox: its containers are to be below `parent` (CRI's `cgroup_parent`: a path,
    /// or the name of a slice).
    ///
    /// # Errors
    /// `parent` is no path of a cgroup.
    pub fn below(layout: &Layout, parent: &Path, uid: Option<&str>) -> Result<Self> {
        if parent.components().all(|part| part == Component::RootDir) {
            return Ok(Self::default());
        }
        let parent = systemd::slice_path(parent).map_or_else(|| path::below_root(parent), Ok)?;
        let is_own = uid.filter(|uid| !uid.is_empty()).is_some_and(|uid| is_named_after(&parent, uid));
        let own = if is_own { Some(Cgroup::open(layout, &parent)?) } else { None };
        Ok(Self { own: own.filter(|own| own.directories().next().is_some()), dead: Usage::default() })
    }

    /// Its own cgroup, if it has one.
    pub fn cgroup(&self) -> Option<&Cgroup> {
        self.own.as_ref()
    }

    /// Remembers a container whose cgroup is removed: its usage at the end.
    pub fn bury(&mut self, usage: &Usage) {
        self.dead.add_lasting(usage);
    }

    /// What the pod uses and has used, given what its living containers (with the sandbox) do.
    pub fn usage<'a>(&self, living: impl Iterator<Item = &'a Usage>) -> Result<Usage> {
        let Some(own) = &self.own else {
            let mut sum = self.dead.clone();
            living.for_each(|usage| sum.add(usage));
            return Ok(sum);
        };
        let mut usage = own.usage()?;
        if !own.remembers_kills() {
            usage.memory.oom_kills = usage.memory.oom_kills.saturating_add(self.dead.memory.oom_kills);
        }
        Ok(usage)
    }
}

/// `/kubepods/besteffort/podUID`, `kubepods-besteffort-podUID.slice` (where `-` separates levels and is `_` in the uid).
fn is_named_after(path: &Path, uid: &str) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
    let name = name.strip_suffix(".slice").unwrap_or(name);
    [uid.to_owned(), uid.replace('-', "_")].iter().any(|uid| {
        let before = name.strip_suffix(uid.as_str());
        before.is_some_and(|before| !before.ends_with(|c: char| c.is_ascii_hexdigit()) || before.ends_with("pod"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_below_the_root_or_below_what_is_not_there_has_no_cgroup_of_its_own() {
        let layout = Layout::detect().unwrap();
        for parent in ["/", "", "/no-such-cgroup/pod0f6a-11", "no-such-pod0f6a_11.slice"] {
            let pod = Pod::below(&layout, Path::new(parent), Some("0f6a-11")).unwrap();
            assert!(pod.cgroup().is_none(), "{parent}");
        }
        assert!(Pod::below(&layout, Path::new("/two\nlines"), None).is_err());
    }

    #[test]
    fn a_pods_own_cgroup_is_named_after_it() {
        let uid = "0f6a-11";
        for own in
            ["/kubepods/besteffort/pod0f6a-11", "/loment/pod0f6a-11", "/pods/0f6a-11", "/kubepods-pod0f6a_11.slice"]
        {
            assert!(is_named_after(Path::new(own), uid), "{own}");
        }
        for shared in ["/k8s.io", "/", "/machine.slice", "/pods/0f6a-111", "/pods/pod10f6a-11"] {
            assert!(!is_named_after(Path::new(shared), uid), "{shared}");
        }
    }
}
