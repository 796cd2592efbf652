//! Pids that wrap, and clocks that differ: who is found by a container's pid is the container's process, or nobody.

use std::{
    env, fs,
    process::{Child, Command, Output},
    sync::atomic::{AtomicUsize, Ordering},
    thread::sleep,
    time::Duration,
};

use nix::{
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, waitpid},
    },
    unistd::Pid,
};

use crate::support::{Bundle, INSIDE, eventually};

/// Runs a test again in a pid namespace of its own; true in there. pid_namespaces(7)
fn is_inside(test: &str) -> bool {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    if env::var_os(INSIDE).is_some() {
        return true;
    }
    let output = Command::new("unshare")
        .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg(env::current_exe().unwrap())
        .args([&format!("faults::{test}"), "--exact", "--nocapture"])
        .env(INSIDE, format!("{}w{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
    false
}

/// Ends a process that this, the first one, has inherited, and gives its pid to another.
fn innocent_in_place_of(pid: i32) -> Child {
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    let reaped = || waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG)).is_ok_and(|end| end.pid().is_some());
    eventually(|| reaped().then_some(()), "the end of a process");
    // A clock tick: no machine goes through all of its pids in one.
    sleep(Duration::from_millis(20));
    for _ in 0..100 {
        fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).unwrap();
        let mut child = Command::new("/bin/busybox").args(["sleep", "1000"]).spawn().unwrap();
        if child.id().cast_signed() == pid {
            return child;
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    panic!("nobody gets pid {pid}");
}

#[test]
fn no_command_takes_who_has_the_pid_of_a_container_for_it() {
    if !is_inside("no_command_takes_who_has_the_pid_of_a_container_for_it") {
        return;
    }
    for is_started in [true, false] {
        let bundle = Bundle::new("exec sleep 1000");
        let _output = if is_started { bundle.start("c") } else { bundle.create("c", &[]) };
        let mut innocent = innocent_in_place_of(bundle.pid("c"));
        assert_eq!(bundle.status("c"), "stopped");
        for command in
            [&["kill", "c", "KILL"][..], &["kill", "--all", "c", "KILL"], &["exec", "c", "true"], &["start", "c"]]
        {
            let _refused = bundle.call(command);
        }
        bundle.delete("c");
        assert_eq!(innocent.try_wait().unwrap(), None, "it was killed in the place of another");
        innocent.kill().unwrap();
        innocent.wait().unwrap();
    }
}

/// As from a container with a clock of its own. time_namespaces(7)
#[test]
fn a_container_is_found_by_who_has_another_clock() {
    let bundle = Bundle::new("exec sleep 1000");
    bundle.start("c");
    let later = |args: &[&str]| {
        let here = bundle.command(args);
        let mut command = Command::new("unshare");
        command.args(["--time", "--boottime", "86400", "--fork"]).arg(here.get_program()).args(here.get_args());
        command.current_dir(&bundle.path);
        // What a container has of its output would keep it open.
        let output = match args.contains(&"--detach") {
            true => Output { status: command.status().unwrap(), stdout: Vec::new(), stderr: Vec::new() },
            false => command.output().unwrap(),
        };
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(later(&["state", "c"]).contains("running"));
    later(&["kill", "c", "KILL"]);
    bundle.wait_until("c", "stopped");
    later(&["delete", "c"]);

    bundle.write("d");
    later(&["run", "--detach", "d"]);
    assert_eq!(bundle.status("d"), "running");
    bundle.delete("d");
}
