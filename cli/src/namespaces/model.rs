//! Every namespace of the machine, with what keeps it: a function of a [`Survey`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::kind::{Id, Kind};
use super::survey::{Process, Relations, Survey};

/// Inodes below are those of namespaces that the kernel has made for itself (`PROC_DYNAMIC_FIRST`, `linux/proc_ns.h`).
const FIRST_MADE: u64 = 0xf000_0000;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Namespace {
    pub(crate) id: Id,
    /// `None`: nothing of it could be opened.
    pub(crate) relations: Option<Relations>,
    pub(crate) holders: Vec<Holder>,
    /// Seconds since the oldest process that is in it started. (The kernel keeps no time for the namespace itself.)
    pub(crate) age: Option<u64>,
}

/// Something without which the namespace would be gone, were it the only one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// It is the kernel's own and never ends.
    Kernel,
    Process(i32),
    /// A thread that is somewhere else than its process.
    Thread {
        pid: i32,
        tid: i32,
    },
    /// The next child of this process is born in it.
    ForChildren(i32),
    Descriptor {
        pid: i32,
        number: i32,
    },
    /// A socket of this network.
    Socket {
        pid: i32,
        number: i32,
    },
    Pin {
        at: PathBuf,
        elsewhere: Option<(i32, String)>,
    },
    /// One that was made in it.
    Child(Id),
    /// One whose owner it is.
    Owned(Id),
}

impl Holder {
    /// The process by which it holds.
    pub(crate) fn pid(&self) -> Option<i32> {
        match self {
            Self::Process(pid) | Self::ForChildren(pid) => Some(*pid),
            Self::Thread { pid, .. } | Self::Descriptor { pid, .. } | Self::Socket { pid, .. } => Some(*pid),
            Self::Kernel | Self::Pin { .. } | Self::Child(_) | Self::Owned(_) => None,
        }
    }

    /// In one word.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Process(_) => "process",
            Self::Thread { .. } => "thread",
            Self::ForChildren(_) => "for-children",
            Self::Descriptor { .. } => "descriptor",
            Self::Socket { .. } => "socket",
            Self::Pin { .. } => "pin",
            Self::Child(_) => "child",
            Self::Owned(_) => "owned",
        }
    }
}

/// All of them, by kind and inode.
pub(crate) fn namespaces(survey: &Survey) -> BTreeMap<Id, Namespace> {
    let mut found: BTreeMap<Id, Vec<Holder>> = BTreeMap::new();
    for id in
        survey.relations.keys().chain(&survey.own.iter().map(|(&kind, &inode)| Id { kind, inode }).collect::<Vec<_>>())
    {
        let kernels = if id.inode < FIRST_MADE { vec![Holder::Kernel] } else { Vec::new() };
        found.insert(*id, kernels);
    }
    for (id, holder) in survey.processes.iter().flat_map(of_process) {
        found.entry(id).or_default().push(holder);
    }
    for pin in &survey.pins {
        let holder = Holder::Pin { at: pin.at.clone(), elsewhere: pin.elsewhere.clone() };
        found.entry(pin.namespace).or_default().push(holder);
    }
    for (&id, relations) in &survey.relations {
        if let Some(parent) = relations.parent {
            found.entry(Id { kind: id.kind, inode: parent }).or_default().push(Holder::Child(id));
        }
        // The owner of a user namespace is its parent.
        if let Some(owner) = relations.owner.filter(|_| id.kind != Kind::User) {
            found.entry(Id { kind: Kind::User, inode: owner }).or_default().push(Holder::Owned(id));
        }
    }
    let namespace = |(id, holders): (Id, Vec<Holder>)| {
        let age = age(survey, &holders);
        (id, Namespace { id, relations: survey.relations.get(&id).copied(), holders, age })
    };
    found.into_iter().map(namespace).collect()
}

