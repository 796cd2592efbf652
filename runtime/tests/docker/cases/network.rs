//! Networks, and namespaces that containers share.

use std::{fs, process::Command};

use crate::{
    engine::{Case, Engine, answer, cases, eventually},
    lab::Lab,
};

pub(super) const CASES: &[Case<Lab>] = cases![
    containers_reach_each_other_over_the_bridge,
    a_container_has_no_network_or_the_hosts,
    a_container_joins_the_namespaces_of_another,
    the_hosts_namespaces_may_be_shared,
];

/// A web server with one page.
const SERVER: &str = "mkdir /www; echo page > /www/index.html; exec httpd -f -p 80 -h /www";

const BRIDGE: [&str; 2] = ["--network", "bridge"];

fn containers_reach_each_other_over_the_bridge(lab: &Lab) {
    lab.start("web", &[&BRIDGE[..], &["--publish", "127.0.0.1::80"]].concat(), SERVER);
    let address = lab.inspect("web", ".NetworkSettings.IPAddress");
    let ask = format!("wget -q -O - http://{address}/index.html");
    eventually("the page for a neighbour", || lab.run(&BRIDGE, &ask).out == "page\n");
    let published = lab.call(&["port", "web", "80/tcp"]).ok();
    for place in [address.as_str(), published.trim()] {
        let ask = ["wget", "-q", "-O", "-", &format!("http://{place}/index.html")];
        assert_eq!(answer(Command::new("/bin/busybox").args(ask).output().unwrap()).ok(), "page\n", "{place}");
    }
    lab.remove("web");
}

fn a_container_has_no_network_or_the_hosts(lab: &Lab) {
    assert_eq!(lab.run(&["--network", "none"], "ls /sys/class/net").ok(), "lo\n");
    let own = fs::read_link("/proc/self/ns/net").unwrap();
    let seen = lab.run(&["--network", "host"], "readlink /proc/self/ns/net").ok();
    assert_eq!(seen.trim(), own.to_str().unwrap());
    let script = "hostname; cat /proc/sys/net/ipv4/ip_unprivileged_port_start; grep -c 10.9.8.7 /etc/hosts";
    let flags =
        ["--hostname", "named", "--add-host", "x:10.9.8.7", "--sysctl", "net.ipv4.ip_unprivileged_port_start=77"];
    assert_eq!(lab.run(&[&BRIDGE[..], &flags].concat(), script).ok(), "named\n77\n1\n");
}

fn a_container_joins_the_namespaces_of_another(lab: &Lab) {
    lab.start("joined", &[&BRIDGE[..], &["--ipc", "shareable"]].concat(), SERVER);
    let flags = ["--network", "container:joined", "--pid", "container:joined", "--ipc", "container:joined"];
    let script =
        "for kind in net pid ipc; do for pid in 1 self; do readlink /proc/$pid/ns/$kind; done; done; cat /proc/1/comm";
    let seen = lab.run(&[&flags[..], &["--cap-add", "SYS_PTRACE"]].concat(), script).ok();
    let lines: Vec<_> = seen.lines().collect();
    assert!(lines.len() == 7 && lines[..6].chunks(2).all(|pair| pair[0] == pair[1]), "{seen}");
    assert_eq!(lines[6], "httpd");
    let ask = "wget -q -O - http://127.0.0.1/index.html";
    eventually("the neighbour's page", || lab.run(&flags, ask).out == "page\n");
    lab.remove("joined");
}

fn the_hosts_namespaces_may_be_shared(lab: &Lab) {
    let script = "for kind in pid ipc uts; do readlink /proc/self/ns/$kind; done";
    let seen = lab.run(&["--pid", "host", "--ipc", "host", "--uts", "host"], script).ok();
    let own = ["pid", "ipc", "uts"].map(|kind| fs::read_link(format!("/proc/self/ns/{kind}")).unwrap());
    assert_eq!(seen.lines().collect::<Vec<_>>(), own.each_ref().map(|link| link.to_str().unwrap()));
    let other = lab.run(&[], script).ok();
    assert!(other.lines().zip(seen.lines()).all(|(other, own)| other != own), "{other}");
}
