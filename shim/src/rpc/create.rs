//! Create: from containerd's request to a task.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use containerd_shim_protos::{
    api::{CreateTaskRequest, Mount},
    events::task::{TaskCreate, TaskIO},
};
use loment_sandbox::{
    container::{self, Role, RootfsMount},
    trace::{self, Phase, Trace},
};
use oci_spec::runtime::Spec;
use protobuf::MessageField;

use super::options;
use crate::{
    events::Event,
    failure::{Failure, Result},
    pod::host::{Host, name_of},
    shim::Shim,
    spec,
    stdio::{Paths, Stdio},
    task::{Plan, Task},
};

/// What a container is in its pod, by CRI's annotation.
const CONTAINER_TYPE: &str = "io.kubernetes.cri.container-type";
/// The uid of the pod, by CRI's annotation on its sandbox.
const POD_UID: &str = "io.kubernetes.cri.sandbox-uid";

/// Creates a container and answers the pid of its init, which waits at its gate.
pub(crate) async fn create(shim: Arc<Shim>, request: CreateTaskRequest) -> Result<i32> {
    let asked = trace::now();
    let io_owner = considered(&request)?;
    let bundle = PathBuf::from(&request.bundle);
    let reservation = shim.reserve(&request.id, &bundle)?;
    let mut spec = spec::read(&bundle)?;
    if spec.hooks().is_some() {
        shim.members.keep_spec(&request.id, &bundle)?;
    }
    if let Some(sandbox) = shim.pod_sandbox() {
        sandbox.adopt_with(&shim, &spec);
    }
    shim.fit_into_pod(&mut spec)?;
    let spec = Arc::new(spec);
    let spec_read = trace::now();
    let is_sandbox = is_sandbox(&spec);
    let host = if is_sandbox { Host::from_annotations(&spec)? } else { None };
    let member = shim.host.get().filter(|_| !is_sandbox).and_then(|host| host.member(&spec));
    let paths = Paths {
        stdin: request.stdin.clone(),
        stdout: request.stdout.clone(),
        stderr: request.stderr.clone(),
        terminal: request.terminal,
    };
    let met = Stdio::meet_client(&paths).await;
    let owner = io_owner.unwrap_or_else(|| spec::owner(spec.process().as_ref()));
    let stdio = Stdio::open(paths, member.is_some(), owner)?;
    stdio.keep(met);
    let stdio = stdio.with_logger(&shim, &request.id).await?;
    let plan = Plan {
        id: request.id.clone(),
        name: name_of(&spec).unwrap_or_default().to_owned(),
        rootfs: request.rootfs.iter().map(mount).collect(),
        role: if is_sandbox { Role::Holder } else { Role::Program },
        stdio,
        io_owner,
        member,
        bundle,
        is_announced: true,
    };
    let trace = plan.trace_in(&shim, 0);
    trace.reached_at(Phase::Asked, asked);
    trace.reached_at(Phase::SpecRead, spec_read);
    trace.reached(Phase::StreamsOpened);
    let uid = spec::annotation(&spec, POD_UID).filter(|_| is_sandbox).map(str::to_owned);
    let task = match request.checkpoint.as_str() {
        "" => {
            let made = Task::create(Arc::clone(&shim), plan, spec, trace, &reservation.unwanted).await;
            made.inspect_err(|_| shim.write_off_kills())?
        }
        images => Task::create_restorable(Arc::clone(&shim), plan, spec, images.into(), &reservation.unwanted).await?,
    };
    if is_sandbox {
        shim.is_around(&task, uid.as_deref());
    }
    reservation.fill(Arc::clone(&task));
    shim.note_slice(&task);
    let pid = task.pid();
    shim.events.send(&created(&request, pid));
    if let Some(host) = host {
        host.has_sandbox(&task);
        adopt(&shim, host);
    }
    if let Some(member) = task.member() {
        member.created(&task);
    }
    Ok(pid)
}

