//! From create to delete.

use std::{fs, os::unix::fs::PermissionsExt, process::Stdio};

use serde_json::{Value, json};

use crate::support::{Bundle, eventually, program, read};

#[test]
fn a_bundle_made_by_spec_runs_as_a_first_time_user_would_type_it() {
    let mut bundle = Bundle::new("echo hello from $(hostname); exit 7");
    bundle.config["process"]["args"][2] = json!("echo hello as pid $$; exit 7");
    bundle.write("first");
    let answer = bundle.call(&["run", "first"]);
    assert_eq!((answer.status, answer.out.as_str()), (7, "hello as pid 1\n"), "{}", answer.err);
}

#[test]
fn a_created_container_waits_after_its_creator_has_left() {
    let bundle = Bundle::new("echo it runs");
    let output = bundle.create("c", &["--pid-file", "pid"]);
    let state = bundle.state("c");
    assert_eq!(state["status"], "created");
    assert_eq!(fs::read_to_string(bundle.path.join("pid")).unwrap(), state["pid"].to_string());
    assert_eq!(state["bundle"], json!(bundle.path));
    assert_eq!(state["rootfs"], json!(bundle.path.join("rootfs")));
    bundle.call(&["start", "c"]).ok();
    assert_eq!(read(output), "it runs\n");
    bundle.wait_until("c", "stopped");
    assert_eq!(bundle.state("c")["pid"], 0);
    bundle.call(&["delete", "c"]).ok();
}

#[test]
fn a_container_keeps_what_it_was_made_from_when_its_bundle_changes() {
    let mut bundle = Bundle::new("exec sleep 1000");
    bundle.config["process"]["env"] = json!(["PATH=/bin", "KEPT=yes"]);
    bundle.start("c");
    fs::write(bundle.path.join("config.json"), "{}").unwrap();
    assert_eq!(bundle.call(&["exec", "c", "sh", "-c", "echo $KEPT"]).ok(), "yes\n");
    bundle.delete("c");
}

#[test]
fn two_containers_may_come_from_one_bundle() {
    let bundle = Bundle::new("exec sleep 1000");
    bundle.start("one");
    bundle.start("two");
    assert_ne!(bundle.pid("one"), bundle.pid("two"));
    assert_eq!(bundle.call(&["list", "-q"]).ok(), "one\ntwo\n");
    bundle.delete("one");
    assert_eq!(bundle.status("two"), "running");
    bundle.delete("two");
}

#[test]
fn a_container_is_started_once() {
    let bundle = Bundle::new("exec sleep 1000");
    bundle.start("c");
    assert!(bundle.call(&["start", "c"]).refused().contains("running"));
    bundle.call(&["kill", "c", "KILL"]).ok();
    bundle.wait_until("c", "stopped");
    assert!(bundle.call(&["start", "c"]).refused().contains("stopped"));
    bundle.call(&["delete", "c"]).ok();
}

#[test]
fn a_created_container_ends_by_a_signal_and_can_be_deleted() {
    let bundle = Bundle::new("echo never");
    for signal in ["TERM", "SIGINT", "1", "KILL"] {
        let output = bundle.create("c", &[]);
        bundle.call(&["kill", "c", signal]).ok();
        assert_eq!(read(output), "", "after {signal} the program must not have run");
        bundle.wait_until("c", "stopped");
        bundle.call(&["delete", "c"]).ok();
    }
    bundle.create("c", &[]);
    bundle.call(&["delete", "c"]).ok();
}

#[test]
fn a_running_container_is_not_deleted_unless_by_force() {
    let bundle = Bundle::new("exec sleep 1000");
    bundle.start("c");
    assert!(bundle.call(&["delete", "c"]).refused().contains("not stopped"));
    assert_eq!(bundle.status("c"), "running");
    bundle.call(&["delete", "-f", "c"]).ok();
    assert!(bundle.call(&["state", "c"]).refused().contains("does not exist"));
    bundle.call(&["delete", "-f", "c"]).ok();
    assert!(bundle.call(&["delete", "c"]).refused().contains("does not exist"));
}

