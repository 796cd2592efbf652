//! Who a container's processes are, what they may do, and what they are connected to.

use crate::{
    engine::{
        Case, Engine, cases,
        common::{
            a_terminal_is_the_containers_own, an_exec_has_user_environment_and_directory, an_exec_may_have_a_terminal,
            input_and_output_go_through,
        },
        eventually,
    },
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
    let own = loment_sys::credentials::grantable(u64::MAX).unwrap();
    let known = (1 << 38) - 1;
    let check = |text: &str| {
        let given = u64::from_str_radix(text.strip_prefix("CapEff:\t").unwrap().trim_end(), 16).unwrap();
        assert_eq!((given & !own, own & known & !given), (0, 0), "{given:x} of {own:x}");
    };
    let script = "grep CapEff: /proc/self/status; test -e /dev/kmsg && mount -t tmpfs t /tmp && echo mounted";
    let seen = lab.run(&["--privileged"], script).ok();
    check(seen.strip_suffix("mounted\n").unwrap());
    lab.start("privileged", &[], "exec sleep 1000");
    check(&lab.call(&["exec", "--privileged", "privileged", "grep", "CapEff:", "/proc/self/status"]).ok());
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
    assert_eq!(lab.call(&["exec", "init", "cat", "/proc/1/comm"]).ok(), "docker-init\n");
    eventually("the orphan's end", || {
        let script = "test -s /tmp/orphan && ! test -e /proc/$(cat /tmp/orphan)";
        lab.call(&["exec", "init", "sh", "-c", script]).status == 0
    });
    lab.call(&["stop", "--time", "30", "init"]).ok();
    assert_eq!(lab.inspect("init", ".State.ExitCode"), "143");
    lab.remove("init");
}
