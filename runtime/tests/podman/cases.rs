//! What podman's users do.

use std::fs;

use crate::{
    engine::{
        Case, Engine, answer, cases,
        common::{
            a_terminal_is_the_containers_own, an_exec_has_user_environment_and_directory, an_exec_may_have_a_terminal,
            input_and_output_go_through, many_start_at_once,
        },
        eventually,
    },
    lab::Lab,
};

pub(crate) const ALL: &[Case<Lab>] = cases![
    podman_runs_a_program_and_tells_its_exit_status,
    podman_knows_why_a_program_cannot_be_run,
    a_container_in_the_background_has_a_whole_life,
    a_container_pauses,
    an_exec_has_user_environment_and_directory,
    input_and_output_go_through,
    a_terminal_is_the_containers_own,
    an_exec_may_have_a_terminal,
    who_the_process_is_and_what_it_may,
    the_default_seccomp_profile_holds,
    file_systems_are_as_asked_for,
    limits_hold,
    a_container_that_takes_too_much_memory_is_killed,
    descriptors_are_preserved,
    health_is_checked_by_an_exec,
    a_privileged_container_sees_the_devices,
    a_capability_that_the_runtime_lacks_is_no_reason_not_to_run,
    the_hosts_namespaces_may_be_shared,
    a_pod_shares_its_namespaces_and_runs_its_init_containers_first,
    a_pod_pauses_and_stops,
    many_containers_start_at_once,
    files_are_copied_and_a_container_starts_again,
    a_root_file_system_may_be_a_directory,
];

fn podman_runs_a_program_and_tells_its_exit_status(lab: &Lab) {
    for network in ["none", "host"] {
        let answer = lab.run(&["--network", network], "echo hello; echo error >&2; exit 7");
        assert_eq!((answer.status, answer.out.as_str(), answer.err.as_str()), (7, "hello\n", "error\n"));
    }
}

fn podman_knows_why_a_program_cannot_be_run(lab: &Lab) {
    for (program, status) in [("nope", 127), ("/nope", 127), ("/etc/passwd", 126), ("/etc", 126)] {
        let answer = lab.call(&["run", "--rm", "--network", "none", "busybox", program]);
        assert_eq!(answer.status, status, "{program}: {}", answer.err);
    }
    lab.start("why", &[], "exec sleep 1000");
    assert_eq!(lab.call(&["exec", "why", "nope"]).status, 127);
    assert_eq!(lab.call(&["exec", "why", "/etc/passwd"]).status, 126);
    lab.remove("why");
}

fn a_container_in_the_background_has_a_whole_life(lab: &Lab) {
    lab.start("life", &[], "trap 'exit 3' TERM; echo out; echo err >&2; while :; do sleep 0.05; done");
    eventually("its output", || lab.call(&["logs", "life"]).out == "out\n");
    assert_eq!(lab.call(&["logs", "life"]).err, "err\n");
    assert_eq!(lab.inspect("life", ".State.Status"), "running");
    assert!(fs::exists(format!("/proc/{}", lab.inspect("life", ".State.Pid"))).unwrap());
    assert!(lab.call(&["ps", "--format", "{{.Names}}"]).ok().lines().any(|name| name == "life"));
    assert!(lab.call(&["top", "life", "pid", "args"]).ok().contains("trap"));
    lab.call(&["stop", "--time", "30", "life"]).ok();
    assert_eq!(lab.inspect("life", ".State.ExitCode"), "3");
    lab.call(&["start", "life"]).ok();
    lab.call(&["kill", "--signal", "KILL", "life"]).ok();
    assert_eq!(lab.call(&["wait", "life"]).ok(), "137\n");
    lab.call(&["rm", "life"]).ok();
}

fn a_container_pauses(lab: &Lab) {
    lab.start("pause", &[], "exec sleep 1000");
    lab.call(&["pause", "pause"]).ok();
    assert_eq!(lab.inspect("pause", ".State.Status"), "paused");
    lab.call(&["unpause", "pause"]).ok();
    assert_eq!(lab.inspect("pause", ".State.Status"), "running");
    assert_eq!(lab.call(&["exec", "pause", "echo", "here"]).ok(), "here\n");
    lab.remove("pause");
}

