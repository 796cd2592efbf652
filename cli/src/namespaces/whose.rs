//! Which pod, container or sandbox something belongs to: a function of a [`Survey`].

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use super::kind::Id;
use super::model::Holder;
use super::survey::{Container, Process, Survey};
use crate::leaks::survey::{ids_on, is_made_up};

/// Letters of an id that are shown, as docker and crictl do.
const SHORT: usize = 12;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Whose {
    /// A sandbox of `loment ns create`.
    Sandbox(String),
    /// A container of a pod; without a name the pod's sandbox.
    Pod { namespace: String, pod: String, container: String },
    /// The shim of a pod.
    Shim { namespace: String, pod: String },
    /// A container of which no more than the id is known.
    Id(String),
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sandbox(name) => f.write_str(name),
            Self::Pod { namespace, pod, container } if container.is_empty() => write!(f, "{namespace}/{pod}"),
            Self::Pod { namespace, pod, container } => write!(f, "{namespace}/{pod}/{container}"),
            Self::Shim { namespace, pod } => write!(f, "{namespace}/{pod} (shim)"),
            Self::Id(id) => f.write_str(id.get(..SHORT).unwrap_or(id)),
        }
    }
}

/// Whose process it is, by its cgroup.
pub(crate) fn of_process(survey: &Survey, process: &Process) -> Option<Whose> {
    if let Some(claim) = &process.claim {
        let found = survey.containers.get(&claim.id);
        return Some(found.map_or_else(
            || Whose::Id(claim.id.clone()),
            |found| Whose::Shim { namespace: found.namespace.clone(), pod: found.pod.clone() },
        ));
    }
    let ids: Vec<&str> = process.cgroups.iter().flat_map(|path| ids_on(path)).collect();
    let known = ids.iter().find_map(|id| survey.containers.get(*id)).map(of_container);
    known
        .or_else(|| ids.iter().find(|id| is_made_up(id)).map(|id| Whose::Id((*id).to_owned())))
        .or_else(|| of_sandbox(survey, process))
}

fn of_container(container: &Container) -> Whose {
    let Container { namespace, pod, name } = container.clone();
    Whose::Pod { namespace, pod, container: name }
}

/// The cgroups of a process that are its container's alone, in each hierarchy.
pub(crate) fn own_cgroups(survey: &Survey, process: &Process) -> BTreeSet<PathBuf> {
    let is_own = |path: &&PathBuf| ids_on(path).any(|id| survey.containers.contains_key(id) || is_made_up(id));
    if process.claim.is_some() { BTreeSet::new() } else { process.cgroups.iter().filter(is_own).cloned().collect() }
}

/// A process that is in what a sandbox has pinned is in that sandbox.
fn of_sandbox(survey: &Survey, process: &Process) -> Option<Whose> {
    let is_in = |id: Id| process.namespaces.get(&id.kind) == Some(&id.inode);
    survey.pins.iter().find(|pin| is_in(pin.namespace)).and_then(|pin| sandbox_at(survey, &pin.at)).map(Whose::Sandbox)
}

/// Whose a pin is.
pub(crate) fn of_pin(survey: &Survey, at: &Path) -> Option<Whose> {
    sandbox_at(survey, at).map(Whose::Sandbox)
}

/// The sandbox that has a pin at this place.
fn sandbox_at(survey: &Survey, at: &Path) -> Option<String> {
    let name = at.strip_prefix(&survey.lab).ok()?.parent()?.to_str()?;
    (!name.is_empty()).then(|| name.to_owned())
}

/// Whose something is that keeps a namespace.
pub(crate) fn of_holder(survey: &Survey, holder: &Holder) -> Option<Whose> {
    match holder {
        Holder::Pin { at, .. } => of_pin(survey, at),
        _ => {
            let pid = holder.pid()?;
            of_process(survey, survey.processes.iter().find(|process| process.pid == pid)?)
        }
    }
}

/// All that have a share in a namespace, each once.
pub(crate) fn of_holders(survey: &Survey, holders: &[Holder]) -> BTreeSet<Whose> {
    holders.iter().filter_map(|holder| of_holder(survey, holder)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::kind::Kind;
    use super::super::survey::Pin;
    use super::*;
    use crate::leaks::survey::Claim;

    fn survey() -> Survey {
        let web = |name: &str| Container { namespace: "shop".into(), pod: "web".into(), name: name.into() };
        let pin = Pin { namespace: Id { kind: Kind::Net, inode: 9 }, at: "/lab/mine/net".into(), elsewhere: None };
        let containers = [("aa".to_owned(), web("")), ("bb".to_owned(), web("app"))].into();
        Survey { containers, pins: vec![pin], lab: "/lab".into(), ..Survey::default() }
    }

    fn shown(process: Process) -> String {
        of_process(&survey(), &process).map(|whose| whose.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_process_is_told_by_its_cgroup_its_command_line_or_what_it_is_in() {
        let in_cgroup = |path: &str| Process { cgroups: [path.into()].into(), ..Process::default() };
        assert_eq!(shown(in_cgroup("/kubepods/podx/bb")), "shop/web/app");
        assert_eq!(shown(in_cgroup("/system.slice/cri-containerd-aa.scope")), "shop/web");
        assert_eq!(shown(in_cgroup(&format!("/docker/{}", "0123456789abcdef".repeat(4)))), "0123456789ab");
        assert_eq!(shown(in_cgroup("/user.slice")), "");
        let shim = Claim { namespace: "k8s.io".into(), id: "aa".into(), address: String::new() };
        assert_eq!(shown(Process { claim: Some(shim), ..Process::default() }), "shop/web (shim)");
        assert_eq!(shown(Process { namespaces: [(Kind::Net, 9)].into(), ..Process::default() }), "mine");
    }
}
