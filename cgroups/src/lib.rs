//! A container's and a pod's cgroup: make, limit, account, freeze, kill, remove.
//!
//! Everything goes through descriptors that are opened once: a [`Layout`] holds the mount points, a [`Cgroup`] its own
//! directories. Nothing here reads the mount table again, waits for an RCU grace period, or starts a thread.
//!
//! ```no_run
//! # fn main() -> loment_cgroups::Result<()> {
//! # let resources = oci_spec::runtime::LinuxResources::default();
//! let layout = loment_cgroups::Layout::detect()?;
//! let cgroup = loment_cgroups::Cgroup::create(&layout, "/loment/pod1/web".as_ref())?;
//! cgroup.apply(&resources)?;
//! let entry = cgroup.entry()?; // the child puts itself inside
//! cgroup.kill()?;
//! cgroup.remove()
//! # }
//! ```
//!
//! # Why not libcgroups
//!
//! It is the oracle of the tests. On the path of a start it costs more (`cargo bench -p loment-cgroups`; microseconds,
//! p50 of 200, 2 busy cores, Linux 6.18, hybrid with nine v1 mounts):
//!
//! | | here | libcgroups 0.7 |
//! |---|---|---|
//! | read the mounts | 47, once in a shim's life | 739 for each container: once for each controller |
//! | make the directories, open the `tasks` files | 199 | with the next |
//! | enter | 55, by the child itself | 336, and 10,000 more on a kernel that waits for an RCU grace period when an id is written to `cgroup.procs` |
//! | five limits and the devices | 61 | 87 |
//! | remove | 96 | 127 |
//! | statistics, first call | 259 (every field of containerd's message) | 165 |
//!
//! It also writes limits in a fixed order, so that an update can fail half way; it neither undoes a create that failed
//! nor removes cgroups that a container has made below; on v2 it leaves the device program to libbpf and fails all
//! statistics for one absent file.

mod cgroup;
mod controller;
mod create;
mod devices;
mod dir;
mod entry;
mod error;
mod freeze;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod hugetlb;
mod kill;
mod layout;
pub mod mountinfo;
mod nested;
mod occupants;
mod oom;
mod path;
mod plan;
mod pod;
mod procs;
mod rdma;
mod remove;
mod reset;
pub mod stats;
pub mod systemd;
mod tree;
mod usual;
mod v1;
mod v2;
#[cfg(test)]
mod v2_tests;

pub use crate::{
    cgroup::Cgroup,
    entry::{Entry, TasksFile},
    error::{Error, Result},
    layout::{Kind, Layout},
    oom::OomWatch,
    pod::Pod,
    stats::Stats,
    v2::weight_of_shares,
};
