//! What podman's users do.

use std::{fs, io::Write, process::Stdio};

use crate::{
    engine::{Case, answer, at_terminal, cases, eventually},
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
        let answer = lab.podman(&["run", "--rm", "--network", "none", "busybox", program]);
        assert_eq!(answer.status, status, "{program}: {}", answer.err);
    }
    lab.start("why", &[], "exec sleep 1000");
    assert_eq!(lab.podman(&["exec", "why", "nope"]).status, 127);
    assert_eq!(lab.podman(&["exec", "why", "/etc/passwd"]).status, 126);
    lab.remove("why");
}

fn a_container_in_the_background_has_a_whole_life(lab: &Lab) {
    lab.start("life", &[], "trap 'exit 3' TERM; echo out; echo err >&2; while :; do sleep 0.05; done");
    eventually("its output", || lab.podman(&["logs", "life"]).out == "out\n");
    assert_eq!(lab.podman(&["logs", "life"]).err, "err\n");
    assert_eq!(lab.inspect("life", ".State.Status"), "running");
    assert!(fs::exists(format!("/proc/{}", lab.inspect("life", ".State.Pid"))).unwrap());
    assert!(lab.podman(&["ps", "--format", "{{.Names}}"]).ok().lines().any(|name| name == "life"));
    assert!(lab.podman(&["top", "life", "pid", "args"]).ok().contains("trap"));
    lab.podman(&["stop", "--time", "30", "life"]).ok();
    assert_eq!(lab.inspect("life", ".State.ExitCode"), "3");
    lab.podman(&["start", "life"]).ok();
    lab.podman(&["kill", "--signal", "KILL", "life"]).ok();
    assert_eq!(lab.podman(&["wait", "life"]).ok(), "137\n");
    lab.podman(&["rm", "life"]).ok();
}

fn a_container_pauses(lab: &Lab) {
    lab.start("pause", &[], "exec sleep 1000");
    lab.podman(&["pause", "pause"]).ok();
    assert_eq!(lab.inspect("pause", ".State.Status"), "paused");
    lab.podman(&["unpause", "pause"]).ok();
    assert_eq!(lab.inspect("pause", ".State.Status"), "running");
    assert_eq!(lab.podman(&["exec", "pause", "echo", "here"]).ok(), "here\n");
    lab.remove("pause");
}

fn an_exec_has_user_environment_and_directory(lab: &Lab) {
    lab.start("exec", &["--user", "app"], "exec sleep 1000");
    let flags = ["exec", "--user", "5:6", "--env", "A=b", "--workdir", "/etc", "exec"];
    let script = "id -u; id -g; echo $A; pwd; exit 5";
    let answer = lab.podman(&[&flags[..], &["sh", "-c", script]].concat());
    assert_eq!((answer.status, answer.out.as_str()), (5, "5\n6\nb\n/etc\n"), "{}", answer.err);
    assert_eq!(lab.podman(&["exec", "exec", "id", "-u"]).ok(), "1000\n");
    lab.podman(&["exec", "--detach", "--user", "0", "exec", "sh", "-c", "echo x > /tmp/detached"]).ok();
    eventually("the file", || lab.podman(&["exec", "exec", "cat", "/tmp/detached"]).out == "x\n");
    lab.remove("exec");
}

