//! Who a container's processes are, what they may do, and what they are connected to.

use std::{io::Write, process::Stdio};

use crate::{
    engine::{Case, at_terminal, cases, eventually},
    lab::Lab,
};

pub(super) const CASES: &[Case<Lab>] = cases![
    an_exec_has_user_environment_and_directory,
    input_and_output_go_through,
    a_terminal_is_the_containers_own,
    an_exec_may_have_a_terminal,
    who_the_process_is_and_what_it_may,
    dockers_capabilities_are_all_that_a_process_has,
    a_privileged_container_has_what_the_daemon_may_give,
    the_default_seccomp_profile_holds,
    dockers_init_is_the_first_process,
];

fn an_exec_has_user_environment_and_directory(lab: &Lab) {
    lab.start("exec", &["--user", "app"], "exec sleep 1000");
    let flags = ["exec", "--user", "5:6", "--env", "A=b", "--workdir", "/etc", "exec"];
    let script = "id -u; id -g; echo $A; pwd; exit 5";
    let answer = lab.docker(&[&flags[..], &["sh", "-c", script]].concat());
    assert_eq!((answer.status, answer.out.as_str()), (5, "5\n6\nb\n/etc\n"), "{}", answer.err);
    assert_eq!(lab.docker(&["exec", "exec", "id", "-u"]).ok(), "1000\n");
    lab.docker(&["exec", "--detach", "--user", "0", "exec", "sh", "-c", "echo x > /tmp/detached"]).ok();
    eventually("the file", || lab.docker(&["exec", "exec", "cat", "/tmp/detached"]).out == "x\n");
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
    let program = ["busybox", "sh", "-c", "tty; test -t 0 && exit 4"];
    let command = lab.command(&[&["run", "--rm", "--network", "none", "-it"], &program[..]].concat());
    let (status, shown) = at_terminal(command);
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
    let more = ["--security-opt", "no-new-privileges", "--ulimit", "nofile=512:1024", "--oom-score-adj", "500"];
    let script =
        "id -u; id -g; id -G; ulimit -n; cat /proc/self/oom_score_adj; grep -E 'CapBnd|NoNew' /proc/self/status";
    let seen = lab.run(&[&flags[..], &more].concat(), script).ok();
    assert_eq!(seen, "1000\n7\n7 8\n512\n500\nCapBnd:\t0000000000001000\nNoNewPrivs:\t1\n");
}

fn dockers_capabilities_are_all_that_a_process_has(lab: &Lab) {
    let script = "grep CapEff /proc/self/status; chown 5 /tmp && echo chowned; mount -t tmpfs t /tmp || echo refused";
    let seen = lab.run(&[], script).ok();
    assert_eq!(seen, "CapEff:\t00000000a80425fb\nchowned\nrefused\n");
    let script = "chown 5 /tmp || echo refused; mount -t tmpfs t /tmp && echo mounted";
    // AppArmor, where there is one, forbids mounts as well.
    let flags = ["--cap-drop", "chown", "--cap-add", "sys_admin", "--security-opt", "apparmor=unconfined"];
    assert_eq!(lab.run(&flags, script).ok(), "refused\nmounted\n");
}

/// Docker knows the capabilities up to `CAP_AUDIT_READ`, or more.
fn a_privileged_container_has_what_the_daemon_may_give(lab: &Lab) {
    let own = loment_sys::credentials::grantable().unwrap();
    let known = (1 << 38) - 1;
    let check = |text: &str| {
        let given = u64::from_str_radix(text.strip_prefix("CapEff:\t").unwrap().trim_end(), 16).unwrap();
        assert_eq!((given & !own, own & known & !given), (0, 0), "{given:x} of {own:x}");
    };
    let script = "grep CapEff: /proc/self/status; test -e /dev/kmsg && mount -t tmpfs t /tmp && echo mounted";
    let seen = lab.run(&["--privileged"], script).ok();
    check(seen.strip_suffix("mounted\n").unwrap());
    lab.start("privileged", &[], "exec sleep 1000");
    check(&lab.docker(&["exec", "--privileged", "privileged", "grep", "CapEff:", "/proc/self/status"]).ok());
    lab.remove("privileged");
}

fn the_default_seccomp_profile_holds(lab: &Lab) {
    let script = "grep Seccomp: /proc/self/status; unshare -U true 2>/dev/null && echo new namespace";
    let answer = lab.run(&[], script);
    assert_eq!((answer.status, answer.out.as_str()), (1, "Seccomp:\t2\n"));
    let unconfined = lab.run(&["--security-opt", "seccomp=unconfined"], script).ok();
    assert_eq!(unconfined, "Seccomp:\t0\nnew namespace\n");
    let profile = lab.directory.join("profile.json");
    let text =
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}"#;
    std::fs::write(&profile, text).unwrap();
    let answer = lab.run(&["--security-opt", &format!("seccomp={}", profile.display())], "mkdir /x");
    assert!(answer.status == 1 && answer.err.contains("not permitted"), "{answer:?}");
}

fn dockers_init_is_the_first_process(lab: &Lab) {
    // The orphan's end is init's to see: without one it would stay a zombie of the shell's.
    lab.start("init", &["--init"], "sh -c 'sleep 0.1 & echo $! > /tmp/orphan'; exec sleep 1000");
    assert_eq!(lab.docker(&["exec", "init", "cat", "/proc/1/comm"]).ok(), "docker-init\n");
    eventually("the orphan's end", || {
        let script = "test -s /tmp/orphan && ! test -e /proc/$(cat /tmp/orphan)";
        lab.docker(&["exec", "init", "sh", "-c", script]).status == 0
    });
    lab.docker(&["stop", "--time", "30", "init"]).ok();
    assert_eq!(lab.inspect("init", ".State.ExitCode"), "143");
    lab.remove("init");
}
