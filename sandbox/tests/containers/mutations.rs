//! Specifications that something has happened to: the answer is a container or an error that says where, and whatever
//! it is, nothing is left of it.
//!
//! What would reach the host by its very meaning (where the root and bind mounts come from, which cgroup) is changed to
//! what cannot harm it; everything else to anything.

use std::{fs, os::fd::AsFd};

use loment_cgroups::Layout;
use loment_sandbox::{
    Error,
    container::{Container, Creating},
    error::Cause,
};
use nix::{
    libc::SIGKILL,
    poll::{PollFd, PollFlags, poll},
};
use proptest::{
    prelude::*,
    test_runner::{TestCaseResult, TestRunner},
};
use serde_json::{Value, json};

use crate::support::*;

pub(crate) const TESTS: &[(&str, fn())] = tests![
    a_mutated_specification_is_a_container_or_a_clear_error_and_leaves_nothing,
    a_mutated_process_is_an_exec_or_a_clear_error_and_leaves_its_container_alone,
    known_mutations_are_answered,
];

/// What happens to a value. Numbers choose from what there is.
#[derive(Debug, Clone)]
enum Change {
    Drop,
    Twice,
    Many,
    Exchange(usize),
    Become(Value),
}

fn strange() -> impl Strategy<Value = Value> {
    let words = [
        "",
        "/",
        "..",
        "../../..",
        ".",
        "/proc/self/fd/3",
        "/dev/null",
        "0",
        "-1",
        "0-",
        "99999999999999999999",
        "ro",
        "rw",
        "bind",
        "rro",
        "rshared",
        "mode=9",
        "size=-1",
        "size=1",
        "nr_inodes=1",
        "tmpfs",
        "proc",
        "CAP_X",
        "a=b",
        "RLIMIT_AS",
        "RLIMIT_CPU",
        "SCHED_FIFO",
        "SCMP_ACT_KILL",
        "SCMP_ACT_NOTIFY",
        "SCMP_CMP_GT",
        "LINUX32",
        "%s%n",
        "a\0b",
        "\u{202e}x",
        "network",
        "pid",
        "uts",
    ];
    let numbers = [0, 1, -1, 7, 255, 4096, i64::from(i32::MAX), i64::from(u32::MAX), 1 << 40, i64::MAX, i64::MIN];
    prop_oneof![
        4 => prop::sample::select(words.to_vec()).prop_map(Value::from),
        4 => prop::sample::select(numbers.to_vec()).prop_map(Value::from),
        1 => Just(Value::from(u64::MAX)),
        1 => Just(Value::from(1.5)),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(Value::Null),
        1 => Just(json!([])),
        1 => Just(json!({})),
        1 => "\\PC{1,20}".prop_map(Value::from),
        1 => Just(Value::from("x".repeat(5000))),
        1 => Just(Value::from("/deep".repeat(1200))),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        2 => Just(Change::Drop),
        1 => Just(Change::Twice),
        1 => Just(Change::Many),
        2 => any::<usize>().prop_map(Change::Exchange),
        5 => strange().prop_map(Change::Become),
    ]
}

/// One to four changes, each to a value chosen by number.
fn changes() -> impl Strategy<Value = Vec<(usize, Change)>> {
    prop::collection::vec((any::<usize>(), change()), 1..5)
}

/// Paths of all values in a document.
fn pointers(value: &Value, at: &str, all: &mut Vec<String>) {
    let escaped = |key: &str| key.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Array(list) => list.iter().enumerate().for_each(|(i, v)| pointers(v, &format!("{at}/{i}"), all)),
        Value::Object(map) => map.iter().for_each(|(k, v)| pointers(v, &format!("{at}/{}", escaped(k)), all)),
        _ => {}
    }
    if !at.is_empty() {
        all.push(at.to_owned());
    }
}

/// Whether a value says what of the host is used.
fn reaches_the_host(pointer: &str) -> bool {
    ["/source", "/root/path", "/root", "/linux/cgroupsPath", "/linux", "/mounts"]
        .iter()
        .any(|end| pointer.ends_with(end))
        || pointer.strip_prefix("/mounts/").is_some_and(|rest| !rest.contains('/'))
}