#[test]
fn a_signal_reaches_the_program_by_its_name_or_number() {
    let bundle = Bundle::new("trap 'exit 3' USR1; echo ready; while :; do sleep 0.05; done");
    for signal in ["USR1", "SIGUSR1", "usr1", "10"] {
        let mut output = bundle.start("c");
        std::io::Read::read_exact(&mut output, &mut [0; 6]).unwrap();
        bundle.call(&["kill", "c", signal]).ok();
        bundle.wait_until("c", "stopped");
        assert!(bundle.call(&["kill", "c"]).refused().contains("not running"));
        bundle.call(&["kill", "--all", "c", "9"]).ok();
        bundle.call(&["delete", "c"]).ok();
    }
}

#[test]
fn kill_all_reaches_every_process() {
    let mut bundle = Bundle::new("sleep 1000 & sleep 1000 & echo ready; wait; echo all gone");
    // Without a pid namespace nothing else ends them together.
    let namespaces = bundle.config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["type"] != "pid");
    let mut output = bundle.start("c");
    std::io::Read::read_exact(&mut output, &mut [0; 6]).unwrap();
    let pids: Vec<i32> = serde_json::from_str(&bundle.call(&["ps", "-f", "json", "c"]).ok()).unwrap();
    assert_eq!(pids.len(), 3);
    assert!(pids.contains(&bundle.pid("c")));
    bundle.call(&["kill", "-a", "c", "KILL"]).ok();
    bundle.wait_until("c", "stopped");
    eventually(|| (bundle.call(&["ps", "-f", "json", "c"]).ok() == "[]\n").then_some(()), "the end of all processes");
    assert_eq!(read(output), "");
    bundle.call(&["delete", "c"]).ok();
}

#[test]
fn an_ended_program_is_stopped_also_before_anybody_has_reaped_it() {
    // This process is its parent's, and so becomes its own: it is not reaped before the test ends.
    nix::sys::prctl::set_child_subreaper(true).unwrap();
    let bundle = Bundle::new("exit 3");
    bundle.start("c");
    let pid = |bundle: &Bundle| {
        let record = fs::read_to_string(bundle.root.join("c/loment.json")).unwrap();
        serde_json::from_str::<Value>(&record).unwrap()["pid"].as_i64().unwrap()
    };
    bundle.wait_until("c", "stopped");
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid(&bundle))).unwrap();
    assert!(stat.contains(") Z "), "{stat}");
    bundle.call(&["delete", "c"]).ok();
}

#[test]
fn a_container_pauses_and_resumes() {
    let bundle = Bundle::new("exec sleep 1000");
    bundle.start("c");
    bundle.call(&["pause", "c"]).ok();
    assert_eq!(bundle.status("c"), "paused");
    assert!(bundle.call(&["pause", "c"]).refused().contains("paused"));
    assert!(bundle.call(&["exec", "c", "true"]).refused().contains("paused"));
    bundle.call(&["resume", "c"]).ok();
    assert_eq!(bundle.status("c"), "running");
    assert!(bundle.call(&["resume", "c"]).refused().contains("running"));
    bundle.call(&["pause", "c"]).ok();
    bundle.call(&["kill", "c", "KILL"]).ok();
    bundle.wait_until("c", "stopped");
    bundle.call(&["delete", "c"]).ok();
    bundle.start("c");
    bundle.call(&["pause", "c"]).ok();
    bundle.call(&["delete", "--force", "c"]).ok();
}

