//! The kinds of namespaces, and one namespace. namespaces(7)

use std::fmt;

use clap::ValueEnum;
use nix::sched::CloneFlags;

/// In the order in which they have to be joined: whoever is root of the user namespace may join the others, and after the
/// mount namespace paths are others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Kind {
    User,
    Cgroup,
    Ipc,
    #[value(alias = "network")]
    Net,
    Pid,
    Time,
    Uts,
    #[value(name = "mnt", alias = "mount")]
    Mount,
}

impl Kind {
    pub(crate) const ALL: [Self; 8] =
        [Self::User, Self::Cgroup, Self::Ipc, Self::Net, Self::Pid, Self::Time, Self::Uts, Self::Mount];

    /// Those of which a process has one for its children, which may be another than its own.
    pub(crate) const FOR_CHILDREN: [Self; 2] = [Self::Pid, Self::Time];

    /// As procfs calls it.
    pub(crate) fn file(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Cgroup => "cgroup",
            Self::Ipc => "ipc",
            Self::Net => "net",
            Self::Pid => "pid",
            Self::Time => "time",
            Self::Uts => "uts",
            Self::Mount => "mnt",
        }
    }

    /// What there is of its own in one, in a word or two.
    pub(crate) fn subject(self) -> &'static str {
        match self {
            Self::User => "users, groups",
            Self::Cgroup => "view of cgroups",
            Self::Ipc => "shared memory",
            Self::Net => "network",
            Self::Pid => "processes",
            Self::Time => "clocks",
            Self::Uts => "host name",
            Self::Mount => "mounts",
        }
    }

    pub(crate) fn of_file(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.file() == name)
    }

    pub(crate) fn of_flag(flag: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.flag().bits() == flag)
    }

    pub(crate) fn flag(self) -> CloneFlags {
        match self {
            Self::User => CloneFlags::CLONE_NEWUSER,
            Self::Cgroup => CloneFlags::CLONE_NEWCGROUP,
            Self::Ipc => CloneFlags::CLONE_NEWIPC,
            Self::Net => CloneFlags::CLONE_NEWNET,
            Self::Pid => CloneFlags::CLONE_NEWPID,
            // nix has no name for it.
            Self::Time => CloneFlags::from_bits_retain(loment_sys::clone::NEWTIME as i32),
            Self::Uts => CloneFlags::CLONE_NEWUTS,
            Self::Mount => CloneFlags::CLONE_NEWNS,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.file())
    }
}

/// One namespace. The kernel gives the inode of one that is gone to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id {
    pub(crate) kind: Kind,
    pub(crate) inode: u64,
}

impl Id {
    /// As the kernel writes it in links of procfs and in mountinfo: `net:[4026531833]`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(":[")?;
        let inode = rest.strip_suffix(']')?.parse().ok()?;
        Some(Self { kind: Kind::of_file(kind)?, inode })
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}:[{}]", self.kind, self.inode))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_written_as_the_kernel_writes_it() {
        for kind in Kind::ALL {
            let id = Id { kind, inode: 4_026_531_833 };
            assert_eq!(Id::parse(&id.to_string()), Some(id));
            assert_eq!(Kind::of_flag(kind.flag().bits()), Some(kind));
            let own = std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
            assert_eq!(Id::parse(own.to_str().unwrap()).map(|id| id.kind), Some(kind));
        }
        for text in ["socket:[7]", "net:[]", "net:[-1]", "net:7", "pipe", "net:[7] "] {
            assert_eq!(Id::parse(text), None, "{text}");
        }
    }
}
