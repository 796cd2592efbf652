//! Another process in a container.

use std::os::fd::AsFd;

use loment_sandbox::container::Io;
use nix::{
    libc::SIGKILL,
    poll::{PollFd, PollFlags, poll},
};
use serde_json::{Value, json};

use crate::support::*;

pub(crate) const TESTS: &[(&str, fn())] = tests![
    an_exec_has_an_exit_code_and_output,
    an_exec_is_in_all_namespaces_of_its_container,
    an_exec_sees_the_containers_files_and_no_others,
    an_exec_has_only_its_standard_streams,
    what_an_exec_leaves_open_is_as_for_init,
    what_an_exec_says_is_its_own,
    an_exec_with_a_terminal_has_its_size,
    an_exec_of_nothing_is_told_apart_from_one_that_is_forbidden,
    an_exec_in_an_ended_container_is_refused,
    an_exec_that_is_dropped_leaves_nothing,
    an_exec_ends_with_its_container,
    an_exec_that_its_container_stops_keeps_nobody_waiting,
];

fn sleeper() -> Bundle {
    Bundle::new("sleep 100")
}

fn process(args: &[&str]) -> Value {
    json!({"args": args, "cwd": "/", "user": {}, "env": [PATH]})
}

fn an_exec_has_an_exit_code_and_output() {
    let bundle = sleeper();
    let running = bundle.started();
    assert_eq!(running.exec("echo out; exit 9"), (9, "out\n".into()));
    assert_eq!(running.exec("kill -9 $$").0, 128 + 9);
}