#[test]
fn run_stays_passes_signals_on_and_leaves_nothing() {
    let bundle = Bundle::new("trap 'echo got it; exit 9' TERM; echo ready; while :; do sleep 0.05; done");
    bundle.write("c");
    let mut child = bundle.command(&["run", "c"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = child.stdout.take().unwrap();
    std::io::Read::read_exact(&mut output, &mut [0; 6]).unwrap();
    bundle.wait_until("c", "running");
    let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut output, &mut rest).unwrap();
    assert_eq!(rest, "got it\n");
    assert_eq!(child.wait().unwrap().code(), Some(9));
}

#[test]
fn run_leaves_what_it_is_told_to_keep_or_to_detach_from() {
    let bundle = Bundle::new("exit 4");
    bundle.write("kept");
    assert_eq!(bundle.call(&["run", "--keep", "kept"]).status, 4);
    assert_eq!(bundle.status("kept"), "stopped");
    bundle.call(&["delete", "kept"]).ok();
    let mut bundle = bundle;
    bundle.script("exec sleep 1000");
    bundle.write("c");
    let status = bundle.command(&["run", "--detach", "--pid-file", "pid", "c"]).stdout(Stdio::null()).status().unwrap();
    assert!(status.success());
    assert_eq!(fs::read_to_string(bundle.path.join("pid")).unwrap(), bundle.pid("c").to_string());
    bundle.delete("c");
}

#[test]
fn a_run_that_is_killed_leaves_a_container_that_can_be_deleted() {
    let bundle = Bundle::new("echo ready; exec sleep 1000");
    bundle.write("c");
    let mut child = bundle.command(&["run", "c"]).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Read::read_exact(&mut child.stdout.take().unwrap(), &mut [0; 6]).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    bundle.wait_until("c", "running");
    bundle.delete("c");
}

#[test]
fn the_gate_is_behind_a_directory_of_its_owner_only() {
    let bundle = Bundle::new("true");
    bundle.create("c", &[]);
    for path in [&bundle.root, &bundle.root.join("c")] {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o700);
    }
    bundle.delete("c");
}

#[test]
fn the_runtimes_program_cannot_be_written_through_a_process_of_it_even_when_that_has_ended() {
    let mut bundle = Bundle::new("true");
    bundle.use_a_program_of_its_own();
    bundle.create("c", &[]);
    let flags = nix::fcntl::OFlag::O_PATH | nix::fcntl::OFlag::O_CLOEXEC;
    let link = format!("/proc/{}/exe", bundle.pid("c"));
    let program = nix::fcntl::open(link.as_str(), flags, nix::sys::stat::Mode::empty()).unwrap();
    bundle.delete("c");
    let again = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&program));
    let error = fs::OpenOptions::new().write(true).open(again).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem, "{error}");
}

#[test]
fn the_features_are_those_of_the_library() {
    let output = program().arg("features").output().unwrap();
    let features: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(features, serde_json::from_str::<Value>(loment_sandbox::FEATURES).unwrap());
}

#[test]
fn list_shows_all_containers_in_both_forms() {
    let mut bundle = Bundle::new("exec sleep 1000");
    bundle.config["annotations"] = json!({ "a.b": "c" });
    assert_eq!(bundle.call(&["list", "--format", "json"]).ok(), "[]\n");
    bundle.start("one");
    bundle.create("two", &[]);
    let list: Vec<Value> = serde_json::from_str(&bundle.call(&["list", "-f", "json"]).ok()).unwrap();
    let shown: Vec<_> = list.iter().map(|one| (one["id"].as_str().unwrap(), one["status"].as_str().unwrap())).collect();
    assert_eq!(shown, [("one", "running"), ("two", "created")]);
    assert_eq!((&list[0]["annotations"]["a.b"], &list[0]["owner"]), (&json!("c"), &json!("root")));
    let table = bundle.call(&["list"]).ok();
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
    assert_eq!((rows[1][0], rows[1][2], rows[2][0], rows[2][2]), ("one", "running", "two", "created"));
    bundle.delete("one");
    bundle.delete("two");
}

#[test]
fn ps_shows_the_hosts_table_of_the_containers_processes() {
    let bundle = Bundle::new("exec sleep 4711");
    bundle.start("c");
    let pid = bundle.pid("c").to_string();
    for args in [&["ps", "c"][..], &["ps", "c", "-e", "-o", "pid,args"]] {
        let table = bundle.call(args).ok();
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines.len(), 2, "{table}");
        assert!(lines[0].contains("PID") && lines[1].contains(&pid) && lines[1].ends_with("sleep 4711"), "{table}");
    }
    bundle.delete("c");
}