fn mutate(document: &mut Value, changes: &[(usize, Change)]) {
    for (choice, change) in changes {
        let mut all = Vec::new();
        pointers(document, "", &mut all);
        let Some(pointer) = all.get(choice % all.len().max(1)) else { return };
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let value = document.pointer(pointer).unwrap().clone();
        let instead = match change {
            Change::Drop if !pointer.ends_with("cgroupsPath") => None,
            Change::Exchange(other) if !reaches_the_host(pointer) => {
                document.pointer(&all[other % all.len()]).cloned().filter(|other| !other.is_object())
            }
            Change::Become(other) if !reaches_the_host(pointer) => Some(other.clone()),
            Change::Become(Value::String(other)) if pointer.ends_with("/source") => {
                Some(format!("no-such/{}", other.replace("..", "")).into())
            }
            _ => Some(value.clone()),
        };
        match (document.pointer_mut(parent).unwrap(), instead, change) {
            (Value::Object(map), None, _) => drop(map.remove(&name.replace("~1", "/").replace("~0", "~"))),
            (Value::Array(list), None, _) => drop(list.remove(name.parse().unwrap())),
            (Value::Array(list), _, Change::Twice) => list.push(value),
            (Value::Array(list), _, Change::Many) if list.len() < 50 => list.extend(std::iter::repeat_n(value, 500)),
            (_, Some(instead), _) => *document.pointer_mut(pointer).unwrap() = instead,
            (_, None, _) => {}
        }
    }
}

/// A specification that has a bit of everything.
fn rich() -> Bundle {
    let mut bundle = Bundle::new("true");
    fs::create_dir(bundle.path.join("volume")).unwrap();
    let spec = &mut bundle.spec;
    spec["annotations"] = json!({"a/b": "c"});
    spec["domainname"] = json!("example");
    let process = &mut spec["process"];
    process["user"] = json!({"uid": 1000, "gid": 1000, "umask": 18, "additionalGids": [1, 2]});
    process["noNewPrivileges"] = json!(true);
    process["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]);
    process["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 4});
    process["scheduler"] = json!({"policy": "SCHED_OTHER", "nice": 3});
    process["execCPUAffinity"] = json!({"initial": "0", "final": "0"});
    let linux = &mut spec["linux"];
    linux["sysctl"] = json!({"net.ipv4.ip_forward": "1", "kernel.shmmni": "100"});
    linux["devices"] = json!([{"path": "/dev/x", "type": "c", "major": 1, "minor": 3, "fileMode": 438, "uid": 1, "gid": 1},
        {"path": "/dev/pipe", "type": "p", "major": -1, "minor": -1}]);
    linux["memoryPolicy"] = json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]});
    linux["personality"] = json!({"domain": "LINUX"});
    linux["rootfsPropagation"] = json!("rslave");
    linux["resources"]["memory"] = json!({"limit": 100_000_000, "swappiness": 10});
    linux["resources"]["pids"] = json!({"limit": 100});
    linux["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "syscalls": [{"names": ["mkdir", "chown"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1,
            "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]}]});
    let options = ["rbind", "ro", "rprivate", "nosuid"];
    bundle.mount(json!({"destination": "/v", "type": "bind", "source": "volume", "options": options}));
    bundle.mount(
        json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777", "size=64k"]}),
    );
    bundle
}

/// An error that says what was being done, and to what.
fn check_error(error: &Error) -> TestCaseResult {
    let text = error.to_string();
    let is_cgroups = matches!(error.cause, Cause::Cgroup(_));
    prop_assert!(is_cgroups || !error.step.is_empty(), "{text}");
    prop_assert!(!text.contains("status 101"), "the child panicked: {text}");
    prop_assert!(!text.contains("cannot be understood"), "{text}");
    Ok(())
}

