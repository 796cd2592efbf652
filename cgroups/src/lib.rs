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
//! It is the oracle of the tests. On the path of a start it costs ten times as much (`cargo bench -p loment-cgroups`;
//! microseconds, p50, 2 cores, Linux 6.18): it reads the mount table once for each controller, makes the directories
//! and moves a process by writing its id to `cgroup.procs`, which waits for an RCU grace period; it writes limits in a
//! fixed order, so that an update can fail half way; it neither undoes a create that failed nor removes cgroups that
//! a container has made; and on v2 it leaves the device program to libbpf and fails all statistics for one absent file.

mod cgroup;
mod controller;
mod create;
mod devices;
mod dir;
mod error;
mod freeze;
mod hugetlb;
mod kill;
mod layout;
mod mountinfo;
mod oom;
mod path;
mod plan;
mod procs;
mod rdma;
mod remove;
pub mod stats;
mod tree;
mod v1;
mod v2;
#[cfg(test)]
mod v2_tests;

pub use crate::{
    cgroup::{Cgroup, Entry, TasksFile},
    error::{Error, Result},
    layout::{Kind, Layout},
    oom::OomWatch,
    stats::Stats,
};
