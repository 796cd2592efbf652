//! Which ids are those of containers and sandboxes that this project has run and that containerd does not know any more,
//! and whose they were. No id is taken for one of them by its looks: there has to be something that only this project
//! makes. A function of a [`Survey`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::finding::Owner;
use super::survey::{Names, Process, Survey, ids_of, is_made_up};
use crate::lower::layout::is_id;

/// The cgroup above those of pods that `loment create` makes.
const PODS: &str = "/loment";

/// What has told that an id is this project's.
mod by {
    pub(super) const RECORD: &str = "record";
    pub(super) const COMMAND_LINE: &str = "command line";
    pub(super) const CGROUP: &str = "cgroup";
    pub(super) const POD_CGROUP: &str = "cgroup of its pod";
    pub(super) const PARENT: &str = "its shim";
}

/// The ids, with their owners.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Owners {
    gone: BTreeMap<String, Owner>,
    /// Cgroups of those whose ids somebody has chosen: any cgroup may be called the same.
    cgroups: BTreeMap<PathBuf, String>,
    /// Shims of which containerd knows a container. What is below them is theirs.
    pub(crate) healthy: BTreeSet<i32>,
    /// Shims of which it knows none.
    pub(crate) leaked: BTreeSet<i32>,
    /// Shims of other containerds.
    pub(crate) strange: BTreeSet<i32>,
}

impl Owners {
    pub(crate) fn of(survey: &Survey) -> Self {
        let mut owners = Self::default();
        for shim in shims(survey) {
            let kind = if !is_of(survey, shim) {
                &mut owners.strange
            } else if is_known(survey, shim) {
                &mut owners.healthy
            } else {
                &mut owners.leaked
            };
            kind.insert(shim.pid);
        }
        for (id, namespace, by) in evidence(survey, &owners) {
            owners.add(survey, &id, &namespace, by);
        }
        for (id, owner) in &mut owners.gone {
            owner.pod = names(survey, id);
        }
        for id in siblings(survey, &owners) {
            owners.add(survey, &id, "", by::POD_CGROUP);
        }
        owners.cgroups = cgroups(survey, &owners).collect();
        let whole = owners.clone();
        owners.gone.values_mut().for_each(|owner| complete(&mut owner.pod, survey, &whole, &owner.id));
        owners
    }

    /// An id is not gone while containerd knows it anywhere, except where its namespace is certain and another one.
    fn add(&mut self, survey: &Survey, id: &str, namespace: &str, by: &'static str) {
        if !is_id(id) || survey.knows(id) || self.gone.contains_key(id) {
            return;
        }
        let owner = Owner { id: id.to_owned(), containerd_namespace: namespace.to_owned(), by, ..Owner::default() };
        self.gone.insert(id.to_owned(), owner);
    }

    /// Whose id this is, if it is gone.
    pub(crate) fn get(&self, id: &str) -> Option<&Owner> {
        self.gone.get(id)
    }

    /// Whose this very cgroup is.
    pub(crate) fn at_cgroup(&self, path: &Path) -> Option<&Owner> {
        let chosen = self.cgroups.get(path).and_then(|id| self.get(id));
        chosen.or_else(|| last_id(path).and_then(|id| self.get(id)))
    }

