//! Programs with a seccomp profile that allows little.

use std::{fs, os::unix::fs::PermissionsExt};

use serde_json::{Value, json};

use crate::{support::*, users};

pub(crate) const TESTS: &[(&str, fn())] = tests![
    what_runc_needs_of_a_profile_is_enough,
    a_program_that_its_user_may_not_execute_is_passed_over,
    a_program_that_its_user_may_not_execute_is_told_as_such,
    the_runtimes_own_program_is_passed_over_in_a_later_directory_too,
];

/// What runc's own way to the program takes after the filter, what busybox takes itself, and `more`.
fn narrow(more: &[&str]) -> Value {
    json!({
        "defaultAction": "SCMP_ACT_KILL_PROCESS", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [
            {"action": "SCMP_ACT_ALLOW", "names": [
                "execve", "setuid", "setgid", "setgroups", "capset", "capget", "prctl", "futex", "close"
            ]},
            {"action": "SCMP_ACT_ALLOW", "names": [
                "arch_prctl", "brk", "exit_group", "getrandom", "getuid", "mprotect", "prlimit64", "readlink",
                "readlinkat", "rseq", "set_robust_list", "set_tid_address", "write"
            ]},
            {"action": "SCMP_ACT_ALLOW", "names": more}
        ]
    })
}

/// What busybox takes of a user that is not root.
const OF_A_USER: [&str; 2] = ["getgid", "newfstatat"];

/// A profile that forbids nothing that matters.
fn wide() -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": ["setdomainname"], "action": "SCMP_ACT_ERRNO"}]
    })
}

fn echo(no_new_privileges: bool) -> Value {
    json!({
        "args": ["echo", "said"], "cwd": "/work", "env": ["PATH=/nowhere:/etc:/bin", "A=1"],
        "user": {"uid": 1000, "gid": 1001, "additionalGids": [7], "umask": 0o27},
        "noNewPrivileges": no_new_privileges,
        "capabilities": {"bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"], "effective": ["CAP_KILL"],
            "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL"]}
    })
}

fn what_runc_needs_of_a_profile_is_enough() {
    for own_users in [false, true] {
        for no_new_privileges in [false, true] {
            for (user, more) in [(0, &[][..]), (1000, &OF_A_USER)] {
                says_it(own_users, no_new_privileges, user, more);
            }
        }
    }
}

fn says_it(own_users: bool, no_new_privileges: bool, user: u32, more: &[&str]) {
    let mut bundle = if own_users { users::bundle("") } else { Bundle::new("") };
    let mut process = echo(no_new_privileges);
    process["user"]["uid"] = json!(user);
    bundle.spec["process"] = process.clone();
    bundle.spec["hooks"]["startContainer"] = json!([{"path": "/bin/true", "args": ["true"]}]);
    bundle.spec["linux"]["seccomp"] = narrow(more);
    let case = format!("own users: {own_users}, no_new_privs: {no_new_privileges}, user {user}");
    assert_eq!(bundle.run(), (0, "said\n".into()), "{case}");
    bundle.spec["linux"]["seccomp"] = narrow(&[more, &["clock_nanosleep"]].concat());
    bundle.spec["process"]["args"] = json!(["sleep", "100"]);
    assert_eq!(bundle.started().exec_process(process), (0, "said\n".into()), "exec, {case}");
}

/// A program in /first that only root may execute.
fn with_a_program_of_roots(name: &str) -> Bundle {
    let mut bundle = Bundle::new("");
    let first = bundle.rootfs().join("first");
    fs::create_dir(&first).unwrap();
    fs::copy("/bin/busybox", first.join(name)).unwrap();
    fs::set_permissions(first.join(name), fs::Permissions::from_mode(0o700)).unwrap();
    bundle.spec["process"] = echo(false);
    bundle.spec["process"]["args"][0] = json!(name);
    bundle.spec["process"]["env"] = json!(["PATH=/first:/bin"]);
    bundle
}

fn a_program_that_its_user_may_not_execute_is_passed_over() {
    let mut bundle = with_a_program_of_roots("echo");
    for profile in [Value::Null, wide(), narrow(&OF_A_USER)] {
        bundle.spec["linux"]["seccomp"] = profile;
        assert_eq!(bundle.run(), (0, "said\n".into()));
    }
}

fn a_program_that_its_user_may_not_execute_is_told_as_such() {
    let mut bundle = with_a_program_of_roots("only");
    for (profile, name) in [(Value::Null, "only"), (wide(), "only"), (wide(), "/first/only")] {
        bundle.spec["linux"]["seccomp"] = profile;
        bundle.spec["process"]["args"][0] = json!(name);
        let error = match bundle.create(no_io()) {
            Err(error) => error.to_string(),
            Ok(mut container) => {
                let error = container.start().unwrap().finish().unwrap_err().to_string();
                container.delete().unwrap();
                error
            }
        };
        assert!(error.ends_with("only\": permission denied"), "{error}");
    }
}

fn the_runtimes_own_program_is_passed_over_in_a_later_directory_too() {
    let mut bundle = with_a_program_of_roots("it");
    fs::create_dir(bundle.rootfs().join("second")).unwrap();
    std::os::unix::fs::symlink("/proc/self/exe", bundle.rootfs().join("second/it")).unwrap();
    bundle.spec["process"]["env"] = json!(["PATH=/first:/second"]);
    for profile in [Value::Null, wide()] {
        bundle.spec["linux"]["seccomp"] = profile;
        let started = bundle.create(no_io()).and_then(|mut container| {
            let started = container.start().unwrap().finish();
            container.delete().unwrap();
            started
        });
        let error = started.unwrap_err().to_string();
        assert!(error.contains("is the runtime's own program") || error.contains("permission denied"), "{error}");
    }
}
