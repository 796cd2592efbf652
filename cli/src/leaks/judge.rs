//! What of a [`Survey`] is a leftover, what is only told, and why. Pure: no look at the machine, no clock.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::finding::{Finding, Owner, Thing, Verdict};
use super::owners::{Owners, is_below, uid_of};
use super::places::TASKS;
use super::survey::{Attachment, Bundle, Entry, Mount, Network, Part, Process, Socket, Survey, Unlisted, ids_on};

/// The runtime, as containerd calls it.
const RUNTIME: &str = "io.containerd.loment.v2";

/// A kubelet waits two minutes for a request.
const GIVEN_UP: Duration = Duration::from_secs(300);

/// Everything that is to be told, in the order in which it is to be removed. `sockets` has the path at which a shim of a
/// group would listen.
pub(crate) fn judge(survey: &Survey, socket_of: &dyn Fn(&str, &str) -> std::path::PathBuf) -> Vec<Finding> {
    let look = Look { survey, owners: Owners::of(survey), socket_of };
    let mut found = Vec::new();
    found.extend(survey.unlisted.iter().filter_map(|one| look.unlisted(one)));
    found.extend(survey.processes.iter().filter_map(|process| look.process(process)));
    found.extend(survey.mounts.iter().filter_map(|mount| look.mount(mount)));
    for attachment in &survey.attachments {
        found.extend(look.attachment(attachment));
    }
    found.extend(survey.networks.iter().filter_map(|network| look.network(network)));
    found.extend(survey.cgroups.iter().filter_map(|path| look.cgroup(path)));
    found.extend(survey.sockets.iter().filter_map(|socket| look.socket(socket)));
    found.extend(survey.bundles.iter().filter_map(|bundle| look.bundle(bundle)));
    found.extend(survey.kept.entries.iter().filter_map(|entry| look.entry(entry)));
    found.sort_by(|a, b| order(&a.thing).cmp(&order(&b.thing)));
    found
}

/// Of mounts that are stacked, the last one goes first.
fn order(thing: &Thing) -> (u8, std::cmp::Reverse<u64>, &Thing) {
    let number = if let Thing::Mount { id, .. } = thing { *id } else { 0 };
    (thing.rank(), std::cmp::Reverse(number), thing)
}

struct Look<'a> {
    survey: &'a Survey,
    owners: Owners,
    socket_of: &'a dyn Fn(&str, &str) -> std::path::PathBuf,
}

fn remove(thing: Thing, owner: &Owner, why: impl Into<String>) -> Finding {
    Finding { thing, owner: owner.clone(), why: why.into(), verdict: Verdict::Remove }
}

fn keep(thing: Thing, owner: &Owner, why: impl Into<String>, reason: impl Into<String>) -> Finding {
    Finding { thing, owner: owner.clone(), why: why.into(), verdict: Verdict::Keep(reason.into()) }
}