fn who_the_process_is_and_what_it_may(lab: &Lab) {
    let flags = ["--user", "1000:7", "--group-add", "8", "--cap-drop", "all", "--cap-add", "net_admin"];
    let more = ["--security-opt", "no-new-privileges", "--umask", "0027"];
    let script = "id -u; id -g; id -G; umask; grep -E 'CapBnd|NoNew' /proc/self/status";
    let seen = lab.run(&[&flags[..], &more].concat(), script).ok();
    assert_eq!(seen, "1000\n7\n7 8\n0027\nCapBnd:\t0000000000001000\nNoNewPrivs:\t1\n");
}

fn the_default_seccomp_profile_holds(lab: &Lab) {
    let script = "grep Seccomp: /proc/self/status";
    assert_eq!(lab.run(&[], script).ok(), "Seccomp:\t2\n");
    assert_eq!(lab.run(&["--security-opt", "seccomp=unconfined"], script).ok(), "Seccomp:\t0\n");
    let profile = lab.directory.join("profile.json");
    let text = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":95}]}"#;
    fs::write(&profile, text).unwrap();
    let answer = lab.run(&["--security-opt", &format!("seccomp={}", profile.display())], "mkdir /x");
    assert!(answer.status == 1 && answer.err.contains("not supported"), "{answer:?}");
}

fn file_systems_are_as_asked_for(lab: &Lab) {
    let volume = lab.directory.join("volume");
    fs::create_dir_all(&volume).unwrap();
    fs::write(volume.join("from-host"), "host\n").unwrap();
    let bind = format!("{}:/v", volume.display());
    let readonly = format!("{}:/r:ro", volume.display());
    let flags = ["--read-only", "--tmpfs", "/t:size=1m", "--shm-size", "2m", "--volume", &bind, "--volume", &readonly];
    let script = "touch /x 2>/dev/null || echo read-only; touch /t/x && echo tmpfs; touch /r/x 2>/dev/null || echo ro; \
        cat /r/from-host; echo container > /v/from-container; stat -f -c '%b %S' /dev/shm";
    assert_eq!(lab.run(&flags, script).ok(), "read-only\ntmpfs\nro\nhost\n512 4096\n");
    assert_eq!(fs::read_to_string(volume.join("from-container")).unwrap(), "container\n");
}

fn limits_hold(lab: &Lab) {
    let script = "cd /sys/fs/cgroup; cat pids/pids.max memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us 2>/dev/null || \
        cat pids.max memory.max cpu.max; ulimit -n";
    let flags = ["--pids-limit", "20", "--memory", "64m", "--cpus", "0.5"];
    let seen = lab.run(&flags, script).ok();
    assert!(seen.starts_with("20\n67108864\n50000") && seen.ends_with("\n512\n"), "{seen}");
}

fn a_container_that_takes_too_much_memory_is_killed(lab: &Lab) {
    let answer = lab.run(&["--memory", "20m"], "exec dd if=/dev/zero of=/dev/null bs=100M count=1");
    assert_eq!(answer.status, 137, "{answer:?}");
}

fn descriptors_are_preserved(lab: &Lab) {
    let file = lab.directory.join("preserved");
    fs::write(&file, "three\n").unwrap();
    let podman =
        lab.command(&["run", "--rm", "--network", "none", "--preserve-fds", "1", "busybox", "cat", "/proc/self/fd/3"]);
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "exec \"$@\" 3<\"$FILE\"", "sh"]).arg(podman.get_program()).args(podman.get_args());
    shell.envs(podman.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("FILE", &file);
    assert_eq!(answer(shell.output().unwrap()).ok(), "three\n");
}

fn health_is_checked_by_an_exec(lab: &Lab) {
    let flags = ["--health-cmd", "test -e /tmp/healthy", "--health-interval", "disable"];
    lab.start("health", &flags, "exec sleep 1000");
    assert_eq!(lab.call(&["healthcheck", "run", "health"]).status, 1);
    lab.call(&["exec", "health", "touch", "/tmp/healthy"]).ok();
    lab.call(&["healthcheck", "run", "health"]).ok();
    lab.remove("health");
}

fn a_privileged_container_sees_the_devices(lab: &Lab) {
    let seen = lab.run(&["--privileged"], "test -e /dev/kmsg && echo devices; grep Seccomp: /proc/self/status").ok();
    assert_eq!(seen, "devices\nSeccomp:\t0\n");
}

fn a_capability_that_the_runtime_lacks_is_no_reason_not_to_run(lab: &Lab) {
    let said = lab.run(&["--cap-add", "all"], "grep CapEff: /proc/self/status >&2; echo runs");
    assert_eq!((said.status, said.out.as_str()), (0, "runs\n"), "{}", said.err);
    let own = format!("CapEff:\t{:016x}\n", loment_sys::credentials::grantable(u64::MAX).unwrap());
    assert_eq!(said.err, own, "what is told on the way is not for the container's streams");
    lab.start("lacking", &["--cap-add", "sys_resource"], "exec sleep 1000");
    assert_eq!(lab.call(&["exec", "lacking", "echo", "runs"]).ok(), "runs\n");
    lab.remove("lacking");
}

