//! How containers begin, go on and end.

use std::fs;

use crate::{
    engine::{Case, Engine, answer, cases, common::many_start_at_once, eventually},
    lab::Lab,
};

pub(super) const CASES: &[Case<Lab>] = cases![
    docker_uses_this_runtime,
    docker_runs_a_program_and_tells_its_exit_status,
    docker_knows_why_a_program_cannot_be_run,
    a_container_in_the_background_has_a_whole_life,
    a_container_pauses,
    a_container_that_fails_is_started_again_as_often_as_allowed,
    a_container_starts_again_with_its_files,
    health_is_checked_by_an_exec,
    what_happens_is_told_in_order,
    many_containers_start_at_once,
    an_image_is_built_in_containers,
    a_container_outlives_the_daemon,
    a_container_that_is_removed_leaves_nothing,
];

fn docker_uses_this_runtime(lab: &Lab) {
    assert_eq!(lab.call(&["info", "--format", "{{.DefaultRuntime}} {{.CgroupDriver}}"]).ok(), "loment cgroupfs\n");
    let before = lab.known();
    lab.start("ours", &[], "exec sleep 1000");
    assert_eq!(lab.inspect("ours", ".HostConfig.Runtime"), "loment");
    assert_eq!(lab.known(), before + 1);
    lab.remove("ours");
    assert_eq!(lab.known(), before);
}

fn docker_runs_a_program_and_tells_its_exit_status(lab: &Lab) {
    for (network, status) in [("none", 0), ("host", 3), ("bridge", 7)] {
        let answer = lab.run(&["--network", network], &format!("echo hello; echo error >&2; exit {status}"));
        assert_eq!((answer.status, answer.out.as_str(), answer.err.as_str()), (status, "hello\n", "error\n"));
    }
    // The first process of a pid namespace cannot kill itself.
    assert_eq!(lab.run(&["--pid", "host"], "kill -9 $$").status, 137);
}

fn docker_knows_why_a_program_cannot_be_run(lab: &Lab) {
    for (program, status) in [("nope", 127), ("/nope", 127), ("/etc/passwd", 126), ("/etc", 126)] {
        let answer = lab.call(&["run", "--rm", "--network", "none", "busybox", program]);
        assert_eq!(answer.status, status, "{program}: {}", answer.err);
    }
    lab.start("why", &[], "exec sleep 1000");
    // docker 20.10 has one status for both.
    let answer = lab.call(&["exec", "why", "nope"]);
    assert!([126, 127].contains(&answer.status) && answer.out.contains("executable file not found"), "{answer:?}");
    let answer = lab.call(&["exec", "why", "/etc/passwd"]);
    assert!(answer.status == 126 && answer.out.contains("permission denied"), "{answer:?}");
    lab.remove("why");
}

fn a_container_in_the_background_has_a_whole_life(lab: &Lab) {
    lab.start("life", &[], "trap 'exit 3' TERM; echo out; echo err >&2; while :; do sleep 0.05; done");
    eventually("its output", || {
        let logs = lab.call(&["logs", "life"]);
        (logs.out.as_str(), logs.err.as_str()) == ("out\n", "err\n")
    });
    assert_eq!(lab.inspect("life", ".State.Status"), "running");
    assert!(fs::exists(format!("/proc/{}", lab.inspect("life", ".State.Pid"))).unwrap());
    assert!(lab.call(&["ps", "--format", "{{.Names}}"]).ok().lines().any(|name| name == "life"));
    assert!(lab.call(&["top", "life", "-eo", "pid,args"]).ok().contains("trap"));
    lab.call(&["stop", "--time", "30", "life"]).ok();
    assert_eq!(lab.inspect("life", ".State.ExitCode"), "3");
    lab.call(&["start", "life"]).ok();
    lab.call(&["kill", "life"]).ok();
    assert_eq!(lab.call(&["wait", "life"]).ok(), "137\n");
    lab.call(&["rm", "life"]).ok();
}

fn a_container_pauses(lab: &Lab) {
    lab.start("pause", &[], "exec sleep 1000");
    lab.call(&["pause", "pause"]).ok();
    assert_eq!(lab.inspect("pause", ".State.Status"), "paused");
    let frozen = lab.call(&["exec", "pause", "true"]);
    assert!(frozen.status != 0 && frozen.err.contains("paused"), "{frozen:?}");
    lab.call(&["unpause", "pause"]).ok();
    assert_eq!(lab.inspect("pause", ".State.Status"), "running");
    assert_eq!(lab.call(&["exec", "pause", "echo", "here"]).ok(), "here\n");
    lab.remove("pause");
}