fn an_exec_is_in_all_namespaces_of_its_container() {
    let mut bundle = sleeper();
    bundle.spec["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "cgroup"}));
    let running = bundle.started();
    let pid = running.0.init().pid();
    for kind in ["pid", "ipc", "uts", "mnt", "net", "cgroup", "user"] {
        let (_, text) = running.exec(&format!("readlink /proc/self/ns/{kind}"));
        assert_eq!(text.trim(), namespace(pid, kind), "{kind}");
    }
    assert_eq!(namespace("self", "pid"), namespace("self", "pid_for_children"), "the runtime has come back");
}

fn an_exec_sees_the_containers_files_and_no_others() {
    let bundle = sleeper();
    let running = bundle.started();
    let (_, text) = running.exec("ls -d /proc/1/root/work; ls /; ls -d /usr /home");
    assert!(text.starts_with("/proc/1/root/work\nbin\ndev\netc\nproc\nsys\ntmp\nwork\n"), "{text}");
    assert_eq!(text.matches("No such file").count(), 2, "{text}");
}

fn an_exec_has_only_its_standard_streams() {
    let bundle = sleeper();
    let running = bundle.started();
    assert_eq!(running.exec("ls /proc/self/fd").1, "0\n1\n2\n3\n");
}

fn what_an_exec_leaves_open_is_as_for_init() {
    let mut bundle = sleeper();
    bundle.spec["process"]["noNewPrivileges"] = json!(true);
    bundle.spec["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]);
    let running = bundle.started();
    let fields = "grep -hE '^(Cap|NoNewPrivs|Seccomp)' /proc/PID/status; cat /proc/PID/oom_score_adj /proc/PID/limits";
    let (_, own) = running.exec(&fields.replace("PID", "self"));
    let (_, init) = running.exec(&fields.replace("PID", "1"));
    assert_eq!(own, init);
    assert!(own.contains("NoNewPrivs:\t1") && own.contains("\n1000\n"), "{own}");
}

fn what_an_exec_says_is_its_own() {
    let bundle = sleeper();
    let running = bundle.started();
    let (code, text) = running.exec_process(json!({
        "args": ["sh", "-c", "id -u; id -g; pwd; echo $NAME; grep -E '^(CapEff|NoNewPrivs)' /proc/self/status"],
        "cwd": "/work", "user": {"uid": 1000, "gid": 1001}, "env": [PATH, "NAME=value"],
        "noNewPrivileges": true, "capabilities": {}
    }));
    assert_eq!((code, text.as_str()), (0, "1000\n1001\n/work\nvalue\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\n"));
}

fn an_exec_with_a_terminal_has_its_size() {
    let bundle = sleeper();
    let running = bundle.started();
    let mut process = process(&["sh", "-c", "stty size; tty; exit 4"]);
    process["terminal"] = json!(true);
    process["consoleSize"] = json!({"width": 80, "height": 25});
    let executing = running.0.exec(&serde_json::from_value(process).unwrap(), Io::Terminal).unwrap();
    let (mut process, terminal) = executing.finish().unwrap();
    assert_eq!(read(terminal.unwrap()), "25 80\r\n/dev/pts/0\r\n");
    assert_eq!(wait(&mut process).code, 4);
}

fn failure(running: &Running, args: &[&str]) -> String {
    let process = serde_json::from_value(process(args)).unwrap();
    running.0.exec(&process, no_io()).unwrap().finish().unwrap_err().to_string()
}

fn an_exec_of_nothing_is_told_apart_from_one_that_is_forbidden() {
    let bundle = sleeper();
    std::fs::write(bundle.rootfs().join("text"), "no program").unwrap();
    let running = bundle.started();
    assert_eq!(failure(&running, &["nope"]), r#"exec: "nope": executable file not found in $PATH"#);
    assert_eq!(failure(&running, &["/no/pe"]), r#"exec: "/no/pe": stat /no/pe: no such file or directory"#);
    assert_eq!(failure(&running, &["/text"]), r#"exec: "/text": permission denied"#);
    assert_eq!(failure(&running, &["/bin"]), r#"exec: "/bin": is a directory"#);
    assert_eq!(running.exec("true").0, 0, "the container is none the worse for it");
}

fn an_exec_in_an_ended_container_is_refused() {
    let bundle = sleeper();
    let mut running = bundle.started();
    running.0.init().signal(SIGKILL).unwrap();
    wait(running.0.init_mut());
    let error = running.0.exec(&serde_json::from_value(process(&["true"])).unwrap(), no_io()).unwrap_err();
    assert!(error.to_string().contains("has its first process ended?"), "{error}");
}

fn an_exec_that_is_dropped_leaves_nothing() {
    let bundle = sleeper();
    let running = bundle.started();
    drop(running.0.exec(&serde_json::from_value(process(&["sleep", "100"])).unwrap(), no_io()).unwrap());
    assert_eq!(running.0.cgroup().pids().unwrap(), [running.0.init().pid()]);
}

fn an_exec_ends_with_its_container() {
    let bundle = sleeper();
    let mut running = bundle.started();
    let executing = running.0.exec(&serde_json::from_value(process(&["sleep", "100"])).unwrap(), no_io()).unwrap();
    let (mut process, _) = executing.finish().unwrap();
    assert_eq!(running.0.cgroup().pids().unwrap().len(), 2);
    running.0.delete().unwrap();
    assert_eq!(wait(&mut process).code, 128 + SIGKILL as u32);
}

/// As pid 1 a container may stop every process in its pid namespace, at any point on the way to its program.
fn an_exec_that_its_container_stops_keeps_nobody_waiting() {
    let bundle = Bundle::new("while :; do kill -STOP -1; done");
    let mut running = bundle.started();
    for _ in 0..30 {
        let mut executing = running.0.exec(&serde_json::from_value(process(&["true"])).unwrap(), no_io()).unwrap();
        // Asked only when there is news, it must answer, wherever it has been stopped; a stopped one has none.
        while poll(&mut [PollFd::new(executing.as_fd(), PollFlags::POLLIN)], 50u16).unwrap() == 1 {
            if executing.advance().unwrap() {
                break;
            }
        }
    }
    while !running.0.try_delete().unwrap() {}
}
