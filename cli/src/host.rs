//! What is read from the machine before a pod is lowered.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::{fs, path::Path, thread};

use nix::sys::statvfs::statvfs;

use crate::lower::Host;

/// Where systemd-resolved keeps the servers behind its own stub, which listens on a loopback address that no pod reaches.
const BEHIND_THE_STUB: &str = "/run/systemd/resolve/resolv.conf";

/// Reads the machine. What cannot be read is left empty: a pod may not need it.
pub(crate) fn read() -> Host {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    Host {
        name: text("/proc/sys/kernel/hostname").trim().to_owned(),
        addresses: addresses(),
        resolv_conf: resolv_conf(text("/etc/resolv.conf"), || fs::read_to_string(BEHIND_THE_STUB).ok()),
        hosts: text("/etc/hosts"),
        processors: thread::available_parallelism().map_or(1, |number| i64::try_from(number.get()).unwrap_or(i64::MAX)),
        memory: in_bytes(&text("/proc/meminfo"), "MemTotal:"),
        storage: storage(),
        swap: in_bytes(&text("/proc/meminfo"), "SwapTotal:") > 0,
        huge_pages: huge_pages(Path::new("/sys/kernel/mm/hugepages")),
        unified: Path::new("/sys/fs/cgroup/cgroup.controllers").exists(),
    }
}

/// The addresses that packets to the outside would carry. Connecting a datagram socket sends nothing.
fn addresses() -> Vec<String> {
    let routes: [(IpAddr, &str); 2] = [
        (Ipv4Addr::UNSPECIFIED.into(), "192.0.2.1:9"),     // TEST-NET-1, RFC 5737
        (Ipv6Addr::UNSPECIFIED.into(), "[2001:db8::1]:9"), // documentation prefix, RFC 3849
    ];
    let local = |(from, to): &(IpAddr, &str)| {
        let socket = UdpSocket::bind((*from, 0)).ok()?;
        socket.connect(to).ok()?;
        Some(socket.local_addr().ok()?.ip().to_string())
    };
    let found: Vec<String> = routes.iter().filter_map(local).collect();
    if found.is_empty() { vec![Ipv4Addr::LOCALHOST.to_string()] } else { found }
}

fn resolv_conf(text: String, behind_the_stub: impl FnOnce() -> Option<String>) -> String {
    let mut servers = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver")).peekable();
    let only_loopback = servers.peek().is_some()
        && servers.all(|server| server.trim().parse::<IpAddr>().is_ok_and(|address| address.is_loopback()));
    if only_loopback { behind_the_stub().unwrap_or(text) } else { text }
}

/// A line of proc_meminfo(5) in bytes; 0 when it is not there.
fn in_bytes(meminfo: &str, name: &str) -> i64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let kibibytes: i64 = line.trim().trim_end_matches("kB").trim().parse().unwrap_or(0);
    kibibytes.saturating_mul(1024)
}

/// Bytes of the disk on which pods live.
fn storage() -> i64 {
    let Ok(found) = statvfs("/var/lib") else { return 0 };
    i64::try_from(u128::from(found.blocks()) * u128::from(found.fragment_size())).unwrap_or(i64::MAX)
}

/// The sizes of which the machine has pages, or may make some: directories `hugepages-2048kB` of sysfs.
fn huge_pages(directory: &Path) -> Vec<i64> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let size = |entry: fs::DirEntry| {
        let any = ["nr_hugepages", "nr_overcommit_hugepages"]
            .iter()
            .any(|file| fs::read_to_string(entry.path().join(file)).is_ok_and(|number| number.trim() != "0"));
        let kibibytes: i64 =
            entry.file_name().to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        any.then_some(kibibytes.saturating_mul(1024))
    };
    let mut sizes: Vec<i64> = entries.filter_map(size).collect();
    sizes.sort_unstable();
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stub_resolver_is_replaced_by_the_servers_behind_it() {
        let behind = || Some("nameserver 192.0.2.1\n".to_owned());
        assert_eq!(resolv_conf("nameserver 127.0.0.53\n".into(), behind), "nameserver 192.0.2.1\n");
        assert_eq!(resolv_conf("nameserver 127.0.0.53\n".into(), || None), "nameserver 127.0.0.53\n");
        let mixed = "nameserver 127.0.0.1\nnameserver 192.0.2.7\n";
        assert_eq!(resolv_conf(mixed.into(), behind), mixed);
        assert_eq!(resolv_conf(String::new(), behind), "");
    }

    #[test]
    fn memory_is_read_in_bytes() {
        assert_eq!(in_bytes("MemTotal:       16384 kB\nMemFree: 1 kB\n", "MemTotal:"), 16 << 20);
        assert_eq!(in_bytes("", "MemTotal:"), 0);
    }
}
