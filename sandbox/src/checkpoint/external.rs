//! Mounts of a container that come from outside: CRIU neither keeps nor makes them, and is told of both sides.

use std::path::{Path, PathBuf};

use nix::sched::CloneFlags;
use oci_spec::runtime::Spec;

use crate::{
    Error, Result,
    plan::{
        Plan,
        mounts::{MountPlan, Source},
        namespaces::NEWTIME,
    },
};

/// A mount that comes from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct External {
    /// Where it is in the container.
    pub(super) target: PathBuf,
    /// What of the host it is.
    pub(super) source: PathBuf,
}

/// Volumes.
pub(super) fn mounts(plan: &Plan) -> Result<Vec<External>> {
    let mut externals = Vec::new();
    for mount in &plan.view.mounts {
        match &mount.source {
            Source::Bind { path, .. } => externals.push(External { target: place(mount), source: text(path)?.into() }),
            // What it sees of its cgroups depends on the machine: see `Outside`.
            Source::Cgroup | Source::Filesystem { .. } | Source::Overlay { .. } | Source::Remount => {}
        }
    }
    Ok(externals)
}

/// Paths that the host's /dev/null covers if they exist and are no directories.
pub(super) fn maskable(plan: &Plan) -> Vec<PathBuf> {
    plan.view.masked.iter().map(|path| Path::new("/").join(path)).collect()
}

/// CRIU's name for a network namespace that comes from outside.
pub(super) const NETWORK: &str = "loment-network";

/// Namespaces that CRIU can be given: a pod's.
const JOINABLE: [(CloneFlags, &str); 3] =
    [(CloneFlags::CLONE_NEWNET, "net"), (CloneFlags::CLONE_NEWIPC, "ipc"), (CloneFlags::CLONE_NEWUTS, "uts")];

/// Where the network namespace comes from, if it comes from outside.
pub(super) fn network(plan: &Plan) -> Option<&Path> {
    let mut joins = plan.namespaces.join.iter();
    joins.find(|(kind, _)| *kind == CloneFlags::CLONE_NEWNET).map(|(_, path)| path.as_path())
}

/// The other namespaces that come from outside, by CRIU's names.
pub(super) fn joined(plan: &Plan) -> impl Iterator<Item = (&'static str, &Path)> {
    plan.namespaces.join.iter().filter_map(|(kind, path)| {
        let (_, name) = JOINABLE.iter().find(|(joinable, _)| joinable == kind)?;
        (*kind != CloneFlags::CLONE_NEWNET).then_some((*name, path.as_path()))
    })
}

/// Refuses what CRIU cannot bring back as it was, or what nobody has seen it do.
pub(super) fn check(plan: &Plan, spec: &Spec) -> Result<()> {
    let refuse = |namespace: &dyn std::fmt::Display, reason: &str| {
        Err(Error::invalid(
            "linux.namespaces",
            namespace,
            format!("{reason}: such a container cannot be checkpointed and restored"),
        ))
    };
    let is_joinable = |kind: CloneFlags| JOINABLE.iter().any(|(joinable, _)| *joinable == kind);
    if let Some((_, path)) = plan.namespaces.join.iter().find(|(kind, _)| !is_joinable(*kind)) {
        return refuse(&path.display(), "is shared with others");
    }
    if !plan.namespaces.new.contains(CloneFlags::CLONE_NEWPID) {
        return refuse(&"pid", "is the host's");
    }
    if plan.namespaces.new.intersects(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWCGROUP | NEWTIME) {
        return refuse(&"user, time or cgroup", "is its own");
    }
    let seccomp = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    if let Some(agent) = seccomp.and_then(|profile| profile.listener_path().as_ref()) {
        // Its listener would have to be handed over once more.
        let reason = "cannot be checkpointed and restored yet";
        return Err(Error::invalid("linux.seccomp.listenerPath", agent.display(), reason));
    }
    if let Some(device) = plan.net_devices.first() {
        return Err(Error::invalid("linux.netDevices", &device.name, "cannot be checkpointed and restored yet"));
    }
    let terminal = spec.process().as_ref().and_then(oci_spec::runtime::Process::terminal).unwrap_or(false);
    match terminal {
        true => Err(Error::invalid("process.terminal", "true", "cannot be checkpointed and restored yet")),
        false => Ok(()),
    }
}

fn place(mount: &MountPlan) -> PathBuf {
    Path::new("/").join(&mount.target)
}

fn text(path: &std::ffi::CStr) -> Result<&str> {
    path.to_str().map_err(|_| Error::invalid("mounts.source", path.to_string_lossy(), "is not UTF-8"))
}
