//! File systems, devices and limits.

use std::fs;

use crate::{
    engine::{Case, Engine, cases, eventually},
    lab::Lab,
};

pub(super) const CASES: &[Case<Lab>] = cases![
    file_systems_are_as_asked_for,
    a_volume_outlives_its_container,
    a_device_is_there_and_may_be_used_as_said,
    limits_hold,
    limits_change_while_a_container_runs,
    usage_is_told,
    a_container_cannot_have_more_processes_than_its_limit,
];

/// Those of the runtime's command line: beside it is runc's shim, which tells of every kill.
pub(super) const OF_THE_RUNTIME: &[Case<Lab>] = cases![docker_learns_that_a_container_lacked_memory];

/// A first process that loses a child for want of memory, prints its exit code, and waits for a file. It goes on until
/// docker has heard of the loss: its own end may overtake the news.
pub(super) const SURVIVES_A_CHILD: &str =
    "dd if=/dev/zero of=/dev/null bs=100M count=1; echo $?; while [ ! -e /go ]; do sleep 0.05; done";

/// Where a container sees the files of its limits, on v1 and v2.
const LIMITS: &str = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us 2>/dev/null || \
    cat memory.max cpu.max";

fn file_systems_are_as_asked_for(lab: &Lab) {
    let volume = lab.open_directory("volume");
    fs::write(format!("{volume}/from-host"), "host\n").unwrap();
    let (bind, readonly) = (format!("{volume}:/v"), format!("{volume}:/r:ro"));
    let flags = ["--read-only", "--tmpfs", "/t:size=1m", "--shm-size", "2m", "--volume", &bind, "--volume", &readonly];
    let script = "touch /x 2>/dev/null || echo read-only; touch /t/x && echo tmpfs; touch /r/x 2>/dev/null || echo ro; \
        cat /r/from-host; echo container > /v/from-container; stat -f -c '%b %S' /dev/shm";
    assert_eq!(lab.run(&flags, script).ok(), "read-only\ntmpfs\nro\nhost\n512 4096\n");
    assert_eq!(fs::read_to_string(format!("{volume}/from-container")).unwrap(), "container\n");
}

fn a_volume_outlives_its_container(lab: &Lab) {
    // A new volume begins with what the image has at its place.
    let flags = ["--volume", "kept:/etc"];
    lab.run(&flags, "echo more >> /etc/group").ok();
    assert_eq!(lab.run(&flags, "tail -n 2 /etc/group").ok(), "app:x:1000:\nmore\n");
    lab.call(&["volume", "rm", "kept"]).ok();
}

fn a_device_is_there_and_may_be_used_as_said(lab: &Lab) {
    let script = "(: < /dev/mine) && echo read; (: > /dev/mine) && echo written; (: > /dev/mine) 2>&1";
    let with = |device| lab.run(&["--device", device, "--cap-add", "syslog"], script);
    assert_eq!(with("/dev/kmsg:/dev/mine:rw").ok(), "read\nwritten\n");
    let answer = with("/dev/kmsg:/dev/mine:r");
    assert!(answer.status != 0 && answer.out.starts_with("read\n"), "{answer:?}");
    assert!(answer.out.contains("not permitted") && !answer.out.contains("written"), "{answer:?}");
}

fn limits_hold(lab: &Lab) {
    let flags = ["--memory", "64m", "--cpus", "0.5", "--cpuset-cpus", "0"];
    let seen = lab.run(&flags, &format!("nproc; {LIMITS}")).ok();
    assert!(seen.starts_with("1\n67108864\n50000"), "{seen}");
}

fn limits_change_while_a_container_runs(lab: &Lab) {
    lab.start("update", &["--memory", "64m", "--cpus", "0.5"], "exec sleep 1000");
    lab.call(&["update", "--memory", "48m", "--memory-swap", "48m", "--cpus", "0.25", "update"]).ok();
    let seen = lab.call(&["exec", "update", "sh", "-c", LIMITS]).ok();
    assert!(seen.starts_with("50331648\n25000"), "{seen}");
    lab.remove("update");
}

fn usage_is_told(lab: &Lab) {
    lab.start("stats", &["--memory", "64m"], "sleep 1000 & exec sleep 1000");
    eventually("both processes", || {
        let format = "{{.PIDs}} {{.MemUsage}}";
        let seen = lab.call(&["stats", "--no-stream", "--format", format, "stats"]).ok();
        seen.starts_with("2 ") && !seen.starts_with("2 0B") && seen.ends_with(" / 64MiB\n")
    });
    lab.remove("stats");
}

fn a_container_cannot_have_more_processes_than_its_limit(lab: &Lab) {
    let answer = lab.run(&["--pids-limit", "4"], "for n in 1 2 3; do sleep 1000 & done; echo three; sleep 1000 &");
    assert!(answer.status != 0 && answer.out == "three\n" && answer.err.contains("fork"), "{answer:?}");
}

fn docker_learns_that_a_container_lacked_memory(lab: &Lab) {
    lab.start("oom", &["--memory", "20m", "--memory-swap", "20m"], SURVIVES_A_CHILD);
    eventually("the event", || lab.events("oom", "{{.Action}}").lines().any(|action| action == "oom"));
    eventually("the status", || lab.call(&["logs", "oom"]).ok() == "137\n");
    lab.call(&["exec", "oom", "touch", "/go"]).ok();
    assert_eq!(lab.call(&["wait", "oom"]).ok(), "0\n");
    assert_eq!(lab.inspect("oom", ".State.OOMKilled"), "true");
    lab.remove("oom");
}