fn the_hosts_namespaces_may_be_shared(lab: &Lab) {
    let script = "for kind in pid ipc uts; do readlink /proc/self/ns/$kind; done";
    let flags = ["--pid", "host", "--ipc", "host", "--uts", "host"];
    let seen = lab.run(&flags, script).ok();
    let own = ["pid", "ipc", "uts"].map(|kind| fs::read_link(format!("/proc/self/ns/{kind}")).unwrap());
    assert_eq!(seen.lines().collect::<Vec<_>>(), own.each_ref().map(|link| link.to_str().unwrap()));
    assert_ne!(lab.run(&[], script).ok(), seen);
}

/// A pod without network that its test names.
fn make_pod(lab: &Lab, name: &str) {
    let parent = format!("--cgroup-parent={}", lab.cgroups);
    let infra = ["--infra-image", "localhost/busybox", "--infra-command", "sleep 1000", "--network", "none"];
    lab.call(&[&["pod", "create", "--name", name, &parent, "--share", "net,ipc,uts"], &infra[..]].concat()).ok();
}

fn a_pod_shares_its_namespaces_and_runs_its_init_containers_first(lab: &Lab) {
    make_pod(lab, "pod");
    let create = |flags: &[&str], script: &str| {
        let first = ["create", "--pod", "pod", "--volume", "shared:/s"];
        lab.call(&[&first, flags, &["busybox", "sh", "-c", script]].concat()).ok();
    };
    create(&["--init-ctr", "always"], "echo first > /s/log");
    create(&["--init-ctr", "always"], "echo second >> /s/log");
    create(&["--name", "app"], "cat /s/log; while :; do nc -l -p 80 -e echo pong; done");
    lab.call(&["pod", "start", "pod"]).ok();
    assert_eq!(lab.call(&["logs", "app"]).ok(), "first\nsecond\n");
    let ask = ["run", "--rm", "--pod", "pod", "busybox", "sh", "-c", "nc 127.0.0.1 80 < /dev/null"];
    eventually("the neighbour's answer", || lab.call(&ask).out == "pong\n");
    lab.call(&["pod", "rm", "--force", "--time", "0", "pod"]).ok();
    lab.call(&["volume", "rm", "shared"]).ok();
}

fn a_pod_pauses_and_stops(lab: &Lab) {
    make_pod(lab, "stopping");
    lab.call(&["create", "--pod", "stopping", "busybox", "sleep", "1000"]).ok();
    let status = || lab.call(&["pod", "inspect", "--format", "{{.State}}", "stopping"]).ok().trim().to_owned();
    lab.call(&["pod", "start", "stopping"]).ok();
    assert_eq!(status(), "Running");
    lab.call(&["pod", "pause", "stopping"]).ok();
    assert_eq!(status(), "Paused");
    lab.call(&["pod", "unpause", "stopping"]).ok();
    assert_eq!(status(), "Running");
    lab.call(&["pod", "stop", "--time", "0", "stopping"]).ok();
    assert_eq!(status(), "Exited");
    lab.call(&["pod", "rm", "stopping"]).ok();
}

fn files_are_copied_and_a_container_starts_again(lab: &Lab) {
    lab.start("again", &[], "exec sleep 1000");
    let file = lab.directory.join("copied");
    fs::write(&file, "copied\n").unwrap();
    lab.call(&["cp", file.to_str().unwrap(), "again:/tmp/"]).ok();
    let pid = lab.inspect("again", ".State.Pid");
    lab.call(&["restart", "--time", "0", "again"]).ok();
    assert_ne!(lab.inspect("again", ".State.Pid"), pid);
    assert_eq!(lab.call(&["exec", "again", "cat", "/tmp/copied"]).ok(), "copied\n");
    lab.remove("again");
}

fn a_root_file_system_may_be_a_directory(lab: &Lab) {
    let root = lab.directory.join("image");
    let args = ["run", "--rm", "--network", "none", "--rootfs", root.to_str().unwrap(), "echo", "here"];
    assert_eq!(lab.call(&args).ok(), "here\n");
}

fn many_containers_start_at_once(lab: &Lab) {
    many_start_at_once(lab, 6, &["--network", "none"]);
}
