//! Namespaces of a pod that no process holds.

use std::{
    fs::{self, File},
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
    sync::Arc,
};

use loment_cgroups::Layout;
use loment_sandbox::{
    container::{Creating, Extras, Pinning, Pins, users_of_network},
    trace::Trace,
};
use loment_sys::{clone::exit_now, fork, pidfd};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{Signal, kill},
        wait::waitpid,
    },
    unistd::pause,
};
use oci_spec::runtime::LinuxNamespaceType;
use serde_json::{Value, json};

use crate::{support::*, users};

pub(crate) const TESTS: &[(&str, fn())] = tests![
    pinned_namespaces_are_there_without_any_process,
    a_container_joins_what_is_pinned,
    over_a_pinned_stub_a_container_sees_the_same_mounts,
    namespaces_end_with_their_pins,
    a_founder_that_fails_tells_why_and_leaves_nothing,
    a_founder_that_nobody_waits_for_leaves_nothing,
    a_founder_ends_with_its_runtime,
    pins_of_a_pod_with_its_own_users_belong_to_them,
    the_users_of_a_network_are_found,
];

/// A pod's namespaces with a name and a parameter.
fn pod() -> Value {
    json!({
        "ociVersion": "1.2.0",
        "hostname": "pinned",
        "process": {"args": ["/pause"], "cwd": "/", "user": {"uid": 0, "gid": 0}},
        "linux": {
            "namespaces": [{"type": "mount"}, {"type": "ipc"}, {"type": "uts"}, {"type": "network"}],
            "sysctl": {"kernel.shm_rmid_forced": "1", "net.ipv4.ip_unprivileged_port_start": "7"},
        },
    })
}

fn begin(spec: &Value) -> Result<Pinning, loment_sandbox::Error> {
    let spec = Arc::new(serde_json::from_value(spec.clone()).unwrap());
    Pinning::begin("pod", Path::new("/nowhere"), spec, Trace::default())
}

fn pin(spec: &Value) -> Pins {
    begin(spec).unwrap().finish().unwrap_or_else(|error| panic!("{error}"))
}

/// A bundle for a container that joins what is pinned.
fn joining(bundle: &mut Bundle, pins: &Pins) {
    let mut namespaces = vec![json!({"type": "pid"}), json!({"type": "mount"})];
    namespaces.extend(pins.paths().map(|(kind, path)| json!({"type": kind, "path": path})));
    bundle.spec["linux"]["namespaces"] = Value::Array(namespaces);
    bundle.spec.as_object_mut().unwrap().remove("hostname");
}

fn children() -> String {
    fs::read_to_string("/proc/thread-self/children").unwrap()
}

fn pinned_namespaces_are_there_without_any_process() {
    let pins = pin(&pod());
    assert_eq!(children(), "");
    let kinds: Vec<_> = pins.paths().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, [LinuxNamespaceType::Network, LinuxNamespaceType::Ipc, LinuxNamespaceType::Uts]);
    for (kind, path) in pins.paths() {
        let found = fs::read_link(&path).unwrap().display().to_string();
        let name = path.display();
        assert!(!found.is_empty() && found != namespace("self", &kind.to_string()), "{kind} at {name} is {found}");
    }
}

fn a_container_joins_what_is_pinned() {
    let pins = pin(&pod());
    let parameters = "cat /proc/sys/kernel/shm_rmid_forced /proc/sys/net/ipv4/ip_unprivileged_port_start";
    let mut bundle = Bundle::new(&format!("hostname; {parameters}; cat /sys/class/net/lo/flags"));
    joining(&mut bundle, &pins);
    // Up, loopback.
    assert_eq!(bundle.output(), "pinned\n1\n7\n0x9\n");
    let mut bundle = Bundle::new("sleep 100");
    joining(&mut bundle, &pins);
    let running = bundle.started();
    for (kind, path) in pins.paths() {
        let of_pin = fs::read_link(path).unwrap().display().to_string();
        assert_eq!(namespace(running.0.init().pid(), &kind.to_string()), of_pin);
    }
}