/// Waits for news. Nothing here takes that long unless it waits for ever.
fn await_news(fd: &impl AsFd, what: &str) -> TestCaseResult {
    let news = poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], 30_000u16).unwrap();
    prop_assert!(news > 0, "waiting for ever: {what}");
    Ok(())
}

fn live(bundle: &Bundle) -> TestCaseResult {
    if serde_json::from_value::<oci_spec::runtime::Spec>(bundle.spec.clone()).is_err() {
        return Ok(());
    }
    let creating = match Creating::begin(bundle.request(no_io()), &Layout::detect().unwrap()) {
        Ok(creating) => creating,
        Err(error) => return check_error(&error),
    };
    await_news(&creating, "create")?;
    match creating.finish() {
        Ok(mut container) => {
            let ran = run(&mut container);
            container.delete().unwrap();
            ran
        }
        Err(error) => check_error(&error),
    }
}

fn run(container: &mut Container) -> TestCaseResult {
    let mut starting = container.start().unwrap();
    loop {
        await_news(&starting, "start")?;
        match starting.advance() {
            Ok(false) => {}
            Ok(true) => break,
            Err(error) => return check_error(&error),
        }
    }
    // It may have become another program, which need not end.
    let _ = poll(&mut [PollFd::new(container.init().as_fd(), PollFlags::POLLIN)], 500u16).unwrap();
    container.init().signal(SIGKILL).unwrap();
    let code = wait(container.init_mut()).code;
    prop_assert_ne!(code, 101, "the child panicked");
    Ok(())
}

/// What no container may change, beside what every test is asked for.
fn host() -> Value {
    let names = |path: &str| {
        let mut names: Vec<_> = fs::read_dir(path).unwrap().flatten().map(|e| e.file_name()).collect();
        names.sort();
        format!("{names:?}")
    };
    let read = |path: &str| fs::read_to_string(path).unwrap();
    let uname = nix::sys::utsname::uname().unwrap();
    json!([
        names("/"),
        names("/dev"),
        fs::read_link("/dev/ptmx").ok(),
        uname.nodename().to_str(),
        uname.domainname().to_str(),
        read("/proc/sys/kernel/shmmni"),
        read("/proc/sys/net/ipv4/ip_forward"),
    ])
}

/// Runs `case` with random changes: some seconds' worth, or as many as PROPTEST_CASES says.
fn with_changes(case: impl Fn(Vec<(usize, Change)>) -> TestCaseResult) {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(60);
    let config =
        ProptestConfig { failure_persistence: None, max_shrink_iters: 200, ..ProptestConfig::with_cases(cases) };
    if let Err(error) = TestRunner::new(config).run(&changes(), case) {
        panic!("{error}");
    }
}

fn a_mutated_specification_is_a_container_or_a_clear_error_and_leaves_nothing() {
    let host_before = host();
    with_changes(|changes| {
        let mut bundle = rich();
        mutate(&mut bundle.spec, &changes);
        let before = machine();
        let answer = live(&bundle);
        prop_assert_eq!(machine(), before, "left behind by {}", bundle.spec);
        prop_assert_eq!(&host(), &host_before);
        answer.map_err(|error| TestCaseError::fail(format!("{error}\n{}", bundle.spec)))
    });
}

fn a_mutated_process_is_an_exec_or_a_clear_error_and_leaves_its_container_alone() {
    let bundle = Bundle::new("sleep 1000");
    let running = bundle.started();
    let init = running.0.init().pid();
    let before = machine();
    with_changes(|changes| {
        let mut process = rich().spec["process"].clone();
        mutate(&mut process, &changes);
        let Ok(spec) = serde_json::from_value(process.clone()) else { return Ok(()) };
        match running.0.exec(&spec, no_io()) {
            Err(error) => check_error(&error)?,
            Ok(mut executing) => loop {
                await_news(&executing, "exec")?;
                match executing.advance() {
                    Ok(false) => {}
                    Err(error) => break check_error(&error)?,
                    Ok(true) => {
                        let (mut process, _) = executing.finish().unwrap();
                        let _ = poll(&mut [PollFd::new(process.as_fd(), PollFlags::POLLIN)], 500u16).unwrap();
                        process.signal(SIGKILL).unwrap();
                        prop_assert_ne!(wait(&mut process).code, 101, "the child panicked");
                        break;
                    }
                }
            },
        }
        prop_assert_eq!(machine(), before.clone(), "left behind by {}", process);
        prop_assert_eq!(running.0.cgroup().pids().unwrap(), vec![init]);
        Ok(())
    });
}

