//! Commands in namespaces.

use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{KINDS, Lab, inode, links, namespaces, sleeping_in, wait_for};

#[test]
fn one_shares_what_was_chosen_and_nothing_else() {
    let lab = Lab::new("join");
    let made = namespaces(&lab.json("create some --net --ipc --uts"));
    let seen = |words: &str| {
        let mut command = lab.command(&format!("{words} -- sh -c"));
        let output = command.arg("readlink /proc/self/ns/*").output().unwrap();
        assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
        links(&String::from_utf8(output.stdout).unwrap())
    };
    for (words, shared) in [
        ("exec some", ["net", "ipc", "uts"].as_slice()),
        ("join some --only net,ipc", &["net", "ipc"]),
        ("join some --only network", &["net"]),
        ("join some --without net", &["ipc", "uts"]),
    ] {
        let seen = seen(words);
        for kind in KINDS {
            let expected = if shared.contains(&kind) { made.get(kind).copied() } else { inode("self", kind) };
            assert_eq!(seen.get(kind).copied(), expected, "{words}: {kind}");
        }
    }
    assert!(lab.refused("join some --only pid -- true").0.contains("say one of ipc,net,uts"));
}

#[test]
fn one_joins_a_process_like_a_sandbox() {
    let lab = Lab::new("process");
    let made = namespaces(&lab.json("create one --net --uts"));
    let _stays = lab.stay("exec one -- sleep 1000", made["net"]);
    let pid = sleeping_in(made["net"]).unwrap();
    let seen = links(&lab.run(&format!("join {pid} --only uts -- readlink /proc/self/ns/uts /proc/self/ns/net")));
    assert_eq!(seen.get("uts"), made.get("uts"));
    assert_eq!(seen.get("net").copied(), inode("self", "net"));
}

#[test]
fn a_command_ends_as_its_program_ends() {
    let lab = Lab::new("status");
    for kinds in ["--uts", "--uts --pid"] {
        lab.run(&format!("create s {kinds}"));
        for (program, status) in [("true", 0), ("false", 1), ("/nonexistent", 127), ("/etc", 126)] {
            assert_eq!(lab.output(&format!("exec s -- {program}")).status.code(), Some(status), "{kinds} {program}");
        }
        lab.run("rm s");
    }
    lab.run("create s --pid");
    let killed = lab.command("exec s -- sh -c").arg("kill -KILL $$").status().unwrap();
    assert_eq!(killed.code(), Some(137));
}

#[test]
fn a_signal_to_the_command_is_one_to_its_program() {
    let lab = Lab::new("signal");
    let made = namespaces(&lab.json("create s --pid --net"));
    let mut waits = lab.command("exec s -- sh -c");
    let script = "trap 'echo told; exit 7' TERM; sleep 1000 & wait";
    let mut waits = waits.arg(script).stdout(Stdio::piped()).spawn().unwrap();
    wait_for("the program", || sleeping_in(made["net"]).is_some());
    kill(Pid::from_raw(i32::try_from(waits.id()).unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(waits.wait().unwrap().code(), Some(7));
    lab.run("rm --force s");
    lab.is_gone();
}

#[test]
fn without_the_first_process_a_pid_namespace_takes_nobody() {
    let lab = Lab::new("first");
    let record = lab.json("create s --pid");
    let holder = i32::try_from(record["holder"].as_i64().unwrap()).unwrap();
    kill(Pid::from_raw(holder), Signal::SIGKILL).unwrap();
    wait_for("its end", || inode(holder, "pid").is_none());
    let (said, _) = lab.refused("exec s -- true");
    assert!(said.contains("its first process has ended"), "{said}");
    lab.run("rm s");
    lab.is_gone();
}

#[test]
fn root_of_a_sandbox_with_users_is_a_user_of_the_machine() {
    let lab = Lab::new("users");
    lab.run("create s --user --uts --map 0:200000:1000");
    assert_eq!(lab.run("exec s -- id -u"), "0\n");
    let map = lab.run("exec s -- cat /proc/self/uid_map /proc/self/gid_map");
    let numbers: Vec<&str> = map.split_ascii_whitespace().collect();
    assert_eq!(numbers, ["0", "200000", "1000", "0", "200000", "1000"]);
}

/// A shell that has unshared so, with a user namespace that is younger than the others and forbids setgroups(2).
#[test]
fn a_process_whose_users_are_younger_than_its_other_namespaces_is_joined() {
    let lab = Lab::new("younger");
    let made = namespaces(&lab.json("create outer --net --uts"));
    let mut stays = lab.command("exec outer -- unshare --map-root-user sleep 1000").spawn().unwrap();
    wait_for("the command in the sandbox", || sleeping_in(made["net"]).is_some());
    let pid = sleeping_in(made["net"]).unwrap();
    let seen = links(&lab.run(&format!("exec {pid} -- readlink /proc/self/ns/user /proc/self/ns/net")));
    assert_eq!(seen.get("net"), made.get("net"));
    assert_eq!(seen.get("user").copied(), inode(pid, "user"));
    assert_eq!(lab.run(&format!("exec {pid} -- id -u")), "0\n");
    stays.kill().unwrap();
    stays.wait().unwrap();
}