impl Look<'_> {
    /// CRI lists a pod when it is ready; one that is not ready for so long has been given up by whoever asked for it.
    fn unlisted(&self, one: &Unlisted) -> Option<Finding> {
        let is_ours = one.runtime == RUNTIME || self.survey.bundles.iter().any(|it| it.is_ours && it.id == one.id);
        if !is_ours || one.age < GIVEN_UP {
            return None;
        }
        let owner = Owner {
            pod: one.names.clone(),
            id: one.id.clone(),
            containerd_namespace: "k8s.io".to_owned(),
            by: "containerd's list",
        };
        Some(remove(Thing::Container { id: one.id.clone() }, &owner, "CRI has lost it: it is in none of its lists"))
    }

    fn process(&self, process: &Process) -> Option<Finding> {
        let Process { pid, start_time, .. } = *process;
        let shim = Thing::Shim { pid, start_time };
        if let Some(claim) = &process.claim {
            if self.owners.strange.contains(&pid) {
                let owner =
                    Owner { id: claim.id.clone(), containerd_namespace: claim.namespace.clone(), ..Owner::default() };
                let reason = format!("another containerd's to judge: --address {}", claim.address);
                return Some(keep(shim, &owner, "it serves another containerd", reason));
            }
            if self.owners.leaked.contains(&pid) {
                let owner = self.owners.get(&claim.id).cloned().unwrap_or_default();
                return Some(remove(shim, &owner, "containerd knows none of its containers"));
            }
        }
        let (owner, why) = self.orphan(process)?;
        let thing = Thing::Process { pid, start_time, name: process.name.clone() };
        if process.mounts == self.survey.own_mounts && process.claim.is_none() {
            let reason = "it has the machine's own mounts: no container's process; end it, or move it elsewhere";
            return Some(keep(thing, &owner, "it is in a cgroup that is left", reason));
        }
        Some(remove(thing, &owner, why))
    }

    /// Whose process it was, if it is nobody's any more.
    fn orphan(&self, process: &Process) -> Option<(Owner, String)> {
        let cared_for = is_below(self.survey, process, &self.owners.healthy)
            || is_below(self.survey, process, &self.owners.strange);
        if cared_for || process.cgroups.iter().flat_map(|path| ids_on(path)).any(|id| self.survey.knows(id)) {
            return None;
        }
        let recorded = self.survey.bundles.iter().filter(|bundle| bundle.is_ours);
        let recorded = recorded.filter(|bundle| bundle.inits.contains(&(process.pid, process.start_time)));
        if let Some(owner) = recorded.filter_map(|bundle| self.owners.get(&bundle.id)).next() {
            return Some((owner.clone(), "containerd does not know its container".to_owned()));
        }
        if let Some(owner) = process.cgroups.iter().find_map(|path| self.owners.of_cgroup(path)) {
            return Some((owner.clone(), "containerd does not know the container of its cgroup".to_owned()));
        }
        let shim = self.survey.ancestry(process).find(|above| self.owners.leaked.contains(&above.pid));
        let is_inside = process.mounts != self.survey.own_mounts || process.claim.is_some();
        let claim = shim.filter(|_| is_inside).unwrap_or(process).claim.as_ref()?;
        let owner = self.owners.get(&claim.id).filter(|_| claim.address == self.survey.address)?;
        Some((owner.clone(), "containerd knows none of the containers of its shim".to_owned()))
    }

    fn is_orphan(&self, process: &Process) -> bool {
        self.process(process).is_some_and(|finding| finding.is_leftover())
    }

    fn mount(&self, mount: &Mount) -> Option<Finding> {
        let state = mount.at.strip_prefix(&self.survey.containerd_state).ok();
        let pods = mount.at.strip_prefix(self.survey.state.join("pods")).ok();
        let owner = match (state, pods) {
            (Some(rest), _) => self.in_state(rest)?.clone(),
            (None, Some(rest)) => {
                let directory = self.survey.state.join("pods").join(rest.components().next()?);
                let entry = self.survey.kept.entries.iter().find(|entry| entry.path == directory)?;
                self.entry(entry)?.owner
            }
            (None, None) => return None,
        };
        let thing = Thing::Mount { id: mount.id, at: mount.at.clone(), kind: mount.kind.clone() };
        let Some((pid, name)) = &mount.elsewhere else {
            return Some(remove(thing, &owner, "what it was mounted for is gone"));
        };
        // Those of processes that are removed go with these.
        let holder = self.survey.process(*pid);
        if holder.is_none_or(|holder| self.is_orphan(holder)) {
            return None;
        }
        let name = super::finding::printable(name);
        let reason = format!("it is in the mount namespace of process {pid} ({name}), and goes with that");
        Some(keep(thing, &owner, "another mount namespace has it too", reason))
    }

    /// Whose a place below containerd's state is: `TASKS/NAMESPACE/ID`, or CRI's `PLUGIN/sandboxes/ID`.
    fn in_state(&self, path: &Path) -> Option<&Owner> {
        let mut parts = path.components().map(|part| part.as_os_str().to_str().unwrap_or_default());
        let (plugin, kind, id) = (parts.next()?, parts.next()?, parts.next()?);
        let owner = self.owners.get(id)?;
        let namespace = if plugin == TASKS { kind } else { "k8s.io" };
        let is_place = plugin == TASKS || (plugin.ends_with(".cri") && ["sandboxes", "containers"].contains(&kind));
        (is_place && ["", namespace].contains(&owner.containerd_namespace.as_str())).then_some(owner)
    }

    fn attachment(&self, one: &Attachment) -> Vec<Finding> {
        let Some(owner) = self.owners.get(&one.id) else { return Vec::new() };
        let Attachment { path, inode, id, network, .. } = one.clone();
        let why = format!("CNI has {} of a pod that is gone on record", one.interface);
        let note = Thing::Attachment { path, inode, id, network };
        // To give it up takes the interface out of whatever network the pod is in.
        if let Some(process) = self.user_of(one.namespace_path.as_deref()) {
            return vec![keep(note, owner, why, format!("process {} is in its network", process.pid))];
        }
        let note = remove(note, owner, why);
        let peers = one.peers.iter().map(|name| {
            remove(Thing::Interface { name: name.clone() }, owner, "it leads to the network of a pod that is gone")
        });
        peers.chain([note]).collect()
    }

    /// A process in a network namespace with this name that is to live.
    fn user_of(&self, network: Option<&Path>) -> Option<&Process> {
        let same = |one: &&Network| network.is_some_and(|path| path.file_name() == one.path.file_name());
        let network = self.survey.networks.iter().find(same)?;
        let mut inside = self.survey.processes.iter().filter(|process| process.network == network.inode);
        inside.find(|process| !self.is_orphan(process))
    }

    fn network(&self, network: &Network) -> Option<Finding> {
        let name = network.path.file_name()?.to_str()?;
        if !name.starts_with("cni-") {
            return None;
        }
        let same = |path: &Path| path.file_name() == network.path.file_name();
        let thing = Thing::Network { path: network.path.clone(), inode: network.inode };
        let attached = self.survey.attachments.iter().filter(|one| one.namespace_path.as_deref().is_some_and(same));
        let named = self.survey.bundles.iter().filter(|bundle| bundle.network.as_deref().is_some_and(same));
        let ids: BTreeSet<&str> =
            attached.map(|one| one.id.as_str()).chain(named.map(|bundle| bundle.id.as_str())).collect();
        if ids.iter().any(|id| self.survey.knows(id)) {
            return None;
        }
        let inside: Vec<&Process> =
            self.survey.processes.iter().filter(|process| process.network == network.inode).collect();
        if inside.iter().any(|process| is_below(self.survey, process, &self.owners.healthy)) {
            return None;
        }
        let orphan = inside.iter().filter(|process| self.is_orphan(process)).find_map(|one| self.orphan(one));
        let recorded = ids.iter().find_map(|id| self.owners.get(id)).cloned();
        let stranger = inside.iter().find(|process| !self.is_orphan(process));
        match (recorded.or(orphan.map(|(owner, _)| owner)), stranger) {
            (Some(owner), None) => Some(remove(thing, &owner, "its pod is gone")),
            (Some(owner), Some(process)) => {
                let reason = format!("process {} is in it", process.pid);
                Some(keep(thing, &owner, "its pod is gone", reason))
            }
            (None, Some(_)) => None,
            (None, None) => {
                let reason = "unknown owner: nothing says that it was made for a pod of this runtime";
                let noted = self.survey.attachments.iter().find(|one| ids.contains(one.id.as_str()));
                let owner = noted.map(|one| Owner {
                    pod: one.names.clone(),
                    id: one.id.clone(),
                    by: "CNI's note",
                    ..Owner::default()
                });
                Some(keep(thing, &owner.unwrap_or_default(), "no pod that is known uses it", reason))
            }
        }
    }

    fn cgroup(&self, path: &Path) -> Option<Finding> {
        let owner = self.owners.at_cgroup(path).cloned().or_else(|| self.pod_cgroup(path))?;
        let thing = Thing::Cgroup { path: path.to_owned() };
        match self.stranger(path) {
            None => Some(remove(thing, &owner, "what it was made for is gone")),
            Some(process) => {
                let name = super::finding::printable(&process.name);
                let reason = format!(
                    "process {} ({name}) is in it and is no leftover: end it, or move it to another cgroup",
                    process.pid
                );
                Some(keep(thing, &owner, "what it was made for is gone", reason))
            }
        }
    }

    /// A process in a cgroup or below it that is to live.
    fn stranger(&self, cgroup: &Path) -> Option<&Process> {
        let below = |process: &&Process| process.cgroups.iter().any(|path| path.starts_with(cgroup));
        self.survey.processes.iter().filter(below).find(|process| !self.is_orphan(process))
    }

    /// The cgroup that `loment create` makes for a pod, when there is no such pod any more.
    fn pod_cgroup(&self, path: &Path) -> Option<Owner> {
        let is_at_top = path.parent() == Some(Path::new("/loment"));
        let uid = uid_of(path).filter(|_| is_at_top)?;
        let kept = self.survey.kept.entries.iter().any(|entry| entry.part == Part::Record && entry.names.uid == uid);
        let known = self.survey.known.values().flat_map(|all| all.values()).any(|names| names.uid == uid);
        if kept || known || self.survey.kept.living.contains(uid) {
            return None;
        }
        let mut pod = self.survey.kept.names.get(uid).cloned().unwrap_or_default();
        uid.clone_into(&mut pod.uid);
        Some(Owner { pod, by: "cgroup", ..Owner::default() })
    }

    fn socket(&self, socket: &Socket) -> Option<Finding> {
        let thing = Thing::Socket { path: socket.path.clone(), inode: socket.inode };
        let listener = self.survey.processes.iter().find(|process| process.listens.contains(&socket.path));
        if let Some(shim) = listener {
            let claim = shim.claim.as_ref().filter(|_| self.owners.leaked.contains(&shim.pid))?;
            let owner = self.owners.get(&claim.id).cloned().unwrap_or_default();
            return Some(remove(thing, &owner, format!("its shim {} is left", shim.pid)));
        }
        if socket.is_answered {
            return None;
        }
        let is_its = |id: &str, namespace: &str| {
            let recorded =
                self.survey.bundles.iter().any(|one| one.id == id && one.socket.as_ref() == Some(&socket.path));
            let namespace = if namespace.is_empty() { "k8s.io" } else { namespace };
            recorded || (self.socket_of)(namespace, id) == socket.path
        };
        let known = self.survey.known.iter().flat_map(|(namespace, all)| all.keys().map(move |id| (namespace, id)));
        if known.into_iter().any(|(namespace, id)| is_its(id, namespace)) {
            // Its shim has just died, or is just beginning.
            return None;
        }
        match self.owners.ids().find(|(id, owner)| is_its(id, &owner.containerd_namespace)) {
            Some((_, owner)) => Some(remove(thing, owner, "nobody listens there")),
            // Who was killed before containerd had heard of it is in no list.
            None if is_by_us(&socket.path) => {
                Some(remove(thing, &Owner { by: "name", ..Owner::default() }, "nobody listens there"))
            }
            None => {
                let reason = "unknown owner: shims of other runtimes and other containerds are here too";
                Some(keep(thing, &Owner::default(), "nobody listens there", reason))
            }
        }
    }

    fn bundle(&self, bundle: &Bundle) -> Option<Finding> {
        let serves = |process: &Process| bundle.socket.as_ref().is_some_and(|path| process.listens.contains(path));
        let healthy = self.survey.processes.iter().filter(|process| self.owners.healthy.contains(&process.pid));
        if !bundle.is_ours || self.survey.knows_in(&bundle.namespace, &bundle.id) || healthy.into_iter().any(serves) {
            return None;
        }
        let Bundle { path, inode, namespace, id, .. } = bundle.clone();
        let owner = self.owners.get(&id)?;
        let (thing, why) = (Thing::Bundle { path, inode, namespace, id }, "containerd does not know its container");
        // With a bundle goes all that is in the cgroups of its record.
        let mut strangers = bundle.cgroups.iter().filter_map(|path| self.stranger(&Path::new("/").join(path)));
        match strangers.next() {
            None => Some(remove(thing, owner, why)),
            Some(process) => {
                Some(keep(thing, owner, why, format!("process {} in its cgroup is no leftover", process.pid)))
            }
        }
    }

    fn entry(&self, entry: &Entry) -> Option<Finding> {
        let kept = &self.survey.kept;
        let is_taken = kept.taken.contains(&(entry.names.namespace.clone(), entry.names.name.clone()));
        let lives = kept.living.contains(&entry.names.uid) && !entry.names.uid.is_empty();
        let why = match entry.part {
            Part::Record | Part::Logs if lives => return None,
            Part::Record => "no pod has it: it never began, or its deletion was cut short",
            Part::Logs => "their pod was deleted",
            Part::Making => "a pod that was never made",
            Part::Removed => "its removal was cut short",
            Part::Unbegun => "a pod that was never begun",
            Part::Lock => "who had it has ended",
        };
        if is_taken {
            return None;
        }
        let thing = Thing::Kept { part: entry.part.kind(), path: entry.path.clone(), inode: entry.inode };
        Some(remove(thing, &Owner { pod: entry.names.clone(), by: "pod directory", ..Owner::default() }, why))
    }
}

/// Whether a socket is called as this project's shims call theirs.
fn is_by_us(socket: &Path) -> bool {
    socket.file_name().is_some_and(|name| name.to_string_lossy().starts_with(loment_shim::SOCKET_PREFIX))
}