/// What random changes have found, or might find too rarely.
fn known_mutations_are_answered() {
    let host_before = host();
    let deep = "/deep".repeat(1200);
    let many = |value: Value, count: usize| Value::Array(vec![value; count]);
    let cases = [
        ("/process/rlimits", json!([{"type": "RLIMIT_AS", "soft": 0, "hard": 0}])),
        ("/process/rlimits", json!([{"type": "RLIMIT_NOFILE", "soft": 0, "hard": 0}])),
        ("/process/rlimits", json!([{"type": "RLIMIT_STACK", "soft": 0, "hard": 0}])),
        ("/process/rlimits", json!([{"type": "RLIMIT_DATA", "soft": 0, "hard": 0}])),
        ("/process/rlimits", json!([{"type": "RLIMIT_CPU", "soft": 0, "hard": 0}])),
        ("/process/rlimits", json!([{"type": "RLIMIT_FSIZE", "soft": 0, "hard": 0}])),
        ("/process/rlimits", json!([{"type": "RLIMIT_NPROC", "soft": 0, "hard": 0}])),
        ("/process/user/additionalGids", many(json!(7), 70_000)),
        ("/process/user/uid", json!(u32::MAX - 1)),
        ("/process/env", many(json!(format!("A={}", "x".repeat(100_000))), 30)),
        ("/process/args", many(json!("x"), 300_000)),
        ("/process/cwd", json!(deep)),
        ("/process/cwd", json!("/proc/self/fd/7")),
        ("/mounts/0/destination", json!(deep)),
        ("/mounts/0/options", many(json!("nosuid"), 10_000)),
        ("/linux/maskedPaths", many(json!("/proc/kcore"), 2_000)),
        ("/linux/readonlyPaths", many(json!("/proc/sys"), 200)),
        ("/linux/maskedPaths/0", json!(deep)),
        ("/linux/devices/0/path", json!("/dev/null/x")),
        ("/linux/devices/0/path", json!("/dev")),
        ("/linux/devices/0/path", json!("/../../dev/x")),
        (
            "/linux/resources/devices",
            many(json!({"allow": true, "type": "c", "major": 1, "minor": 1, "access": "r"}), 3_000),
        ),
        ("/linux/resources/memory/limit", json!(1)),
        ("/linux/resources/pids/limit", json!(i64::MAX)),
        ("/linux/resources/cpu/period", json!(u64::MAX)),
        ("/linux/namespaces", many(json!({"type": "network"}), 1000)),
        ("/linux/sysctl", json!({"net/../../kernel/hostname": "x"})),
        ("/linux/sysctl", json!({"net.ipv4.ip_forward": "x".repeat(100_000)})),
        ("/linux/seccomp/syscalls/0/names", many(json!("mkdir"), 50_000)),
        ("/linux/seccomp/syscalls", many(json!({"names": ["exit_group", "write"], "action": "SCMP_ACT_KILL"}), 10)),
        ("/linux/seccomp/defaultAction", json!("SCMP_ACT_KILL_PROCESS")),
        ("/hostname", json!("x".repeat(65))),
        ("/hostname", json!("a\0b")),
        ("/root/path", json!("a\0b")),
        ("/root/path", json!("volume")),
    ];
    for (pointer, value) in cases {
        let mut bundle = rich();
        *bundle.spec.pointer_mut(pointer).unwrap() = value;
        let before = machine();
        live(&bundle).unwrap_or_else(|error| panic!("{pointer}: {error}"));
        assert_eq!(machine(), before, "{pointer}");
        assert_eq!(host(), host_before, "{pointer}");
    }
}
