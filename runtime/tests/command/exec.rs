//! Another program in a container.

use std::{fs, io::Write, process::Stdio};

use serde_json::json;

use crate::support::{Bundle, eventually};

#[test]
fn an_exec_has_its_own_streams_and_exit_status() {
    let bundle = Bundle::new("exec sleep 1000");
    bundle.start("c");
    let mut command = bundle.command(&["exec", "c", "sh", "-c", "cat; echo error >&2; exit 5"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"through\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"through\n"[..], &b"error\n"[..]));
    assert_eq!(bundle.call(&["exec", "c", "sh", "-c", "kill -9 $$"]).status, 137);
    bundle.delete("c");
}

#[test]
fn an_exec_runs_as_the_flags_say() {
    let bundle = Bundle::new("exec sleep 1000");
    bundle.start("c");
    let flags = ["--user", "5:6", "--additional-gids", "7", "--env", "A=b", "--cwd", "/tmp", "--no-new-privs"];
    let script = "id -u; id -g; id -G; echo $A; pwd; grep NoNew /proc/self/status";
    let seen = bundle.call(&[&["exec"], &flags[..], &["c", "sh", "-c", script]].concat()).ok();
    assert_eq!(seen, "5\n6\n6 7\nb\n/tmp\nNoNewPrivs:\t1\n");
    assert!(bundle.call(&["exec", "--user", "root", "c", "true"]).refused().contains("number"));
    assert!(bundle.call(&["exec", "--cgroup", "x", "c", "true"]).refused().contains("--cgroup"));
    bundle.delete("c");
}

#[test]
fn an_added_capability_is_there_and_not_inheritable() {
    let bundle = Bundle::new("exec sleep 1000");
    bundle.start("c");
    let sets = |flags: &[&str]| {
        let status = bundle.call(&[&["exec"], flags, &["c", "grep", "^Cap", "/proc/self/status"]].concat()).ok();
        let sets = status.lines().map(|line| u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap());
        sets.collect::<Vec<_>>()
    };
    let before = sets(&[]);
    let after = sets(&["--cap", "CAP_NET_ADMIN"]);
    let admin = 1 << 12;
    assert!(before.iter().all(|set| set & admin == 0));
    assert_eq!(after, [0, before[1] | admin, before[2] | admin, before[3] | admin, 0]);
    assert!(bundle.call(&["exec", "--cap", "CAP_FLY", "c", "true"]).refused().contains("CAP_FLY"));
    bundle.delete("c");
}

#[test]
fn an_exec_may_be_described_by_a_file_and_left_alone() {
    let bundle = Bundle::new("exec sleep 1000");
    bundle.start("c");
    let process = json!({ "cwd": "/tmp", "user": { "uid": 0, "gid": 0 }, "env": ["PATH=/bin"],
        "args": ["sh", "-c", "echo done > /dev/shm/file; exec sleep 1000"] });
    fs::write(bundle.path.join("process.json"), process.to_string()).unwrap();
    let args = ["exec", "--process", "process.json", "--detach", "--pid-file", "exec-pid", "c"];
    assert!(bundle.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    let pid: i32 = fs::read_to_string(bundle.path.join("exec-pid")).unwrap().parse().unwrap();
    let pids: Vec<i32> = serde_json::from_str(&bundle.call(&["ps", "--format", "json", "c"]).ok()).unwrap();
    assert!(pids.contains(&pid) && pids.contains(&bundle.pid("c")), "{pid} in {pids:?}");
    let written = || (bundle.call(&["exec", "c", "cat", "/dev/shm/file"]).out == "done\n").then_some(());
    eventually(written, "what the detached program writes");
    bundle.delete("c");
}

#[test]
fn an_exec_that_cannot_be_says_why() {
    let bundle = Bundle::new("exec sleep 1000");
    assert!(bundle.call(&["exec", "c", "true"]).refused().contains("does not exist"));
    bundle.start("c");
    let answer = bundle.call(&["exec", "c", "nope"]);
    assert_eq!(answer.status, 255);
    assert!(answer.err.contains("executable file not found in $PATH"), "{}", answer.err);
    assert!(bundle.call(&["exec", "c"]).refused().contains("no program"));
    bundle.call(&["kill", "c", "KILL"]).ok();
    bundle.wait_until("c", "stopped");
    assert!(bundle.call(&["exec", "c", "true"]).refused().contains("stopped"));
    bundle.call(&["delete", "c"]).ok();
}

#[test]
fn an_exec_into_a_paused_container_waits_if_it_is_told_to() {
    let bundle = Bundle::new("exec sleep 1000");
    bundle.start("c");
    bundle.call(&["pause", "c"]).ok();
    let mut command = bundle.command(&["exec", "--ignore-paused", "c", "echo", "late"]);
    let child = command.stdout(Stdio::piped()).spawn().unwrap();
    bundle.call(&["resume", "c"]).ok();
    assert_eq!(child.wait_with_output().unwrap().stdout, b"late\n");
    bundle.delete("c");
}

#[test]
fn the_profile_of_the_container_holds_for_an_exec() {
    let mut bundle = Bundle::new("exec sleep 1000");
    bundle.config["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": [],
        "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95 }] });
    bundle.start("c");
    let answer = bundle.call(&["exec", "c", "mkdir", "/dev/shm/x"]);
    assert!(answer.status == 1 && answer.err.contains("not supported"), "{}", answer.err);
    bundle.delete("c");
}
