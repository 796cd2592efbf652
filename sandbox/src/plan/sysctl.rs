//! Kernel parameters that belong to a namespace. Any other would be the host's.

use std::path::{Path, PathBuf};

use super::namespaces::Namespaces;
use crate::{
    Error, Result,
    sysctl::{self, Owner},
};

/// One parameter.
#[derive(Debug, Clone)]
pub(crate) struct Sysctl {
    /// As the spec writes it, for messages.
    pub(crate) name: String,
    /// Below `/proc/sys`.
    pub(crate) path: PathBuf,
    pub(crate) value: String,
}

impl Sysctl {
    /// Whether it belongs to the network namespace.
    pub(crate) fn is_network(&self) -> bool {
        self.path.starts_with("net")
    }

    /// Whether it belongs to the UTS namespace.
    pub(crate) fn is_name(&self) -> bool {
        self.path == Path::new("kernel/domainname")
    }

    /// Whether it belongs to the IPC namespace.
    pub(crate) fn is_ipc(&self) -> bool {
        sysctl::is_ipc(&self.path)
    }
}

/// Checks `linux.sysctl`.
pub(crate) fn sysctls<'a>(
    parameters: impl Iterator<Item = (&'a String, &'a String)>,
    namespaces: &Namespaces,
) -> Result<Vec<Sysctl>> {
    parameters.map(|(name, value)| sysctl(name, value, namespaces)).collect()
}

fn sysctl(name: &str, value: &str, namespaces: &Namespaces) -> Result<Sysctl> {
    let refuse = |reason: &str| Err(Error::invalid("linux.sysctl", format!("{name:?}"), reason));
    let Some(path) = sysctl::path(name) else { return refuse("is not the name of a kernel parameter") };
    match sysctl::owner(&path) {
        Owner::Namespace(kind) if namespaces.has(kind) => {}
        Owner::Namespace(_) => return refuse("needs its namespace in linux.namespaces: it would change the host"),
        Owner::HostName => return refuse("is set by the field hostname"),
        Owner::Machine => return refuse("belongs to no namespace: it would change the host"),
    }
    Ok(Sysctl { name: name.to_owned(), path, value: value.to_owned() })
}

#[cfg(test)]
mod tests {
    use nix::sched::CloneFlags;

    use super::*;

    fn check(name: &str, new: CloneFlags) -> Result<Sysctl> {
        sysctl(name, "1", &Namespaces { new, join: Vec::new() })
    }

    #[test]
    fn both_spellings_of_a_name_are_understood() {
        for name in ["net.ipv4.conf.eth0/1.forwarding", "net/ipv4/conf/eth0.1/forwarding"] {
            let sysctl = check(name, CloneFlags::CLONE_NEWNET).unwrap();
            assert_eq!(sysctl.path, PathBuf::from("net/ipv4/conf/eth0.1/forwarding"));
        }
    }

    #[test]
    fn what_belongs_to_the_host_is_refused() {
        let all = CloneFlags::all();
        for name in ["kernel.panic", "vm.swappiness", "kernel.hostname", "net..x", "net.ipv4//../x", "", "net"] {
            assert!(check(name, all).is_err(), "{name}");
        }
        assert!(check("net.ipv4.ip_forward", CloneFlags::empty()).is_err());
        assert!(check("kernel.shmmax", CloneFlags::CLONE_NEWNET).is_err());
        assert!(check("fs.mqueue.msg_max", CloneFlags::CLONE_NEWIPC).is_ok());
    }
}