fn of_process(process: &Process) -> Vec<(Id, Holder)> {
    let pid = process.pid;
    let id = |(&kind, &inode): (&Kind, &u64)| Id { kind, inode };
    let members = process.namespaces.iter().map(id).map(|id| (id, Holder::Process(pid)));
    let children = process.for_children.iter().map(id).map(|id| (id, Holder::ForChildren(pid)));
    let threads = process
        .threads
        .iter()
        .flat_map(|(&tid, set)| set.iter().map(id).map(move |id| (id, Holder::Thread { pid, tid })));
    // A process that is in a network does not keep it more by having sockets there.
    let is_news = |one: &&super::survey::Descriptor| {
        !one.is_socket || process.namespaces.get(&Kind::Net) != Some(&one.namespace.inode)
    };
    let descriptors = process.descriptors.iter().filter(is_news).map(|one| {
        let number = one.number;
        let holder = if one.is_socket { Holder::Socket { pid, number } } else { Holder::Descriptor { pid, number } };
        (one.namespace, holder)
    });
    members.chain(threads).chain(children).chain(descriptors).collect()
}

fn age(survey: &Survey, holders: &[Holder]) -> Option<u64> {
    let members: BTreeSet<i32> = holders
        .iter()
        .filter_map(|holder| match holder {
            Holder::Process(pid) => Some(*pid),
            _ => None,
        })
        .collect();
    let starts = survey.processes.iter().filter(|one| members.contains(&one.pid)).map(|one| one.start_time);
    Some(survey.now.saturating_sub(starts.min()?) / survey.ticks.max(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::survey::{Descriptor, Pin};
    use super::*;

    const MADE: u64 = FIRST_MADE + 100;

    fn net(inode: u64) -> Id {
        Id { kind: Kind::Net, inode }
    }

    fn process(pid: i32, network: u64) -> Process {
        Process { pid, namespaces: [(Kind::Net, network)].into(), start_time: 100, ..Process::default() }
    }

    fn holders(survey: &Survey, id: Id) -> Vec<Holder> {
        namespaces(survey).remove(&id).map(|one| one.holders).unwrap_or_default()
    }

    #[test]
    fn each_way_to_keep_a_namespace_is_told() {
        let sockets = |inode| Descriptor { number: 4, namespace: net(inode), is_socket: true };
        let mut holding = process(7, 1);
        holding.threads = [(8, [(Kind::Net, MADE)].into())].into();
        holding.descriptors = vec![Descriptor { number: 3, namespace: net(MADE), is_socket: false }, sockets(MADE)];
        let mut member = process(9, MADE);
        member.descriptors = vec![sockets(MADE)];
        let pin = Pin { namespace: net(MADE), at: "/pin".into(), elsewhere: None };
        let survey = Survey { processes: vec![holding, member], pins: vec![pin], ..Survey::default() };
        let expected = [
            Holder::Thread { pid: 7, tid: 8 },
            Holder::Descriptor { pid: 7, number: 3 },
            Holder::Socket { pid: 7, number: 4 },
            Holder::Process(9),
            Holder::Pin { at: "/pin".into(), elsewhere: None },
        ];
        assert_eq!(holders(&survey, net(MADE)), expected);
    }

    #[test]
    fn a_user_namespace_is_kept_by_what_belongs_to_it() {
        let user = |inode| Id { kind: Kind::User, inode };
        let of = |owner, parent| Relations { owner: Some(owner), parent, maker: None };
        let relations = BTreeMap::from([
            (net(MADE), of(MADE + 1, None)),
            (user(MADE + 1), of(5, Some(5))),
            (user(5), Relations::default()),
        ]);
        let survey = Survey { relations, ..Survey::default() };
        assert_eq!(holders(&survey, user(MADE + 1)), [Holder::Owned(net(MADE))]);
        assert_eq!(holders(&survey, user(5)), [Holder::Kernel, Holder::Child(user(MADE + 1))]);
    }

    #[test]
    fn the_age_is_that_of_the_oldest_process_in_it() {
        let young = Process { start_time: 900, ..process(9, MADE) };
        let survey = Survey { processes: vec![young, process(7, MADE)], now: 1100, ticks: 100, ..Survey::default() };
        assert_eq!(namespaces(&survey)[&net(MADE)].age, Some(10));
    }

    proptest! {
        #[test]
        fn every_namespace_of_every_process_is_there_and_held(networks in proptest::collection::vec(1u64..9, 1..20)) {
            let processes: Vec<Process> = (1..).zip(&networks).map(|(pid, net)| process(pid, FIRST_MADE + net)).collect();
            let survey = Survey { processes, ..Survey::default() };
            let all = namespaces(&survey);
            let held: usize = all.values().map(|one| one.holders.len()).sum();
            prop_assert_eq!(held, networks.len());
            prop_assert_eq!(all.len(), networks.iter().collect::<BTreeSet<_>>().len());
        }
    }
}