fn over_a_pinned_stub_a_container_sees_the_same_mounts() {
    let pins = pin(&pod());
    let script = "sed 's/^[0-9]* [0-9]* [0-9:]* [^ ]* //; s/ master:[0-9]*//' /proc/self/mountinfo; ls / /..";
    let bundle = Bundle::new(script);
    let over = |stub: Option<OwnedFd>| {
        let (io, output) = output();
        let extras = Extras { stub, ..Extras::default() };
        let creating = Creating::begin_with(bundle.request(io), extras, &Layout::detect().unwrap()).unwrap();
        let mut running = Running(creating.finish().unwrap_or_else(|error| panic!("{error}")));
        running.0.start().unwrap().finish().unwrap();
        let text = read(output);
        (wait(running.0.init_mut()).code, text)
    };
    let stub = pins.stub().expect("it has no users of its own");
    assert_eq!(over(Some(stub)), over(None));
}

fn namespaces_end_with_their_pins() {
    let pins = pin(&pod());
    let path = pins.path(LinuxNamespaceType::Ipc).unwrap();
    assert!(File::open(&path).is_ok());
    drop(pins);
    assert!(!exists(path), "a pin is nothing but a descriptor");
}

fn a_founder_that_fails_tells_why_and_leaves_nothing() {
    let mut spec = pod();
    spec["linux"]["sysctl"]["net.ipv4.no_such_parameter"] = json!("1");
    let error = begin(&spec).unwrap().finish().unwrap_err().to_string();
    assert!(error.contains("no_such_parameter"), "{error}");
    spec["linux"]["namespaces"] = json!([{"type": "ipc"}, {"type": "uts"}]);
    let error = begin(&spec).unwrap_err().to_string();
    assert!(error.contains("net.ipv4"), "{error}");
}

fn a_founder_that_nobody_waits_for_leaves_nothing() {
    let pinning = begin(&pod()).unwrap();
    assert!(exists(format!("/proc/{}", pinning.pid())));
    drop(pinning);
}

fn a_founder_ends_with_its_runtime() {
    let (reader, writer) = std::io::pipe().unwrap();
    let fork::Fork::Parent(runtime) = fork::fork().unwrap() else {
        let pinning = begin(&pod()).unwrap();
        nix::unistd::write(&writer, pinning.pid().to_string().as_bytes()).unwrap();
        drop(writer);
        pause();
        exit_now(0)
    };
    drop(writer);
    let founder = pidfd::open(read(reader.into()).parse().unwrap()).unwrap();
    kill(runtime, Signal::SIGKILL).unwrap();
    waitpid(runtime, None).unwrap();
    // It is nobody's child here: that it has ended is all that can be seen.
    let mut ended = [PollFd::new(founder.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut ended, PollTimeout::from(20_000_u16)), Ok(1), "it outlives its runtime");
}

/// A pod's namespaces with users of its own.
fn pod_with_users() -> Value {
    let mut spec = pod();
    spec["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    for kind in ["uidMappings", "gidMappings"] {
        spec["linux"][kind] = json!([{"containerID": 0, "hostID": users::FIRST, "size": 65_536}]);
    }
    spec
}

fn pins_of_a_pod_with_its_own_users_belong_to_them() {
    let spec = pod_with_users();
    let pins = pin(&spec);
    assert!(pins.stub().is_none(), "what is mounted there would be theirs");
    let users = fs::read_link(pins.path(LinuxNamespaceType::User).unwrap()).unwrap();
    let mut bundle = users::bundle("hostname; id -u; cat /proc/self/uid_map | tr -s ' '; sleep 0.1");
    joining(&mut bundle, &pins);
    assert_eq!(bundle.output(), format!("pinned\n0\n 0 {} 65536\n", users::FIRST));
    let mut bundle = users::bundle("sleep 100");
    joining(&mut bundle, &pins);
    let running = bundle.started();
    assert_eq!(namespace(running.0.init().pid(), "user"), users.display().to_string());
}

fn the_users_of_a_network_are_found() {
    let pins = pin(&pod_with_users());
    let network = pins.path(LinuxNamespaceType::Network).unwrap();
    let (users, path) = users_of_network(&network).unwrap().expect("it has its own");
    let expected = fs::read_link(pins.path(LinuxNamespaceType::User).unwrap()).unwrap();
    assert_eq!(fs::read_link(path).unwrap(), expected);
    drop(users);
    assert!(users_of_network(Path::new("/proc/self/ns/net")).unwrap().is_none(), "it is our own");
    assert!(users_of_network(Path::new("/nowhere")).is_err());
}