    /// Whose cgroup this is or is in.
    pub(crate) fn of_cgroup(&self, path: &Path) -> Option<&Owner> {
        path.ancestors().find_map(|part| self.at_cgroup(part))
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = (&str, &Owner)> {
        self.gone.iter().map(|(id, owner)| (id.as_str(), owner))
    }
}

/// Processes that execute the shim's program in the machine's mount namespace and are not the fork of another one.
fn shims(survey: &Survey) -> impl Iterator<Item = &Process> {
    survey.processes.iter().filter(|process| {
        let is_fork = survey.process(process.parent).is_some_and(|parent| parent.claim.is_some());
        process.claim.is_some() && process.mounts == survey.own_mounts && !is_fork
    })
}

/// Whether a shim is this containerd's.
fn is_of(survey: &Survey, shim: &Process) -> bool {
    shim.claim.as_ref().is_some_and(|claim| claim.address == survey.address)
}

/// Whether containerd knows one of the containers that a shim serves. It may have been started for another one of its
/// group, which is gone.
fn is_known(survey: &Survey, shim: &Process) -> bool {
    let Some(claim) = &shim.claim else { return false };
    let known = survey.known.get(&claim.namespace);
    let is_child = |names: &Names| {
        let process = names.pid.and_then(|pid| survey.process(pid));
        process.is_some_and(|process| survey.ancestry(process).any(|above| above.pid == shim.pid))
    };
    let serves = |socket: &Option<PathBuf>| socket.as_ref().is_some_and(|socket| shim.listens.contains(socket));
    let beside = survey.bundles.iter().filter(|bundle| bundle.namespace == claim.namespace && serves(&bundle.socket));
    survey.knows_in(&claim.namespace, &claim.id)
        || known.is_some_and(|known| known.values().any(is_child))
        || beside.into_iter().any(|bundle| survey.knows_in(&bundle.namespace, &bundle.id))
}

/// Ids with what tells that they are this project's, the best first.
fn evidence(survey: &Survey, owners: &Owners) -> Vec<(String, String, &'static str)> {
    let mut found = Vec::new();
    for bundle in survey.bundles.iter().filter(|bundle| bundle.is_ours) {
        found.push((bundle.id.clone(), bundle.namespace.clone(), by::RECORD));
        found.extend(bundle.members.iter().map(|id| (id.clone(), bundle.namespace.clone(), by::RECORD)));
    }
    for process in &survey.processes {
        let Some(claim) = process.claim.as_ref().filter(|claim| claim.address == survey.address) else { continue };
        if !is_below(survey, process, &owners.healthy) {
            found.push((claim.id.clone(), claim.namespace.clone(), by::COMMAND_LINE));
        }
    }
    for process in survey.processes.iter().filter(|process| owners.leaked.contains(&process.parent)) {
        let namespace =
            survey.process(process.parent).and_then(|shim| shim.claim.clone()).unwrap_or_default().namespace;
        // A program of the machine's, a logger say, is in the machine's own cgroups.
        if process.mounts != survey.own_mounts {
            found.extend(last_ids(process).map(|id| (id, namespace.clone(), by::PARENT)));
        }
    }
    let below = |path: &&PathBuf| path.strip_prefix(PODS).is_ok_and(|rest| rest.components().count() == 2);
    for path in survey.cgroups.iter().filter(below).filter(|path| !is_anothers(survey, owners, path.parent())) {
        found.extend(last_id(path).map(|id| (id.to_owned(), String::new(), by::CGROUP)));
    }
    found
}

/// Whether the cgroup of a pod is that of a pod of another containerd.
fn is_anothers(survey: &Survey, owners: &Owners, pod: Option<&Path>) -> bool {
    let Some(pod) = pod else { return false };
    let below = |process: &&Process| process.cgroups.iter().any(|path| path.starts_with(pod));
    let mut inside = survey.processes.iter().filter(below);
    uid_of(pod).is_some_and(|uid| survey.kept.elsewhere.contains(uid))
        || inside.any(|process| is_below(survey, process, &owners.strange))
}

/// Whether a process is one of these or below one.
pub(crate) fn is_below(survey: &Survey, process: &Process, these: &BTreeSet<i32>) -> bool {
    survey.ancestry(process).any(|above| these.contains(&above.pid))
}

fn last_id(path: &Path) -> Option<&str> {
    ids_of(path.file_name()?.to_str()?).find(|id| is_made_up(id))
}

fn last_ids(process: &Process) -> impl Iterator<Item = String> {
    process.cgroups.iter().filter_map(|path| last_id(path).map(str::to_owned))
}

/// Cgroups that a record, or a process below a leaked shim, says to be those of an id.
fn cgroups<'a>(survey: &'a Survey, owners: &'a Owners) -> impl Iterator<Item = (PathBuf, String)> + 'a {
    let recorded = survey
        .bundles
        .iter()
        .filter(|bundle| bundle.is_ours)
        .flat_map(|bundle| bundle.cgroups.iter().map(|path| (Path::new("/").join(path), bundle.id.clone())));
    let inside = survey.processes.iter().flat_map(|process| {
        let shim = survey.process(process.parent).filter(|shim| owners.leaked.contains(&shim.pid));
        let id = shim.and_then(|shim| shim.claim.as_ref()).map(|claim| claim.id.clone());
        process.cgroups.iter().filter_map(move |path| Some((path.clone(), id.clone()?)))
    });
    let is_named_so = |(path, id): &(PathBuf, String)| path.file_name().is_some_and(|name| name == id.as_str());
    recorded.chain(inside).filter(is_named_so).filter(|(_, id)| owners.get(id).is_some())
}

/// Ids beside one that is gone, in the cgroup of its pod: all containers of a pod are one runtime class's. It is the pod's if
/// it is named after it. Beside others' containers nothing follows for these.
fn siblings(survey: &Survey, owners: &Owners) -> Vec<String> {
    let one_pods: BTreeSet<&Path> = survey
        .cgroups
        .iter()
        .filter_map(|path| {
            let owner = last_id(path).and_then(|id| owners.get(id))?;
            let parent = path.parent().filter(|parent| is_one_pods(parent, &owner.pod.uid))?;
            (!is_anothers(survey, owners, Some(parent))).then_some(parent)
        })
        .collect();
    let beside = survey.cgroups.iter().filter(|path| path.parent().is_some_and(|parent| one_pods.contains(parent)));
    beside.filter_map(|path| last_id(path)).map(str::to_owned).collect()
}

/// Whether a cgroup is one pod's: `podUID`, the slice `...-podUID.slice`, or one that is named after a uid that is known.
fn is_one_pods(path: &Path, uid: &str) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_slice = name.strip_suffix(".slice").and_then(|name| name.rsplit_once("-pod")).is_some();
    uid_of(path).is_some() || is_slice || (!uid.is_empty() && name == uid)
}

