//! A container's and a pod's cgroup: make, limit, account, freeze, kill, remove.
//!
//! Everything goes through descriptors that are opened once: a [`Layout`] holds the mount points, a [`Cgroup`] its own
//! directories. Nothing here reads the mount table again, waits for an RCU grace period, or starts a thread.

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

pub use crate::{
    cgroup::{Cgroup, Entry, TasksFile},
    error::{Error, Result},
    layout::{Kind, Layout},
    oom::OomWatch,
    stats::Stats,
};
