//! Descriptors that keep a namespace: of the namespace itself, and sockets of a network. proc_pid_fd(5)

use std::fs;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use loment_sys::{namespace, pidfd};

use super::super::kind::{Id, Kind};
use super::super::survey::Descriptor;
use super::Looker;
use super::link::{id_of, open_namespace};

/// The lowest inode that a namespace has (`PROC_IPC_INIT_INO` and its neighbours, `linux/proc_ns.h`).
const LOWEST: u64 = 0xefff_ff00;

impl Looker {
    pub(super) fn descriptors(&mut self, pid: i32, directory: &Path) -> Vec<Descriptor> {
        // Those of this command are nobody's reason.
        if u32::try_from(pid) == Ok(std::process::id()) {
            return Vec::new();
        }
        let process = if self.sockets { pidfd::open(pid).ok() } else { None };
        let mut found = Vec::new();
        for entry in fs::read_dir(directory.join("fd")).into_iter().flatten().flatten() {
            let Some(number) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let Ok(target) = fs::read_link(entry.path()) else { continue };
            let target = target.to_string_lossy();
            let namespace = if target.starts_with('/') {
                self.opened_by_a_pin(&entry.path(), &directory.join(format!("fdinfo/{number}")))
            } else {
                Id::parse(&target)
            };
            if let Some(namespace) = namespace {
                self.seen(namespace, entry.path());
                found.push(Descriptor { number, namespace, is_socket: false });
            } else if let Some(process) = process.as_ref().filter(|_| target.starts_with("socket:[")) {
                let namespace = self.network_of(process.as_fd(), number);
                found.extend(namespace.map(|namespace| Descriptor { number, namespace, is_socket: true }));
            }
        }
        found
    }

    /// The namespace that a descriptor is of whose link names a place: who opens a pin has that for ever. proc_pid_fdinfo(5)
    /// has the inode (Linux 5.14) without asking the file system, which may be one that does not answer.
    fn opened_by_a_pin(&self, descriptor: &Path, page: &Path) -> Option<Id> {
        let page = fs::read_to_string(page).ok()?;
        let inode: u64 = page.lines().find_map(|line| line.strip_prefix("ino:")?.trim().parse().ok())?;
        if inode < LOWEST || fs::metadata(descriptor).ok()?.dev() != self.device {
            return None;
        }
        let namespace = open_namespace(descriptor).ok()?;
        let kind = Kind::of_flag(namespace::kind(namespace.as_fd()).ok()?)?;
        id_of(namespace.as_fd(), kind).ok()
    }

    fn network_of(&mut self, process: BorrowedFd<'_>, number: i32) -> Option<Id> {
        let network = namespace::of_socket(pidfd::get_fd(process, number).ok()?.as_fd()).ok()?;
        let id = id_of(network.as_fd(), Kind::Net).ok()?;
        if !self.places.contains_key(&id) && self.held.iter().all(|(held, _)| *held != id) {
            self.held.push((id, network));
        }
        Some(id)
    }
}
