//! Whatever a specification says, planning answers: with a plan or with the name of a field.

use std::{path::PathBuf, sync::Arc};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{process::Affinity, *};
use crate::{
    container::{Io, RootfsMount},
    error::Cause,
};

fn request(spec: &Value, role: Role, rootfs: Vec<RootfsMount>) -> Option<Request> {
    Some(Request {
        id: "id".into(),
        bundle: PathBuf::from("/bundle"),
        spec: Arc::new(serde_json::from_value(spec.clone()).ok()?),
        rootfs,
        io: Io::Plain { stdin: None, stdout: None, stderr: None },
        role,
    })
}

/// Every field that planning looks at.
fn full() -> Value {
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": true, "consoleSize": {"width": 80, "height": 25},
            "user": {"uid": 1, "gid": 2, "additionalGids": [3], "umask": 18},
            "args": ["sh", "-c", "true"], "env": ["A=b"], "cwd": "/",
            "capabilities": {"bounding": ["CAP_KILL"], "ambient": ["CAP_KILL"]},
            "rlimits": [{"type": "RLIMIT_CORE", "soft": 1, "hard": 2}],
            "noNewPrivileges": true, "oomScoreAdj": 7, "apparmorProfile": "p", "selinuxLabel": "l",
            "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
            "scheduler": {"policy": "SCHED_OTHER", "nice": 1, "priority": 0, "flags": ["SCHED_RESET_ON_FORK"]},
            "execCPUAffinity": {"initial": "0", "final": "0-3,7"}
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "h", "domainname": "d",
        "hooks": {
            "prestart": [{"path": "/p", "args": ["p", "a"], "env": ["A=b"], "timeout": 1}],
            "createRuntime": [{"path": "/p"}], "createContainer": [{"path": "/p"}], "poststop": [{"path": "/p"}]
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid"]},
            {"destination": "/v", "type": "bind", "source": "/v", "options": ["rbind", "rro", "rslave"]},
            {"destination": "/t", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755", "tmpcopyup"]},
            {"destination": "/c", "type": "cgroup", "source": "cgroup"}
        ],
        "linux": {
            "namespaces": [
                {"type": "mount"}, {"type": "uts"}, {"type": "network", "path": "/n"}, {"type": "ipc"}, {"type": "pid"}
            ],
            "sysctl": {"net.ipv4.ip_forward": "1", "kernel.shmmax": "2"},
            "cgroupsPath": "/a/b",
            "devices": [{"path": "/dev/x", "type": "c", "major": 1, "minor": 3, "fileMode": 438, "uid": 0, "gid": 0}],
            "rootfsPropagation": "rslave",
            "maskedPaths": ["/proc/kcore"], "readonlyPaths": ["/proc/sys"],
            "mountLabel": "m", "personality": {"domain": "LINUX32"}
        }
    })
}

/// Paths of all values in a document.
fn pointers(value: &Value, at: &str, all: &mut Vec<String>) {
    all.push(at.to_owned());
    match value {
        Value::Array(list) => list.iter().enumerate().for_each(|(i, v)| pointers(v, &format!("{at}/{i}"), all)),
        Value::Object(map) => map.iter().for_each(|(k, v)| pointers(v, &format!("{at}/{k}"), all)),
        _ => {}
    }
}

fn strange() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        "[./a:=,\0-]{0,10}".prop_map(Value::from),
        prop::sample::select(vec!["bind", "ro", "..", "/", "", "overlay", "lowerdir=", "rprivate", "0-", "CAP_X"])
            .prop_map(Value::from),
        prop::collection::vec("[a/.=]{0,5}", 0..3).prop_map(Value::from),
        Just(json!({})),
        Just(json!([])),
    ]
}

/// A specification with some values replaced.
fn mutated() -> impl Strategy<Value = Value> {
    let mut all = Vec::new();
    pointers(&full(), "", &mut all);
    prop::collection::vec((prop::sample::select(all), strange()), 0..4).prop_map(|changes| {
        let mut spec = full();
        for (pointer, value) in changes {
            if let Some(place) = spec.pointer_mut(&pointer) {
                *place = value;
            }
        }
        spec
    })
}

