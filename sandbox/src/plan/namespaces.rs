//! Which namespaces a container gets and which it joins.

use std::path::PathBuf;

use nix::sched::CloneFlags;
use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType};

use crate::{Error, Result};

/// A time namespace; nix has no name for it.
pub(crate) const NEWTIME: CloneFlags = CloneFlags::from_bits_retain(loment_sys::clone::NEWTIME as i32);

/// The namespaces of a container. What is named in neither is the caller's own.
#[derive(Debug, Clone)]
pub(crate) struct Namespaces {
    /// Made for it.
    pub(crate) new: CloneFlags,
    /// Joined, by path.
    pub(crate) join: Vec<(CloneFlags, PathBuf)>,
}

impl Namespaces {
    /// Whether the container has one of this kind that is named in the spec.
    pub(crate) fn has(&self, kind: CloneFlags) -> bool {
        self.new.contains(kind) || self.joins(kind)
    }

    /// Whether one of this kind is joined.
    pub(crate) fn joins(&self, kind: CloneFlags) -> bool {
        self.join.iter().any(|(joined, _)| *joined == kind)
    }

    /// A container's root is made in a mount namespace of its own: anything else would change the host's mounts.
    pub(crate) fn require_mount(&self) -> Result<()> {
        if self.new.contains(CloneFlags::CLONE_NEWNS) {
            return Ok(());
        }
        Err(Error::invalid("linux.namespaces", "mount", "must be new: a root cannot be made in somebody else's"))
    }
}

/// Checks `linux.namespaces`.
pub(crate) fn namespaces(list: &[LinuxNamespace]) -> Result<Namespaces> {
    let mut namespaces = Namespaces { new: CloneFlags::empty(), join: Vec::new() };
    for namespace in list {
        let kind = flag(namespace.typ());
        if namespaces.has(kind) {
            return Err(Error::invalid("linux.namespaces", namespace.typ(), "is given twice"));
        }
        match namespace.path().as_deref() {
            Some(path) if !path.as_os_str().is_empty() => {
                if !path.is_absolute() {
                    return Err(Error::invalid("linux.namespaces", path.display(), "is not an absolute path"));
                }
                namespaces.join.push((kind, path.to_owned()));
            }
            _ => namespaces.new |= kind,
        }
    }
    Ok(namespaces)
}

fn flag(kind: LinuxNamespaceType) -> CloneFlags {
    match kind {
        LinuxNamespaceType::Mount => CloneFlags::CLONE_NEWNS,
        LinuxNamespaceType::Cgroup => CloneFlags::CLONE_NEWCGROUP,
        LinuxNamespaceType::Uts => CloneFlags::CLONE_NEWUTS,
        LinuxNamespaceType::Ipc => CloneFlags::CLONE_NEWIPC,
        LinuxNamespaceType::Pid => CloneFlags::CLONE_NEWPID,
        LinuxNamespaceType::Network => CloneFlags::CLONE_NEWNET,
        LinuxNamespaceType::User => CloneFlags::CLONE_NEWUSER,
        LinuxNamespaceType::Time => NEWTIME,
    }
}
