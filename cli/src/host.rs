//! What is read from the machine before a pod is lowered.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::{fs, path::Path, thread};

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
        memory: total_memory(&text("/proc/meminfo")),
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

/// Bytes of memory, from `MemTotal` in proc_meminfo(5).
fn total_memory(meminfo: &str) -> i64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or_default();
    let kibibytes: i64 = line.trim().trim_end_matches("kB").trim().parse().unwrap_or(0);
    kibibytes.saturating_mul(1024)
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
        assert_eq!(total_memory("MemTotal:       16384 kB\nMemFree: 1 kB\n"), 16 << 20);
        assert_eq!(total_memory(""), 0);
    }
}
