//! Who is in which namespace: pods, sandboxes and the rest of the machine, with what they share.

pub(crate) mod dot;
pub(crate) mod svg;
pub(crate) mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::kind::{Id, Kind};
use super::survey::{Process, Set, Survey};
use super::whose::{self, Whose};

/// Everybody, and what of it is drawn.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Map {
    /// What is drawn.
    pub(crate) groups: Vec<Group>,
    /// What is not, and may share something with it.
    beside: Vec<Group>,
    /// The namespaces of this command, which are the machine's as a rule.
    pub(crate) machine: Set,
}

/// A pod, a sandbox, a container of which no more is known, or all others.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Group {
    pub(crate) kind: What,
    pub(crate) name: String,
    pub(crate) units: Vec<Unit>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum What {
    Pod,
    Sandbox,
    Container,
    Machine,
}

impl What {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::Sandbox => "sandbox",
            Self::Container => "container",
            Self::Machine => "machine",
        }
    }
}

/// Processes of one container, all in the same namespaces.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Unit {
    pub(crate) name: String,
    pub(crate) namespaces: Set,
    /// Pid and name.
    pub(crate) processes: Vec<(i32, String)>,
    /// The cgroups that they are in, if those are the container's own: one path, or one in each hierarchy.
    pub(crate) cgroups: BTreeSet<PathBuf>,
    pub(crate) usage: Option<Usage>,
}

/// What a cgroup has used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Nanoseconds.
    pub(crate) cpu: u64,
    /// Bytes.
    pub(crate) memory: u64,
    pub(crate) tasks: u64,
}

impl Usage {
    pub(crate) fn tasks_in_words(self) -> String {
        if self.tasks == 1 { "1 task".to_owned() } else { format!("{} tasks", self.tasks) }
    }
}

impl Map {
    pub(crate) fn of(survey: &Survey) -> Self {
        let mut groups: BTreeMap<(What, String), Vec<Unit>> = BTreeMap::new();
        // Of this command nobody wants to know.
        let own = i32::try_from(std::process::id()).unwrap_or_default();
        for process in survey.processes.iter().filter(|process| process.pid != own) {
            let (key, name) = place(survey, process);
            add(groups.entry(key).or_default(), name, process, whose::own_cgroups(survey, process));
        }
        for (name, set) in sandboxes(survey) {
            let units = groups.entry((What::Sandbox, name)).or_default();
            if units.is_empty() {
                units.push(Unit { name: "pins".to_owned(), namespaces: set, ..Unit::default() });
            }
        }
        let groups = groups.into_iter().map(|((kind, name), units)| Group { kind, name, units }).collect();
        Self { groups, beside: Vec::new(), machine: survey.own.clone() }
    }

    /// Only these groups are drawn.
    pub(crate) fn only(mut self, is_meant: impl Fn(&Group) -> bool) -> Self {
        let (groups, beside) = self.groups.into_iter().partition(is_meant);
        self.groups = groups;
        self.beside.extend(beside);
        self
    }

    /// Every unit that is drawn, with its group.
    pub(crate) fn units(&self) -> impl Iterator<Item = (&Group, &Unit)> {
        self.groups.iter().flat_map(|group| group.units.iter().map(move |unit| (group, unit)))
    }

    pub(crate) fn is_machines(&self, id: Id) -> bool {
        self.machine.get(&id.kind) == Some(&id.inode)
    }

    /// How many units that are drawn are in each namespace.
    pub(crate) fn members(&self) -> BTreeMap<Id, usize> {
        let mut found = BTreeMap::new();
        for (&kind, &inode) in self.units().flat_map(|(_, unit)| &unit.namespaces) {
            *found.entry(Id { kind, inode }).or_default() += 1;
        }
        found
    }

    /// The other groups that have a share in a namespace that is not the machine's, drawn or not.
    pub(crate) fn sharers(&self, id: Id, group: &Group) -> BTreeSet<String> {
        if self.is_machines(id) {
            return BTreeSet::new();
        }
        let all = self.groups.iter().chain(&self.beside);
        let others = all.filter(|other| (other.kind, &other.name) != (group.kind, &group.name));
        let is_in = |unit: &Unit| unit.namespaces.get(&id.kind) == Some(&id.inode);
        others.filter(|other| other.units.iter().any(is_in)).map(Group::title).collect()
    }
}

impl Group {
    /// `pod shop/web`, `sandbox lab`, `this machine`.
    pub(crate) fn title(&self) -> String {
        match self.kind {
            What::Machine => "this machine".to_owned(),
            kind => format!("{} {}", kind.word(), self.name),
        }
    }
}

impl Unit {
    /// Its name, if that says more than the names of its processes.
    pub(crate) fn title(&self) -> &str {
        let is_told = self.processes.first().is_some_and(|(_, name)| *name == self.name);
        if is_told { "" } else { &self.name }
    }