fn a_container_that_fails_is_started_again_as_often_as_allowed(lab: &Lab) {
    lab.start("retry", &["--restart", "on-failure:2"], "echo tried; exit 5");
    eventually("the last failure", || lab.inspect("retry", ".State.Status") == "exited");
    assert_eq!(lab.inspect("retry", ".RestartCount"), "2");
    assert_eq!(lab.inspect("retry", ".State.ExitCode"), "5");
    assert_eq!(lab.call(&["logs", "retry"]).ok(), "tried\n".repeat(3));
    lab.remove("retry");
}

fn a_container_starts_again_with_its_files(lab: &Lab) {
    lab.start("again", &[], "exec sleep 1000");
    let (there, back) = (lab.directory.join("there"), lab.directory.join("back"));
    fs::write(&there, "copied\n").unwrap();
    lab.call(&["cp", there.to_str().unwrap(), "again:/tmp/file"]).ok();
    let pid = lab.inspect("again", ".State.Pid");
    lab.call(&["restart", "--time", "0", "again"]).ok();
    assert_ne!(lab.inspect("again", ".State.Pid"), pid);
    assert_eq!(lab.call(&["exec", "again", "cat", "/tmp/file"]).ok(), "copied\n");
    lab.call(&["cp", "again:/tmp/file", back.to_str().unwrap()]).ok();
    assert_eq!(fs::read_to_string(back).unwrap(), "copied\n");
    lab.remove("again");
}

fn health_is_checked_by_an_exec(lab: &Lab) {
    let flags = ["--health-cmd", "test -e /tmp/healthy", "--health-interval", "200ms", "--health-retries", "1"];
    lab.start("health", &flags, "exec sleep 1000");
    let becomes = |status| eventually(status, || lab.inspect("health", ".State.Health.Status") == status);
    becomes("unhealthy");
    lab.call(&["exec", "health", "touch", "/tmp/healthy"]).ok();
    becomes("healthy");
    lab.remove("health");
}

fn what_happens_is_told_in_order(lab: &Lab) {
    assert_eq!(lab.call(&["run", "--name", "told", "--network", "none", "busybox", "sh", "-c", "exit 4"]).status, 4);
    lab.call(&["rm", "told"]).ok();
    let told = lab.events("told", "{{.Action}} {{.Actor.Attributes.exitCode}}");
    let kinds: Vec<_> = told.lines().map(|line| line.trim_end_matches(" <no value>")).collect();
    assert_eq!(kinds, ["create", "attach", "start", "die 4", "destroy"]);
}

fn an_image_is_built_in_containers(lab: &Lab) {
    let directory = lab.open_directory("build");
    let steps = "FROM busybox\nRUN echo built > /x\nUSER 5\nRUN id -u > /tmp/y\n";
    fs::write(format!("{directory}/Dockerfile"), steps).unwrap();
    // The other builder runs runc by its name.
    let mut build = lab.command(&["build", "--network", "none", "--tag", "built", &directory]);
    answer(build.env("DOCKER_BUILDKIT", "0").output().unwrap()).ok();
    let seen = lab.call(&["run", "--rm", "--network", "none", "built", "cat", "/x", "/tmp/y"]).ok();
    assert_eq!(seen, "built\n5\n");
    lab.call(&["rmi", "built"]).ok();
}

fn a_container_outlives_the_daemon(lab: &Lab) {
    lab.start("outlives", &[], "while [ ! -e /tmp/go ]; do sleep 0.05; done; echo gone; exit 6");
    let pid = lab.inspect("outlives", ".State.Pid");
    lab.stop_daemon();
    assert!(fs::exists(format!("/proc/{pid}")).unwrap());
    lab.start_daemon();
    assert_eq!(lab.inspect("outlives", ".State.Pid"), pid);
    lab.call(&["exec", "outlives", "touch", "/tmp/go"]).ok();
    assert_eq!(lab.call(&["wait", "outlives"]).ok(), "6\n");
    assert_eq!(lab.call(&["logs", "outlives"]).ok(), "gone\n");
    lab.remove("outlives");
}

fn a_container_that_is_removed_leaves_nothing(lab: &Lab) {
    for (remove, end) in [("rm --force", "exec sleep 1000"), ("rm", "exit 1")] {
        // What is shared is a mount outside.
        lab.start("traceless", &["--ipc", "shareable"], end);
        let id = lab.inspect("traceless", ".Id");
        if remove == "rm" {
            lab.call(&["wait", "traceless"]).ok();
        } else {
            let traces = lab.traces(&id);
            for kind in ["process", "cgroup", "file", "mount"] {
                assert!(traces.iter().any(|trace| trace.starts_with(kind)), "no {kind} in {traces:?}");
            }
        }
        let words: Vec<_> = remove.split(' ').chain(["traceless"]).collect();
        lab.call(&words).ok();
        eventually("the end of all that was its own", || lab.traces(&id).is_empty());
    }
}

fn many_containers_start_at_once(lab: &Lab) {
    many_start_at_once(lab, 8, &[]);
}
