//! Pids that wrap: the pid of what has ended belongs to a process that has nothing to do with it. In a pid namespace of
//! the test's own, where it is said which pid is given next. pid_namespaces(7)

use std::{
    env, fs,
    process::{Child, Command},
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

use super::{INSIDE, SLEEP, lives, until};
use crate::Place;

/// Runs a test again in a pid namespace of its own; true in there.
fn is_inside(test: &str) -> bool {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    if env::var_os(INSIDE).is_some() {
        return true;
    }
    let mark = format!("{}w{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let output = Command::new("unshare")
        .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg(env::current_exe().unwrap())
        .args([&format!("{}::{test}", module_path!().split_once("::").unwrap().1), "--exact", "--nocapture"])
        .env(INSIDE, mark)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
    false
}

/// Somebody who has nothing to do with it, with the pid of who has.
struct Innocent(Child);

impl Innocent {
    /// Ends an orphan of this, the first process, and begins another in its place.
    fn in_place_of(pid: i32) -> Self {
        let _ended = kill(Pid::from_raw(pid), Signal::SIGKILL);
        Self::in_place_of_ended(pid)
    }

    /// The same for one that has ended, and that the shim or this process reaps.
    fn in_place_of_ended(pid: i32) -> Self {
        until("it is reaped", || {
            let _not_ours = waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG));
            !fs::exists(format!("/proc/{pid}")).unwrap()
        });
        // A clock tick: no machine goes through all of its pids in one.
        sleep(Duration::from_millis(20));
        for _ in 0..100 {
            fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).unwrap();
            let mut child = Command::new("/bin/busybox").args(["sleep", "1000"]).spawn().unwrap();
            if child.id().cast_signed() == pid {
                return Self(child);
            }
            child.kill().unwrap();
            child.wait().unwrap();
        }
        panic!("nobody gets pid {pid}");
    }

    #[track_caller]
    fn lives(&mut self) {
        assert!(self.0.try_wait().unwrap().is_none(), "process {} was killed in the place of another", self.0.id());
    }
}

impl Drop for Innocent {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _ended = self.0.wait();
    }
}

#[test]
fn a_delete_spares_who_has_the_pid_of_a_container_an_exec_or_the_shim() {
    if !is_inside("a_delete_spares_who_has_the_pid_of_a_container_an_exec_or_the_shim") {
        return;
    }
    let place = Place::new();
    let task = place.task(false, SLEEP);
    task.run().unwrap();
    task.exec_added("e", "exec busybox sleep 1000").unwrap();
    let (shim, exec, init) = (place.shim(), task.exec_started("e").unwrap(), task.pid().cast_signed());
    place.bereave();
    let mut innocents = [shim, exec, init].map(Innocent::in_place_of);
    place.deleted();
    innocents.iter_mut().for_each(Innocent::lives);
    place.is_clean();
}

#[test]
fn a_delete_that_ends_the_members_of_a_sandbox_spares_who_has_their_pids() {
    if !is_inside("a_delete_that_ends_the_members_of_a_sandbox_spares_who_has_their_pids") {
        return;
    }
    let place = Place::new();
    let sandbox = place.sandbox(SLEEP);
    sandbox.created().unwrap();
    sandbox.started().unwrap();
    sandbox.container.run().unwrap();
    let init = sandbox.container.pid().cast_signed();
    place.bereave();
    let mut innocent = Innocent::in_place_of(init);
    place.deleted();
    innocent.lives();
    place.is_clean();
}

#[test]
fn a_container_that_has_ended_and_waits_for_its_delete_keeps_its_pid_from_nobody_and_kills_nobody() {
    if !is_inside("a_container_that_has_ended_and_waits_for_its_delete_keeps_its_pid_from_nobody_and_kills_nobody") {
        return;
    }
    let place = Place::new();
    let task = place.task(false, SLEEP);
    task.run().unwrap();
    task.exec_added("e", "exec busybox sleep 1000").unwrap();
    let exec = task.exec_started("e").unwrap();
    kill(Pid::from_raw(exec), Signal::SIGKILL).unwrap();
    assert_eq!(task.exec_ended("e"), 137);
    let mut of_exec = Innocent::in_place_of_ended(exec);
    task.exec_killed("e").unwrap_err();
    task.exec_deleted("e").unwrap();
    let init = task.pid().cast_signed();
    task.killed().unwrap();
    task.ended();
    let mut of_init = Innocent::in_place_of_ended(init);
    task.killed().unwrap_err();
    task.deleted().unwrap();
    of_exec.lives();
    of_init.lives();
    assert!(lives(place.shim()));
    place.is_clean();
}
