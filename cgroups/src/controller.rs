//! The controllers of both cgroup versions.

/// One controller. The names are v1's; v2's `io` is [`Controller::Blkio`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Controller {
    Cpu,
    Cpuacct,
    Cpuset,
    Memory,
    Devices,
    Freezer,
    Blkio,
    Pids,
    Hugetlb,
    NetCls,
    NetPrio,
    PerfEvent,
    Rdma,
    Misc,
}

impl Controller {
    const ALL: [(Self, &'static str); 15] = [
        (Self::Cpu, "cpu"),
        (Self::Cpuacct, "cpuacct"),
        (Self::Cpuset, "cpuset"),
        (Self::Memory, "memory"),
        (Self::Devices, "devices"),
        (Self::Freezer, "freezer"),
        (Self::Blkio, "blkio"),
        (Self::Blkio, "io"),
        (Self::Pids, "pids"),
        (Self::Hugetlb, "hugetlb"),
        (Self::NetCls, "net_cls"),
        (Self::NetPrio, "net_prio"),
        (Self::PerfEvent, "perf_event"),
        (Self::Rdma, "rdma"),
        (Self::Misc, "misc"),
    ];

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, n)| *n == name).map(|(c, _)| *c)
    }

    pub(crate) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(c, _)| *c == self).map_or("", |(_, n)| n)
    }
}

/// A set of controllers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Controllers(u16);

impl Controllers {
    pub(crate) fn insert(&mut self, controller: Controller) {
        self.0 |= 1 << controller as u16;
    }

    pub(crate) fn contains(self, controller: Controller) -> bool {
        self.0 & (1 << controller as u16) != 0
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<Controller> for Controllers {
    fn from_iter<T: IntoIterator<Item = Controller>>(controllers: T) -> Self {
        let mut set = Self::default();
        controllers.into_iter().for_each(|c| set.insert(c));
        set
    }
}
