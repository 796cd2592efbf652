//! Network devices of the host in a container.

use std::{fs::File, os::fd::AsFd, process::Command, thread, time::Duration};

use nix::sched::{CloneFlags, setns, unshare};
use serde_json::json;

use crate::support::*;

pub(crate) const TESTS: &[(&str, fn())] = tests![
    a_device_moves_into_the_container_with_its_addresses,
    a_name_may_be_left_to_the_kernel,
    a_device_that_cannot_move_leaves_the_others_where_they_were,
    a_device_does_not_move_where_everybody_is,
    a_holder_may_have_devices,
];

/// Runs a test in a network namespace of our own: the host's devices are not touched.
fn elsewhere(test: impl FnOnce()) {
    let home = File::open("/proc/self/ns/net").unwrap();
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    test();
    setns(home.as_fd(), CloneFlags::CLONE_NEWNET).unwrap();
}

fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split(' ')).output().expect("iproute2 must be installed");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Two devices, one of them with addresses.
fn pair() {
    ip("link add left type veth peer name right");
    ip("link set left mtu 1400 address 02:00:00:00:00:07");
    ip("addr add 10.9.8.7/24 broadcast 10.9.8.255 dev left");
    ip("addr add 10.9.7.7 peer 10.9.7.1/32 dev left");
    ip("addr add fd00::7/64 dev left nodad");
    ip("link set left up");
}

fn a_device_moves_into_the_container_with_its_addresses() {
    elsewhere(|| {
        pair();
        let mut bundle = Bundle::new("ip addr show dev eth7; ip -o link | wc -l");
        bundle.spec["linux"]["netDevices"] = json!({"left": {"name": "eth7"}});
        let text = bundle.output();
        let has = [
            "mtu 1400",
            "link/ether 02:00:00:00:00:07",
            "inet 10.9.8.7/24 brd 10.9.8.255 scope global",
            "inet 10.9.7.7 peer 10.9.7.1/32",
            "inet6 fd00::7/64 scope global",
            ",UP",
        ];
        for has in has {
            assert!(text.contains(has), "{has}: {text}");
        }
        assert!(text.ends_with("\n2\n"), "{text}");
    });
}

fn a_name_may_be_left_to_the_kernel() {
    elsewhere(|| {
        pair();
        let mut bundle = Bundle::new("ip -o link show dev net0; ip -o link show dev net1");
        bundle.spec["linux"]["netDevices"] = json!({"left": {"name": "net%d"}, "right": {"name": "net%d"}});
        let text = bundle.output();
        assert!(text.contains("net0") && text.contains("net1") && text.matches(",UP").count() == 2, "{text}");
    });
}

fn a_device_that_cannot_move_leaves_the_others_where_they_were() {
    elsewhere(|| {
        pair();
        // The kernel finds out a while later that nobody is at the other end.
        while !ip("addr show dev left").contains("NO-CARRIER") {
            thread::sleep(Duration::from_millis(10));
        }
        let before = ip("addr");
        let mut bundle = Bundle::new("true");
        bundle.spec["linux"]["netDevices"] = json!({"left": {}, "missing": {"name": "eth0"}});
        let error = bundle.refused();
        let expected = "linux.netDevices: find device missing (eth0 in the container): No such device";
        assert!(error.starts_with(expected), "{error}");
        bundle.spec["linux"]["netDevices"] = json!({"left": {"name": "eth0"}, "right": {"name": "eth0"}});
        let error = bundle.refused();
        assert!(error.contains("move device right") && error.contains("is the name taken there?"), "{error}");
        bundle.spec["linux"]["netDevices"] = json!({"left": {"name": "eth0"}, "lo": {"name": "eth1"}});
        assert!(bundle.refused().contains("move device lo"), "{}", bundle.refused());
        // Numbers, and link-local addresses and their age, are the kernel's.
        let lasting = |text: &str| {
            let lines = text.lines().filter(|line| !line.contains("fe80") && !line.contains("valid_lft"));
            lines.map(|line| line.split_once(": ").map_or(line, |(_, rest)| rest).to_owned()).collect::<Vec<_>>()
        };
        let (mut before, mut after) = (lasting(&before), lasting(&ip("addr")));
        before.sort();
        after.sort();
        assert_eq!(after, before);
    });
}

fn a_device_does_not_move_where_everybody_is() {
    elsewhere(|| {
        pair();
        let mut bundle = Bundle::new("true");
        bundle.spec["linux"]["netDevices"] = json!({"left": {"name": "eth0"}});
        let namespaces = bundle.spec["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "network");
        assert!(bundle.refused().contains("linux.netDevices: needs a network namespace"));
        let namespaces = bundle.spec["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.push(json!({"type": "network", "path": "/proc/self/ns/net"}));
        assert!(bundle.refused().contains("linux.netDevices: needs a network namespace that is not the host's"));
        assert!(ip("link").contains("left"));
    });
}

fn a_holder_may_have_devices() {
    elsewhere(|| {
        pair();
        let mut bundle = Bundle::new("true");
        bundle.role = loment_sandbox::container::Role::Holder;
        bundle.spec["linux"]["netDevices"] = json!({"left": {"name": "eth0"}});
        let running = bundle.started();
        let path = format!("/proc/{}/ns/net", running.0.init().pid());
        let mut guest = Bundle::new("ip -o link show dev eth0");
        let namespaces = guest.spec["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "network");
        namespaces.push(json!({"type": "network", "path": path}));
        assert!(guest.output().contains(",UP"));
    });
}
