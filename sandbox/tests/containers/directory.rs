//! The working directory of a program that only its user may enter.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
};

use loment_sys::credentials::{self, CapabilitySets};
use serde_json::{Value, json};

use crate::{ambient::in_another_process, support::*, users};

pub(crate) const TESTS: &[(&str, fn())] = tests![
    a_directory_that_only_the_user_may_enter_is_entered_by_it,
    a_directory_that_the_runtime_may_not_reach_is_entered_by_the_user,
    a_directory_that_not_even_the_user_may_enter_is_named,
];

/// With each order of filter and user.
fn profiles() -> [(Value, bool); 3] {
    let profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": ["setdomainname"], "action": "SCMP_ACT_ERRNO"}]
    });
    [(Value::Null, false), (profile.clone(), true), (profile, false)]
}

fn process(cwd: &str) -> Value {
    json!({
        "args": ["./where"], "cwd": cwd, "env": [PATH],
        "user": {"uid": 1000, "gid": 1000, "additionalGids": [7]}
    })
}

fn program(directory: &Path) {
    fs::create_dir_all(directory).unwrap();
    fs::write(directory.join("where"), "#!/bin/sh\npwd\n").unwrap();
    fs::set_permissions(directory.join("where"), fs::Permissions::from_mode(0o755)).unwrap();
}

fn only_for(directory: &Path, uid: u32, gid: u32, mode: u32) {
    chown(directory, Some(uid), Some(gid)).unwrap();
    fs::set_permissions(directory, fs::Permissions::from_mode(mode)).unwrap();
}

fn runs_in(bundle: &mut Bundle, cwd: &str) {
    for (profile, no_new_privileges) in profiles() {
        bundle.spec["linux"]["seccomp"] = profile;
        bundle.spec["process"] = process(cwd);
        bundle.spec["process"]["noNewPrivileges"] = json!(no_new_privileges);
        assert_eq!(bundle.run(), (0, format!("{cwd}\n")), "{:?}", bundle.spec["linux"]["seccomp"]);
    }
}

/// The directory belongs to a group of the container and to nobody that it knows: its root has no power over that.
fn a_directory_that_only_the_user_may_enter_is_entered_by_it() {
    let mut bundle = users::bundle("sleep 100");
    let closed = bundle.rootfs().join("work/closed");
    program(&closed.join("deep"));
    program(&closed);
    only_for(&closed, 0, users::FIRST + 7, 0o770);
    for cwd in ["/work/closed", "/work/closed/deep"] {
        let running = bundle.started();
        assert_eq!(running.exec_process(process(cwd)), (0, format!("{cwd}\n")), "exec");
    }
    for cwd in ["/work/closed", "/work/closed/deep"] {
        runs_in(&mut bundle, cwd);
    }
}

/// As on a network file system that does not trust the machine's root.
fn a_directory_that_the_runtime_may_not_reach_is_entered_by_the_user() {
    const DAC_OVERRIDE: u64 = 1 << 1;
    const DAC_READ_SEARCH: u64 = 1 << 2;
    // A cgroup is there already: to make one at the top takes what is given up.
    let keeper = Bundle::new("sleep 100");
    let _running = keeper.started();
    let mut bundle = Bundle::new("");
    bundle.spec["linux"]["cgroupsPath"] = json!(format!("{}/below/{}", cgroups(), bundle.id));
    let home = bundle.rootfs().join("home");
    program(&home.join("deep"));
    only_for(&home, 1000, 1000, 0o700);
    in_another_process(|| {
        let left = credentials::grantable(u64::MAX).unwrap() & !(DAC_OVERRIDE | DAC_READ_SEARCH);
        credentials::limit_bounding_set(left).unwrap();
        credentials::capset(CapabilitySets { effective: left, permitted: left, inheritable: 0 }).unwrap();
        assert!(fs::read_dir(&home).is_err());
        runs_in(&mut bundle, "/home/deep");
    });
    for hierarchy in hierarchies() {
        let _ = fs::remove_dir(hierarchy.join(&cgroups()[1..]).join("below"));
    }
}

fn a_directory_that_not_even_the_user_may_enter_is_named() {
    let mut bundle = users::bundle("");
    let closed = bundle.rootfs().join("work/closed");
    program(&closed);
    only_for(&closed, 0, 0, 0o700);
    bundle.spec["process"] = process("/work/closed");
    let error = bundle.refused();
    assert!(error.contains("enter working directory /work/closed: Permission denied"), "{error}");
}
