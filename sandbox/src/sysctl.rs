//! Names of kernel parameters, and which namespace has one of its own. proc_sys(5)

use std::path::{Path, PathBuf};

use nix::sched::CloneFlags;

/// Whose value it is that a parameter changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// That of each namespace of this kind.
    Namespace(CloneFlags),
    /// That of a UTS namespace, which sethostname(2) sets.
    HostName,
    /// The machine's.
    Machine,
}

/// Parameters of the IPC namespace. ipc_namespaces(7)
const IPC: &[&str] = &[
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
    "kernel/shm_rmid_forced",
];

/// The path below `/proc/sys` of a parameter; `None` for what would lead elsewhere.
///
/// As with sysctl(8), whichever of `.` and `/` comes first separates, and the other is then part of a name
/// (`net.ipv4.conf.eth0/1.forwarding`).
pub fn path(name: &str) -> Option<PathBuf> {
    let path = match name.find(['.', '/']).and_then(|first| name.as_bytes().get(first)) {
        Some(b'.') => {
            let swap = |character| match character {
                '.' => '/',
                '/' => '.',
                other => other,
            };
            name.chars().map(swap).collect()
        }
        _ => name.to_owned(),
    };
    let strange = |part: &str| part.is_empty() || part == "." || part == ".." || part.contains('\0');
    (!path.split('/').any(strange)).then(|| path.into())
}

/// Whose the parameter at a [`path`] is.
pub fn owner(path: &Path) -> Owner {
    match path {
        path if is_ipc(path) => Owner::Namespace(CloneFlags::CLONE_NEWIPC),
        path if path == Path::new("kernel/domainname") => Owner::Namespace(CloneFlags::CLONE_NEWUTS),
        path if path == Path::new("kernel/hostname") => Owner::HostName,
        path if path.starts_with("net") && path != Path::new("net") => Owner::Namespace(CloneFlags::CLONE_NEWNET),
        _ => Owner::Machine,
    }
}

/// Whether a path below `/proc/sys` belongs to the IPC namespace.
pub(crate) fn is_ipc(path: &Path) -> bool {
    path.starts_with("fs/mqueue") || IPC.iter().any(|known| path == Path::new(known))
}
