//! Sandboxes made and removed.

use std::fs;
use std::process::{Child, Output, Stdio};

use crate::support::{KINDS, Lab, inode, is_pin_of, links, members, namespaces};

const ALL: &str = "create all --net --ipc --uts --pid --user --time --cgroup --mount";

#[test]
fn a_sandbox_of_all_kinds_is_what_commands_in_it_are_in_and_is_gone_when_it_is_removed() {
    let lab = Lab::new("all");
    let record = lab.json(ALL);
    let made = namespaces(&record);
    assert_eq!(made.len(), KINDS.len());
    for kind in KINDS {
        assert_ne!(made.get(kind).copied(), inode("self", kind), "{kind} is this machine's");
    }
    let inside = lab.command("exec all -- sh -c").arg("readlink /proc/self/ns/*").output().unwrap();
    assert_eq!(links(&String::from_utf8(inside.stdout).unwrap()), made);
    let listed = lab.json("ls");
    for (kind, inode) in &made {
        let found =
            listed["namespaces"].as_array().unwrap().iter().find(|one| one["type"] == **kind && one["inode"] == *inode);
        let found = found.unwrap_or_else(|| panic!("{kind}:[{inode}] is not listed"));
        assert_eq!(found["whose"], serde_json::json!(["all"]), "{kind}");
        assert!(
            found["holders"].as_array().unwrap().iter().any(|one| is_pin_of(&one["path"], &lab, "all", kind)),
            "{kind}"
        );
        // The user namespace belongs to this machine's, all others to it.
        let owner = if kind == "user" { super::support::inode("self", "user") } else { made.get("user").copied() };
        assert_eq!(found["owner"].as_u64(), owner, "{kind}");
    }
    let holder = record["holder"].as_i64().unwrap();
    assert_eq!(members("pid", made["pid"]), [i32::try_from(holder).unwrap()]);
    lab.run("rm all");
    lab.is_gone();
}

#[test]
fn a_sandbox_without_a_pid_namespace_has_no_process() {
    let lab = Lab::new("still");
    let made = namespaces(&lab.json("create still --net --ipc --uts --time --cgroup --mount"));
    for (kind, inode) in &made {
        assert_eq!(members(kind, *inode), Vec::<i32>::new(), "{kind}");
    }
    assert_eq!(lab.holders("still/net").len(), 1);
    lab.run("rm still");
    lab.is_gone();
}

#[test]
fn host_name_and_parameters_are_the_sandboxs_and_the_machine_keeps_its_own() {
    let lab = Lab::new("own");
    let before =
        (fs::read("/proc/sys/kernel/hostname").unwrap(), fs::read("/proc/sys/net/ipv4/ip_default_ttl").unwrap());
    for user in ["", " --user"] {
        lab.run(&format!(
            "create own --net --ipc --uts --hostname inside --sysctl net.ipv4.ip_default_ttl=77 --sysctl kernel.shmmni=99{user}"
        ));
        let seen = lab
            .run("exec own -- cat /proc/sys/kernel/hostname /proc/sys/net/ipv4/ip_default_ttl /proc/sys/kernel/shmmni");
        assert_eq!(seen, "inside\n77\n99\n");
        lab.run("rm own");
    }
    let after =
        (fs::read("/proc/sys/kernel/hostname").unwrap(), fs::read("/proc/sys/net/ipv4/ip_default_ttl").unwrap());
    assert_eq!(before, after);
}

#[test]
fn clocks_of_a_sandbox_are_as_far_ahead_as_was_said() {
    /// In hundredths of a second, as the kernel writes them: no fraction is lost.
    const AHEAD: u64 = 8_640_000;
    let uptime = |text: &str| text.split(' ').next().unwrap().replace('.', "").parse::<u64>().unwrap();
    let here = || uptime(&fs::read_to_string("/proc/uptime").unwrap());
    let lab = Lab::new("clocks");
    for more in ["", " --pid", " --user", " --user --pid --mount"] {
        let record = lab.json(&format!("create late --time --monotonic -1 --boottime 86400{more}"));
        assert_eq!(record["clocks"], serde_json::json!({ "boottime": 86400, "monotonic": -1 }), "{more}");
        let before = here();
        let there = uptime(&lab.run("exec late -- cat /proc/uptime"));
        let after = here();
        assert!((before + AHEAD..=after + AHEAD).contains(&there), "{more}: {before} {there} {after}");
        let offsets = lab.run("exec late -- cat /proc/self/timens_offsets");
        let words: Vec<&str> = offsets.split_ascii_whitespace().collect();
        assert_eq!(words, ["monotonic", "-1", "0", "boottime", "86400", "0"], "{more}");
        lab.run("rm late");
    }
    let (said, _) = lab.refused("create early --time --boottime -999999999999");
    assert!(said.starts_with("error: set the clocks") && said.contains("may fall below 0"), "{said}");
    lab.is_gone();
}