fn input_and_output_go_through(lab: &Lab) {
    let mut command = lab.command(&["run", "--rm", "--network", "none", "--interactive", "busybox", "cat"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let text = "0123456789abcdef".repeat(20_000);
    let mut stdin = child.stdin.take().unwrap();
    let input = text.clone();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.stdout == text.as_bytes(), "{} bytes came back", output.stdout.len());
}

fn a_terminal_is_the_containers_own(lab: &Lab) {
    let args = ["run", "--rm", "--network", "none", "-it", "busybox", "sh", "-c", "tty; test -t 0 && exit 4"];
    let (status, shown) = at_terminal(lab.command(&args));
    assert!(status == Some(4) && shown.contains("/dev/pts/0"), "{status:?} {shown}");
}

fn an_exec_may_have_a_terminal(lab: &Lab) {
    lab.start("tty", &["--tty"], "exec sleep 1000");
    let (status, shown) = at_terminal(lab.command(&["exec", "-it", "tty", "sh", "-c", "tty; test -t 0 && exit 4"]));
    assert!(status == Some(4) && shown.contains("/dev/pts/1"), "{status:?} {shown}");
    lab.remove("tty");
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
    assert_eq!(lab.podman(&["healthcheck", "run", "health"]).status, 1);
    lab.podman(&["exec", "health", "touch", "/tmp/healthy"]).ok();
    lab.podman(&["healthcheck", "run", "health"]).ok();
    lab.remove("health");
}

fn a_privileged_container_sees_the_devices(lab: &Lab) {
    let seen = lab.run(&["--privileged"], "test -e /dev/kmsg && echo devices; grep Seccomp: /proc/self/status").ok();
    assert_eq!(seen, "devices\nSeccomp:\t0\n");
}

fn a_capability_that_the_runtime_lacks_is_no_reason_not_to_run(lab: &Lab) {
    let said = lab.run(&["--cap-add", "all"], "grep CapEff: /proc/self/status >&2; echo runs");
    assert_eq!((said.status, said.out.as_str()), (0, "runs\n"), "{}", said.err);
    let own = format!("CapEff:\t{:016x}\n", loment_sys::credentials::grantable().unwrap());
    assert_eq!(said.err, own, "what is told on the way is not for the container's streams");
    lab.start("lacking", &["--cap-add", "sys_resource"], "exec sleep 1000");
    assert_eq!(lab.podman(&["exec", "lacking", "echo", "runs"]).ok(), "runs\n");
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
    lab.podman(&[&["pod", "create", "--name", name, &parent, "--share", "net,ipc,uts"], &infra[..]].concat()).ok();
}

fn a_pod_shares_its_namespaces_and_runs_its_init_containers_first(lab: &Lab) {
    make_pod(lab, "pod");
    let create = |flags: &[&str], script: &str| {
        let first = ["create", "--pod", "pod", "--volume", "shared:/s"];
        lab.podman(&[&first, flags, &["busybox", "sh", "-c", script]].concat()).ok();
    };
    create(&["--init-ctr", "always"], "echo first > /s/log");
    create(&["--init-ctr", "always"], "echo second >> /s/log");
    create(&["--name", "app"], "cat /s/log; while :; do nc -l -p 80 -e echo pong; done");
    lab.podman(&["pod", "start", "pod"]).ok();
    assert_eq!(lab.podman(&["logs", "app"]).ok(), "first\nsecond\n");
    let ask = ["run", "--rm", "--pod", "pod", "busybox", "sh", "-c", "nc 127.0.0.1 80 < /dev/null"];
    eventually("the neighbour's answer", || lab.podman(&ask).out == "pong\n");
    lab.podman(&["pod", "rm", "--force", "--time", "0", "pod"]).ok();
    lab.podman(&["volume", "rm", "shared"]).ok();
}

fn a_pod_pauses_and_stops(lab: &Lab) {
    make_pod(lab, "stopping");
    lab.podman(&["create", "--pod", "stopping", "busybox", "sleep", "1000"]).ok();
    let status = || lab.podman(&["pod", "inspect", "--format", "{{.State}}", "stopping"]).ok().trim().to_owned();
    lab.podman(&["pod", "start", "stopping"]).ok();
    assert_eq!(status(), "Running");
    lab.podman(&["pod", "pause", "stopping"]).ok();
    assert_eq!(status(), "Paused");
    lab.podman(&["pod", "unpause", "stopping"]).ok();
    assert_eq!(status(), "Running");
    lab.podman(&["pod", "stop", "--time", "0", "stopping"]).ok();
    assert_eq!(status(), "Exited");
    lab.podman(&["pod", "rm", "stopping"]).ok();
}

fn many_containers_start_at_once(lab: &Lab) {
    let names: Vec<_> = (0..6).map(|n| format!("many{n}")).collect();
    let children: Vec<_> = names
        .iter()
        .map(|name| {
            let args = ["run", "--detach", "--name", name, "--network", "none", "busybox", "sleep", "1000"];
            lab.command(&args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for child in children {
        answer(child.wait_with_output().unwrap()).ok();
    }
    for name in &names {
        assert_eq!(lab.inspect(name, ".State.Status"), "running");
        lab.remove(name);
    }
}

fn files_are_copied_and_a_container_starts_again(lab: &Lab) {
    lab.start("again", &[], "exec sleep 1000");
    let file = lab.directory.join("copied");
    fs::write(&file, "copied\n").unwrap();
    lab.podman(&["cp", file.to_str().unwrap(), "again:/tmp/"]).ok();
    let pid = lab.inspect("again", ".State.Pid");
    lab.podman(&["restart", "--time", "0", "again"]).ok();
    assert_ne!(lab.inspect("again", ".State.Pid"), pid);
    assert_eq!(lab.podman(&["exec", "again", "cat", "/tmp/copied"]).ok(), "copied\n");
    lab.remove("again");
}

fn a_root_file_system_may_be_a_directory(lab: &Lab) {
    let root = lab.directory.join("image");
    let args = ["run", "--rm", "--network", "none", "--rootfs", root.to_str().unwrap(), "echo", "here"];
    assert_eq!(lab.podman(&args).ok(), "here\n");
}