fn check(request: &Request) -> std::result::Result<(), TestCaseError> {
    match plan(request) {
        Ok(plan) => {
            let inside = |path: &Path| path.is_relative() && path.components().all(|c| c.as_os_str() != "..");
            prop_assert!(plan.view.mounts.iter().all(|mount| inside(&mount.target)));
            prop_assert!(plan.view.masked.iter().chain(&plan.view.readonly).all(|path| inside(path)));
            prop_assert!(inside(&plan.process.cwd));
            prop_assert!(!plan.process.args.is_empty());
            prop_assert!(plan.view.root.is_empty() == (request.role == Role::Holder));
        }
        Err(error) => prop_assert!(matches!(error.cause, Cause::Invalid(_)) && !error.step.is_empty(), "{}", error),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_specification_is_planned_or_refused_by_field(spec in mutated(), holder in any::<bool>()) {
        let role = if holder { Role::Holder } else { Role::Program };
        if let Some(request) = request(&spec, role, Vec::new()) {
            check(&request)?;
        }
    }

    #[test]
    fn any_rootfs_mount_is_planned_or_refused(
        kind in prop::sample::select(vec!["overlay", "bind", "rbind", "ext4", "", "fuse.x", "none"]),
        source in "[/a\0]{0,4}",
        target in "[/a.]{0,6}",
        options in prop::collection::vec("(ro|rbind|lowerdir=[/a:\\\\]{0,6}|upperdir=/u|workdir=/w|[a-z]{0,4}|\\PC{0,4})", 0..5),
    ) {
        let mount = RootfsMount { kind: kind.into(), source, target, options };
        check(&request(&full(), Role::Program, vec![mount]).unwrap())?;
    }
}

#[test]
fn a_full_specification_is_planned() {
    let plan = plan(&request(&full(), Role::Program, Vec::new()).unwrap()).unwrap();
    assert_eq!(plan.process.affinity, Affinity { initial: Some(vec![0]), last: Some(vec![0, 1, 2, 3, 7]) });
    assert_eq!(plan.process.capabilities.bounding, 1 << 5);
    assert_eq!(plan.view.mounts.len(), 4);
    assert_eq!(plan.view.devices.unwrap().len(), 7);
    assert_eq!(plan.sysctls.len(), 2);
}

#[test]
fn every_capability_of_the_specification_has_a_number() {
    let names: Vec<_> = caps::all().iter().map(ToString::to_string).collect();
    let mut spec = full();
    spec["process"]["capabilities"]["bounding"] = json!(names);
    let plan = plan(&request(&spec, Role::Program, Vec::new()).unwrap()).unwrap();
    assert_eq!(plan.process.capabilities.bounding.count_ones() as usize, names.len());
}

#[test]
fn an_id_cannot_become_a_path() {
    for id in ["", ".", "..", "a/b", ".hidden", "a b", "\u{e4}", "a\0"] {
        assert!(check_id(id).is_err(), "{id}");
    }
    for id in ["a".repeat(256), "\n".repeat(1 << 20)] {
        let refusal = check_id(&id).unwrap_err().to_string();
        assert!(refusal.len() < 200 && refusal.contains("255"), "{refusal}");
    }
    for id in ["a", "_1", "9".repeat(255).as_str(), "+x.y-z", "0f".repeat(32).as_str()] {
        assert!(check_id(id).is_ok(), "{id}");
    }
}

#[test]
fn a_holder_needs_no_mount_namespace_and_no_root() {
    let mut spec = full();
    spec["root"] = Value::Null;
    spec["mounts"] = Value::Null;
    spec["linux"]["namespaces"] = json!([{"type": "uts"}, {"type": "ipc"}, {"type": "network"}]);
    assert!(plan(&request(&spec, Role::Holder, Vec::new()).unwrap()).is_ok());
    assert!(plan(&request(&spec, Role::Program, Vec::new()).unwrap()).is_err());
}