#[test]
fn a_parameter_that_the_kernel_refuses_leaves_no_sandbox() {
    let lab = Lab::new("refused");
    let (said, status) = lab.refused("create bad --net --pid --mount --sysctl net.ipv4.ip_default_ttl=many");
    assert!(said.starts_with("error: set kernel parameter net.ipv4.ip_default_ttl to \"many\""), "{said}");
    assert_eq!(status, Some(1));
    lab.is_gone();
}

#[test]
fn of_commands_that_make_one_sandbox_at_once_one_makes_it() {
    let lab = Lab::new("once");
    let making =
        || lab.command("create once --net --pid").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let all: Vec<Child> = std::iter::repeat_with(making).take(6).collect();
    let outputs: Vec<Output> = all.into_iter().map(|one| one.wait_with_output().unwrap()).collect();
    let (made, refused): (Vec<_>, Vec<_>) = outputs.iter().partition(|output| output.status.success());
    assert_eq!(made.len(), 1, "{outputs:?}");
    assert!(
        refused.iter().all(|one| String::from_utf8_lossy(&one.stderr).contains("loment ns rm once")),
        "{refused:?}"
    );
    // And what was refused has changed nothing: it is whole, and goes as a whole.
    lab.run("exec once -- true");
    lab.run("rm once");
    lab.is_gone();
}

#[test]
fn mounts_of_a_sandbox_are_its_own_and_show_no_pins() {
    let lab = Lab::new("mounts");
    lab.run("create other --net");
    lab.run("create own --mount --pid");
    lab.run("exec own -- mount -t tmpfs inside /mnt");
    assert!(lab.run("exec own -- cat /proc/self/mountinfo").contains(" - tmpfs inside "));
    assert!(!fs::read_to_string("/proc/self/mountinfo").unwrap().contains(" - tmpfs inside "));
    assert!(!lab.run("exec own -- cat /proc/self/mountinfo").contains(lab.pins.to_str().unwrap()));
    // Its /proc has its own processes.
    assert_eq!(lab.run("exec own -- cat /proc/1/comm"), "pause\n");
    lab.run("rm own other");
    lab.is_gone();
}

#[test]
fn a_sandbox_in_use_is_removed_by_force_alone() {
    let lab = Lab::new("used");
    let made = namespaces(&lab.json("create used --net --pid"));
    let mut used = lab.stay("exec used -- sleep 1000", made["net"]);
    let (said, _) = lab.refused("rm used");
    assert!(
        said.contains("(sleep)") && said.ends_with("loment ns rm --force used") && said.lines().count() == 1,
        "{said}"
    );
    lab.run("rm --force used");
    // The end of a pid namespace is the end of all in it.
    assert_eq!(used.0.wait().unwrap().code(), Some(137));
    lab.is_gone();
}

#[test]
fn wrong_use_ends_with_one_line_that_says_what_to_type_instead() {
    let lab = Lab::new("wrong");
    for (words, told) in [
        ("exec none -- true", "loment ns create none"),
        ("rm none", "there is no sandbox \"none\""),
        ("rm ../x", "no name of a sandbox"),
        ("why 77", "loment ns ls"),
        ("why nonsense", "4711/net"),
        ("diff self none", "loment ns create none"),
        ("map none", "loment ns map"),
        ("join self -- true", "--only net,ipc"),
        ("create a", "--net --ipc --uts"),
    ] {
        let (said, status) = lab.refused(words);
        let last = said.lines().last().unwrap_or_default();
        assert!(last.starts_with("error: ") && last.contains(told), "{words}: {said}");
        assert_eq!(status, Some(1), "{words}");
    }
    lab.run("create twice --uts");
    assert!(lab.refused("create twice --uts").0.contains("loment ns rm twice"));
    lab.run("rm twice");
    lab.is_gone();
}
