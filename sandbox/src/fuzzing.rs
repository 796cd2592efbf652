//! What the fuzz targets of `fuzz/` call: everything in this crate that reads what others have written. Nothing is made.

use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use oci_spec::runtime::{Process, Spec};

use crate::{
    checkpoint,
    child::elf,
    container::{Io, Request, Role, RootfsMount},
    error::Cause,
    hooks,
    lifecycle::{Event, Machine, PodSpec, Time, status::PodStatus},
    netlink,
    plan::{self, Plan, check_id},
    record::Record,
    seccomp::Filter,
};

/// A specification, to a plan or a refusal that names a field.
pub fn spec(bytes: &[u8]) {
    let Ok(spec) = serde_json::from_slice::<Spec>(bytes) else { return };
    if let Some(profile) = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref()) {
        let _filter = Filter::compile(profile);
    }
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    if let Some(bytes) = resources.and_then(|resources| serde_json::to_vec(resources).ok()) {
        loment_cgroups::fuzzing::resources(&bytes);
    }
    let spec = Arc::new(spec);
    for role in [Role::Program, Role::Holder] {
        let _plan = planned(&spec, role, Vec::new());
    }
    let _hooks = hooks::poststop(&spec, "id", Path::new("/bundle"));
}

/// The process of an exec.
pub fn process(bytes: &[u8]) {
    let Ok(process) = serde_json::from_slice::<Process>(bytes) else { return };
    if let Err(error) = plan::process::process(&process) {
        is_refusal(&error);
    }
}

/// A mount of a root file system: kind, source, target and options, a line each.
pub fn mounts(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut lines = text.split('\n').map(str::to_owned);
    let mut next = || lines.next().unwrap_or_default();
    let (kind, source, target) = (next(), next(), next());
    let mount = RootfsMount { kind, source, target, options: lines.collect() };
    let mut spec = Spec::default();
    let mut of_spec = oci_spec::runtime::Mount::default();
    of_spec
        .set_destination(mount.target.clone().into())
        .set_typ(Some(mount.kind.clone()))
        .set_source(Some(mount.source.clone().into()))
        .set_options(Some(mount.options.clone()));
    spec.set_mounts(Some(vec![of_spec]));
    let spec = Arc::new(spec);
    let _as_root = planned(&spec, Role::Program, vec![mount.clone()]);
    let _as_volume = planned(&spec, Role::Program, Vec::new());
    let below = RootfsMount { target: String::new(), kind: "bind".into(), source: "/x".into(), options: Vec::new() };
    let _below = planned(&spec, Role::Program, vec![below, mount]);
}

/// What runtimes and shims keep on disk.
pub fn records(bytes: &[u8]) {
    let _record = serde_json::from_slice::<Record>(bytes);
    checkpoint::read_for_fuzzing(bytes);
}

/// A pod's manifest as the shim reads it, and a change of a pod to it.
pub fn manifest(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (old, new) = text.split_once('\0').unwrap_or((text, text));
    let (Ok(old), Ok(new)) = (PodSpec::from_manifest(old), PodSpec::from_manifest(new)) else { return };
    let start = Time::from_nanos(0);
    let mut machine = Machine::new(old, start);
    let mut actions = machine.step(start, Event::Tick);
    actions.extend(machine.step(start, Event::Updated { spec: Box::new(new) }));
    actions.extend(machine.step(start, Event::Terminate { grace: None }));
    if let Some(deadline) = machine.next_deadline() {
        machine.step(deadline, Event::Tick);
    }
    let _status = machine.status(&|_| UNIX_EPOCH);
}

/// A pod that is begun again from the status that another shim has left.
pub fn resumed(status: &PodStatus) {
    const POD: &str = r#"{"metadata": {"name": "p"}, "spec": {
        "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}], "containers": [{"name": "a"}]
    }}"#;
    let Ok(pod) = PodSpec::from_manifest(POD) else { return };
    let start = Time::from_nanos(0);
    let mut machine = Machine::resume(pod, status, start, UNIX_EPOCH + Duration::from_secs(1 << 31));
    machine.step(start, Event::Tick);
    let _status = machine.status(&|_| UNIX_EPOCH);
}

/// What the kernel says of network devices.
pub fn netlink(bytes: &[u8]) {
    let mut rest = bytes;
    while let Some((_, body, after)) = netlink::split_message(rest) {
        assert!(after.len() < rest.len(), "it goes on");
        rest = after;
        let _attributes = netlink::attributes(body);
        let index = netlink::link(body).map_or(0, |link| link.index);
        let _ip = netlink::address(body, index).and_then(|address| address.ip());
    }
}

/// A program of an image: its interpreter.
pub fn program(bytes: &[u8]) {
    // Not on a disk.
    let Ok(file) = nix::sys::memfd::memfd_create(c"program", nix::sys::memfd::MFdFlags::MFD_CLOEXEC) else { return };
    let mut file = File::from(file);
    if file.write_all(bytes).is_ok() {
        let _name = elf::interpreter(&file, bytes.get(..256).unwrap_or(bytes));
    }
}

/// An id: what is taken can be a name of a file, and nothing else.
pub fn id(bytes: &[u8]) {
    let Ok(id) = std::str::from_utf8(bytes) else { return };
    if check_id(id).is_ok() {
        assert!(Path::new("/a").join(id).parent() == Some(Path::new("/a")), "{id:?}");
        assert!(id.len() <= 255 && !id.contains(['/', '\0', '\n']) && id != "." && id != "..", "{id:?}");
    }
}

fn planned(spec: &Arc<Spec>, role: Role, rootfs: Vec<RootfsMount>) -> Option<Plan> {
    let io = Io::Plain { stdin: None, stdout: None, stderr: None };
    let request =
        Request { id: "id".into(), bundle: PathBuf::from("/bundle"), spec: Arc::clone(spec), rootfs, io, role };
    match plan::plan(&request) {
        Ok(plan) => {
            stays_inside(&plan);
            Some(plan)
        }
        Err(error) => {
            is_refusal(&error);
            None
        }
    }
}

/// Nothing of what is to be mounted, masked or entered leads out of the root.
fn stays_inside(plan: &Plan) {
    let inside = |path: &Path| path.is_relative() && path.components().all(|part| part.as_os_str() != "..");
    let places = plan.view.root.iter().chain(&plan.view.mounts).map(|mount| &mount.target);
    let paths = places.chain(&plan.view.masked).chain(&plan.view.readonly).chain([&plan.process.cwd]);
    paths.for_each(|path| assert!(inside(path), "{path:?}"));
    assert!(!plan.process.args.is_empty());
}

fn is_refusal(error: &crate::Error) {
    assert!(matches!(error.cause, Cause::Invalid(_)) && !error.step.is_empty(), "{error}");
}