    pub(crate) fn id(&self, kind: Kind) -> Option<Id> {
        self.namespaces.get(&kind).map(|&inode| Id { kind, inode })
    }
}

/// The group of a process, and its unit's name there.
fn place(survey: &Survey, process: &Process) -> ((What, String), String) {
    match whose::of_process(survey, process) {
        Some(Whose::Pod { namespace, pod, container }) => {
            let name = if container.is_empty() { "sandbox".to_owned() } else { container };
            ((What::Pod, format!("{namespace}/{pod}")), name)
        }
        Some(Whose::Shim { namespace, pod }) => ((What::Pod, format!("{namespace}/{pod}")), "shim".to_owned()),
        Some(Whose::Sandbox(name)) => ((What::Sandbox, name), process.name.clone()),
        Some(whose @ Whose::Id(_)) => ((What::Container, whose.to_string()), process.name.clone()),
        None => ((What::Machine, String::new()), String::new()),
    }
}

fn add(units: &mut Vec<Unit>, name: String, process: &Process, cgroups: BTreeSet<PathBuf>) {
    let entry = (process.pid, process.name.clone());
    match units.iter_mut().find(|unit| unit.name == name && unit.namespaces == process.namespaces) {
        Some(unit) => unit.processes.push(entry),
        None => units.push(Unit {
            name,
            namespaces: process.namespaces.clone(),
            processes: vec![entry],
            cgroups,
            usage: None,
        }),
    }
}

/// Those that are pinned, with what they have: where they have nothing of their own, they have what this command has.
fn sandboxes(survey: &Survey) -> BTreeMap<String, Set> {
    let mut found: BTreeMap<String, Set> = BTreeMap::new();
    for pin in survey.pins.iter().filter(|pin| pin.elsewhere.is_none()) {
        let Some(Whose::Sandbox(name)) = whose::of_pin(survey, &pin.at) else { continue };
        found.entry(name).or_insert_with(|| survey.own.clone()).insert(pin.namespace.kind, pin.namespace.inode);
    }
    found
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::survey::{Container, Pin};
    use super::*;

    /// Two pods, `a` with two containers and `b` with one, which share an IPC namespace; a sandbox; a process of the machine.
    pub(crate) fn survey() -> Survey {
        let set = |net, ipc, pid| Set::from([(Kind::Net, net), (Kind::Ipc, ipc), (Kind::Pid, pid)]);
        let process = |pid: i32, name: &str, cgroup: &str, namespaces: Set| Process {
            pid,
            name: name.into(),
            namespaces,
            cgroups: [cgroup.into()].into(),
            ..Process::default()
        };
        let container =
            |pod: &str, name: &str| Container { namespace: "shop".into(), pod: pod.into(), name: name.into() };
        Survey {
            own: set(1, 2, 3),
            processes: vec![
                process(1, "init", "/", set(1, 2, 3)),
                process(10, "web", "/k/a1", set(11, 12, 13)),
                process(11, "web", "/k/a1", set(11, 12, 13)),
                process(12, "log <&>", "/k/a2", set(11, 12, 14)),
                process(20, "db", "/k/b1", set(21, 12, 23)),
            ],
            containers: [
                ("a1".to_owned(), container("a", "app")),
                ("a2".to_owned(), container("a", "sidecar")),
                ("b1".to_owned(), container("b", "db")),
            ]
            .into(),
            pins: vec![Pin {
                namespace: Id { kind: Kind::Net, inode: 31 },
                at: "/lab/mine/net".into(),
                elsewhere: None,
            }],
            lab: "/lab".into(),
            ..Survey::default()
        }
    }

    #[test]
    fn pods_sandboxes_and_the_machine_are_told_apart() {
        let map = Map::of(&survey());
        let titles: Vec<String> = map.groups.iter().map(Group::title).collect();
        assert_eq!(titles, ["pod shop/a", "pod shop/b", "sandbox mine", "this machine"]);
        let units: Vec<(&str, usize)> =
            map.units().map(|(_, unit)| (unit.name.as_str(), unit.processes.len())).collect();
        assert_eq!(units, [("app", 2), ("sidecar", 1), ("db", 1), ("pins", 0), ("", 1)]);
    }

    #[test]
    fn what_is_shared_beyond_a_pod_is_known() {
        let map = Map::of(&survey());
        let ipc = Id { kind: Kind::Ipc, inode: 12 };
        assert_eq!(map.sharers(ipc, &map.groups[0]), ["pod shop/b".to_owned()].into());
        assert_eq!(map.sharers(Id { kind: Kind::Net, inode: 11 }, &map.groups[0]), BTreeSet::new());
        assert_eq!(map.members()[&ipc], 3);
        let alone = map.clone().only(|group| group.name == "shop/a");
        assert_eq!(alone.sharers(ipc, &alone.groups[0]), ["pod shop/b".to_owned()].into());
        assert!(map.is_machines(Id { kind: Kind::Ipc, inode: 2 }) && !map.is_machines(ipc));
    }
}