/// Creates the holder of a sandbox that containerd leaves to the shim, of whose process it knows nothing.
pub(crate) async fn holder(
    shim: &Arc<Shim>,
    id: &str,
    bundle: &Path,
    spec: Arc<Spec>,
    trace: Trace,
) -> Result<Arc<Task>> {
    let reservation = shim.reserve(id, bundle)?;
    // Another attempt at it reads it again.
    spec::write(bundle, &spec)?;
    let plan = Plan {
        id: id.to_owned(),
        name: String::new(),
        bundle: bundle.to_owned(),
        rootfs: Vec::new(),
        role: Role::Holder,
        stdio: Stdio::open(Paths::default(), false, (0, 0))?,
        io_owner: None,
        member: None,
        is_announced: false,
    };
    let made = Task::create(Arc::clone(shim), plan, spec, trace, &reservation.unwanted).await;
    let task = made.inspect_err(|_| shim.write_off_kills())?;
    shim.has_sandbox(&task);
    reservation.fill(Arc::clone(&task));
    shim.note_slice(&task);
    Ok(task)
}

/// From now on the shim runs the pod.
pub(crate) fn adopt(shim: &Shim, host: Arc<Host>) {
    if shim.host.set(Arc::clone(&host)).is_ok() {
        tokio::spawn(host.run());
    }
}

/// Refuses what cannot be made before anything is. Who is to own the pipes of its processes, if the client says so.
pub(crate) fn considered(request: &CreateTaskRequest) -> Result<Option<(u32, u32)>> {
    container::check_id(&request.id).map_err(|error| Failure::from(error).while_doing("create container"))?;
    if !Path::new(&request.bundle).is_absolute() {
        return Err(Failure::invalid(format!(
            "create container {}: bundle {:?} is no absolute path",
            request.id, request.bundle
        )));
    }
    Stdio::check(&request.stdout, &request.stderr, request.terminal)?;
    Ok(options::io_owner(&options::runtime(request.options.as_ref())?))
}

fn mount(mount: &Mount) -> RootfsMount {
    RootfsMount {
        kind: mount.type_.clone(),
        source: mount.source.clone(),
        target: mount.target.clone(),
        options: mount.options.clone(),
    }
}

fn created(request: &CreateTaskRequest, pid: i32) -> Event {
    Event::Create(TaskCreate {
        container_id: request.id.clone(),
        bundle: request.bundle.clone(),
        rootfs: request.rootfs.clone(),
        io: MessageField::some(TaskIO {
            stdin: request.stdin.clone(),
            stdout: request.stdout.clone(),
            stderr: request.stderr.clone(),
            terminal: request.terminal,
            ..TaskIO::default()
        }),
        checkpoint: request.checkpoint.clone(),
        pid: pid.unsigned_abs(),
        ..TaskCreate::default()
    })
}

/// Reads the process of an Exec: JSON in an `Any`.
pub(crate) fn process(value: &[u8]) -> Result<oci_spec::runtime::Process> {
    serde_json::from_slice(value).map_err(|error| Failure::invalid(format!("exec: parse the process: {error}")))
}

/// Reads the limits of an Update: JSON in an `Any`.
pub(crate) fn resources(value: &[u8]) -> Result<oci_spec::runtime::LinuxResources> {
    serde_json::from_slice(value).map_err(|error| Failure::invalid(format!("update: parse the resources: {error}")))
}

/// Whether a spec is a pod's sandbox.
fn is_sandbox(spec: &Spec) -> bool {
    spec::annotation(spec, CONTAINER_TYPE) == Some("sandbox")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_sandbox_is_known_by_its_annotation() {
        let of = |text: &str| is_sandbox(&serde_json::from_str(text).unwrap());
        assert!(of(r#"{"ociVersion":"1.0.2","annotations":{"io.kubernetes.cri.container-type":"sandbox"}}"#));
        assert!(!of(r#"{"ociVersion":"1.0.2","annotations":{"io.kubernetes.cri.container-type":"container"}}"#));
        assert!(!of(r#"{"ociVersion":"1.0.2"}"#));
    }
}