/// What a pod is called, by what names this id.
fn names(survey: &Survey, id: &str) -> Names {
    let bundle = survey.bundles.iter().find(|bundle| bundle.id == id).map(|bundle| bundle.names.clone());
    let attached = survey.attachments.iter().find(|one| one.id == id).map(|one| one.names.clone());
    let mut names = bundle.unwrap_or_default();
    merge(&mut names, &attached.unwrap_or_default());
    names
}

/// What is still missing: by the uid that a cgroup is named after, and by others in the same one.
fn complete(names: &mut Names, survey: &Survey, owners: &Owners, id: &str) {
    let is_its = |path: &&PathBuf| last_id(path) == Some(id);
    let Some(parent) = survey.cgroups.iter().find(is_its).and_then(|path| path.parent()) else { return };
    if let Some(uid) = uid_of(parent) {
        names.uid = if names.uid.is_empty() { uid.to_owned() } else { names.uid.clone() };
    }
    if let Some(kept) = survey.kept.names.get(&names.uid) {
        merge(names, kept);
    }
    let beside = survey.cgroups.iter().filter(|path| path.parent() == Some(parent)).filter_map(|path| last_id(path));
    let named = beside
        .filter_map(|id| owners.get(id))
        .find(|owner| !owner.pod.name.is_empty() && is_one_pods(parent, &owner.pod.uid));
    if let Some(owner) = named.filter(|_| names.name.is_empty()) {
        merge(names, &Names { container: String::new(), ..owner.pod.clone() });
    }
}

/// The uid in `podUID`, as kubelets and `loment create` name the cgroup of a pod.
pub(crate) fn uid_of(pod: &Path) -> Option<&str> {
    let uid = pod.file_name()?.to_str()?.strip_prefix("pod")?;
    (is_id(uid) && !uid.is_empty()).then_some(uid)
}

fn merge(names: &mut Names, more: &Names) {
    let fields = [
        (&mut names.namespace, &more.namespace),
        (&mut names.name, &more.name),
        (&mut names.uid, &more.uid),
        (&mut names.container, &more.container),
    ];
    for (field, text) in fields {
        if field.is_empty() {
            field.clone_from(text);
        }
    }
}
