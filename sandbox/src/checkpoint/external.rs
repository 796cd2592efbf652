//! Mounts of a container that come from outside: CRIU neither keeps nor makes them, and is told of both sides.

use std::path::{Path, PathBuf};

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
            Source::Cgroup => {
                return Err(Error::invalid(
                    "mounts",
                    place(mount).display(),
                    "shows cgroups, which cannot be restored",
                ));
            }
            Source::Filesystem { .. } | Source::Overlay { .. } | Source::Remount => {}
        }
    }
    Ok(externals)
}

/// Paths that the host's /dev/null covers if they exist and are no directories.
pub(super) fn maskable(plan: &Plan) -> Vec<PathBuf> {
    plan.view.masked.iter().map(|path| Path::new("/").join(path)).collect()
}

/// Refuses what CRIU cannot bring back as it was, or what nobody has seen it do.
pub(super) fn check(plan: &Plan, spec: &Spec) -> Result<()> {
    use nix::sched::CloneFlags;
    if let Some((_, path)) = plan.namespaces.join.first() {
        return Err(Error::invalid(
            "linux.namespaces",
            path.display(),
            "is shared with others: only a container whose namespaces are all its own can be checkpointed and restored",
        ));
    }
    let all = [
        (CloneFlags::CLONE_NEWPID, "pid"),
        (CloneFlags::CLONE_NEWNET, "network"),
        (CloneFlags::CLONE_NEWIPC, "ipc"),
        (CloneFlags::CLONE_NEWUTS, "uts"),
    ];
    if let Some((_, name)) = all.iter().find(|(kind, _)| !plan.namespaces.new.contains(*kind)) {
        return Err(Error::invalid(
            "linux.namespaces",
            name,
            "is the host's: only a container whose namespaces are all its own can be checkpointed and restored",
        ));
    }
    let other = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWCGROUP | NEWTIME;
    if plan.namespaces.new.intersects(other) {
        let reason = "cannot be checkpointed and restored yet";
        return Err(Error::invalid("linux.namespaces", "user, time or cgroup", reason));
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
