//! What containerd and the shims use themselves: information, no leftovers. proc_pid_smaps_rollup(5)

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use super::survey::{Process, Survey};

/// What one process uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) pid: i32,
    /// `containerd`, or the shim's id.
    pub(crate) name: String,
    pub(crate) pod: String,
    /// Open descriptors.
    pub(crate) descriptors: usize,
    /// Its own pages and its share of those that others have too, in KiB.
    pub(crate) memory_kib: u64,
}

/// containerd, then each shim. One that has ended meanwhile is left out.
pub(crate) fn read(survey: &Survey) -> Vec<Usage> {
    let containerd =
        listener(Path::new(&survey.address)).and_then(|pid| of(pid, "containerd".to_owned(), "-".to_owned()));
    let is_shim = |process: &&Process| process.claim.is_some() && process.mounts == survey.own_mounts;
    let shims = survey.processes.iter().filter(is_shim).filter_map(|process| {
        let claim = process.claim.as_ref()?;
        let names = survey.known.get(&claim.namespace).and_then(|known| known.get(&claim.id)).cloned();
        let owner = super::finding::Owner { pod: names.unwrap_or_default(), ..Default::default() };
        of(process.pid, claim.id.clone(), owner.pod())
    });
    containerd.into_iter().chain(shims).collect()
}

/// Who listens on a socket.
pub(crate) fn listener(socket: &Path) -> Option<i32> {
    let connection = UnixStream::connect(socket).ok()?;
    getsockopt(&connection, PeerCredentials).ok().map(|peer| peer.pid()).filter(|pid| *pid > 0)
}

/// What one process uses, while it is there.
pub(crate) fn of(pid: i32, name: String, pod: String) -> Option<Usage> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
    let memory_kib = proportional(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?)?;
    Some(Usage { pid, name, pod, descriptors, memory_kib })
}

fn proportional(rollup: &str) -> Option<u64> {
    rollup.lines().find_map(|line| line.strip_prefix("Pss:")?.split_ascii_whitespace().next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_the_proportional_part() {
        assert_eq!(proportional("0-1 ---p [rollup]\nRss: 9 kB\nPss:   410 kB\nPss_Dirty: 2 kB\n"), Some(410));
        assert_eq!(proportional("Rss: 9 kB"), None);
    }

    #[test]
    fn this_process_uses_something() {
        let own = i32::try_from(std::process::id()).unwrap();
        let used = of(own, String::new(), String::new()).unwrap();
        assert!(used.descriptors > 2 && used.memory_kib > 0);
    }
}
