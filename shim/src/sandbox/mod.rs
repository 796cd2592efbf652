//! A pod's sandbox that containerd leaves to the shim (`sandboxer = "shim"`): no image is run for it, and no process either
//! unless the pod's containers share their processes.
//!
//! | module | subject |
//! |---|---|
//! | `service` | the Sandbox service of containerd's API |
//! | `stage` | where a sandbox stands |
//! | `config` | what CRI says of the pod, and the sandbox's specification made of that |
//! | `fittings` | `/etc/hosts` and the like |
//! | `furnish` | a container's specification, made to fit |

mod config;
pub(crate) mod fittings;
mod furnish;
pub(crate) mod service;
mod stage;

use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use containerd_shim_protos::sandbox_api::CreateSandboxRequest;
use loment_cgroups::Pod;
use loment_sandbox::{
    container::{self, Pinning, Pins, users_of_network},
    process::Exit,
    trace::{self, Phase, Trace},
};
use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType, Spec};
use tokio::sync::Mutex as Turn;

use self::{
    config::Wanted,
    fittings::Fittings,
    furnish::Instead,
    stage::{Stage, Step},
};
use crate::{
    failure::{Failure, Result},
    pod::{api::traced_start::Kind, host::Host, names::MANIFEST},
    rpc::create,
    shim::Shim,
    spec,
    task::{Task, exit::ExitCell, ready::readable},
    traces::Subject,
};

/// Exit status of a sandbox that could not be started: what a shell says of a program that cannot be run.
const FAILED: u32 = 126;
/// How long what was killed may take to be gone, if the client does not say.
const ENDING: Duration = Duration::from_secs(10);

#[cfg(feature = "fuzzing")]
/// What becomes of a pod's configuration: its sandbox's specification, as JSON. For the fuzz targets.
pub(crate) fn considered(config: &[u8]) -> Option<Vec<u8>> {
    use protobuf::Message as _;
    let config = config::PodSandboxConfig::parse_from_bytes(config).ok()?;
    let wanted = Wanted { id: "id", config: &config, network: Some(Path::new("/n")), users: Some(Path::new("/u")) };
    let _root = (wanted.root(), wanted.shares_pids(), wanted.has_private_pids(), wanted.cgroup_parent());
    serde_json::to_vec(&wanted.spec().ok()?).ok()
}

#[cfg(feature = "fuzzing")]
/// A container's specification in a sandbox with pins, for the fuzz targets.
pub(crate) fn fitted(spec: &mut Spec) {
    let joined = furnish::join(spec, |kind| match kind {
        LinuxNamespaceType::User => Ok(Instead::Hosts),
        LinuxNamespaceType::Pid => Ok(Instead::Own),
        _ => Ok(Instead::Pods("/pin".into())),
    });
    if joined.is_ok() {
        furnish::fit(spec, &Fittings::of(Path::new("/nonexistent"), true), "id");
    }
}

/// A sandbox.
pub(crate) struct PodSandbox {
    id: String,
    spec: Arc<Spec>,
    /// Whether its containers see no processes but their own.
    private_pids: bool,
    fittings: Fittings,
    created: SystemTime,
    trace: Trace,
    host: Option<Arc<Host>>,
    /// Start and Stop, one after the other.
    turn: Turn<()>,
    stage: Mutex<Stage>,
    backing: Mutex<Backing>,
    exit: ExitCell,
    /// The user namespace of the pod's network, by which the specification names it.
    _users: Option<OwnedFd>,
}

/// What keeps the namespaces.
#[derive(Default)]
enum Backing {
    /// They are being made.
    Founding(Box<Pinning>),
    /// The shim.
    Pinned(Pins),
    /// A holder, which is pid 1 of the pod.
    Held(Arc<Task>),
    /// Nothing any more.
    #[default]
    Gone,
}

impl PodSandbox {
    /// Begins to make the sandbox that a client wants, the only one of this shim.
    pub(crate) async fn create(shim: &Arc<Shim>, request: CreateSandboxRequest) -> Result<()> {
        let asked = trace::now();
        let CreateSandboxRequest { sandbox_id: id, bundle_path, netns_path, options, annotations, .. } = request;
        let bundle = check(shim, &id, &bundle_path)?;
        let mut config = config::read(options.as_ref())?;
        config.annotations.extend(annotations);
        let network = (!netns_path.is_empty()).then(|| PathBuf::from(netns_path));
        let mut wanted = Wanted { id: &id, config: &config, network: network.as_deref(), users: None };
        let users = wanted.maps().and(network.as_deref()).map(users_of_network).transpose()?.flatten();
        wanted.users = users.as_ref().map(|(_, path)| path.as_path());
        let pod = match wanted.cgroup_parent() {
            Some(parent) => Pod::below(&shim.layout, parent, Some(&config.metadata.uid))?,
            None => Pod::default(),
        };
        let spec = Arc::new(wanted.spec()?);
        shim.members.keep();
        let host = Host::from_annotations(&spec)?;
        let trace = shim.traces.begin(Subject { kind: Kind::SANDBOX, id: &id, exec: "", name: "", attempt: 0 });
        trace.reached_at(Phase::Asked, asked);
        trace.reached(Phase::SpecRead);
        let backing = if wanted.shares_pids() {
            Backing::Held(create::holder(shim, &id, &bundle, Arc::clone(&spec), trace).await?)
        } else {
            let pinning = Pinning::begin(&id, &bundle, Arc::clone(&spec), trace)?;
            shim.pids.add(pinning.pid());
            Backing::Founding(Box::new(pinning))
        };
        // While the founder is busy.
        let fittings = Fittings::make(&bundle, &wanted);
        let private_pids = wanted.has_private_pids();
        let sandbox = Arc::new(Self {
            private_pids,
            fittings: fittings.as_ref().map_or_else(|_| Fittings::of(&bundle, false), Clone::clone),
            id,
            spec,
            created: SystemTime::now(),
            trace,
            host,
            turn: Turn::new(()),
            stage: Mutex::new(Stage::Created),
            backing: Mutex::new(backing),
            exit: ExitCell::new(),
            _users: users.map(|(namespace, _)| namespace),
        });
        if let Err(failure) = fittings {
            sandbox.release(shim, ENDING).await?;
            return Err(failure);
        }
        if let Err(failure) = shim.has_pod_sandbox(&sandbox, pod) {
            // Another one came first, while the holder was being made.
            sandbox.release(shim, ENDING).await?;
            sandbox.fittings.remove();
            return Err(failure);
        }
        if shim.is_to_leave() {
            // Its client has given it up while it was being made.
            sandbox.shut_down(shim).await?;
            return Err(Failure::precondition(format!(
                "create sandbox {}: it was to be shut down meanwhile",
                sandbox.id
            )));
        }
        Ok(())
    }

    /// containerd's id.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Who is to run the pod, if the sandbox asks for that.
    pub(crate) fn host(&self) -> Option<&Arc<Host>> {
        self.host.as_ref()
    }

    /// Whether it may still be used.
    pub(crate) fn has_ended(&self) -> bool {
        *crate::lock(&self.stage) == Stage::Stopped
    }

    /// Pid of the holder, 0 without one.
    fn pid(&self) -> i32 {
        match &*crate::lock(&self.backing) {
            Backing::Held(task) if !task.has_ended() => task.pid(),
            _ => 0,
        }
    }

    /// Where the pod's containers may begin whose mounts are to be few.
    pub(crate) fn stub(&self) -> Option<OwnedFd> {
        match &*crate::lock(&self.backing) {
            Backing::Pinned(pins) => pins.stub(),
            _ => None,
        }
    }

    /// Makes the specification of one of its containers fit.
    pub(crate) fn furnish(&self, spec: &mut Spec) -> Result<()> {
        furnish::join(spec, |kind| self.instead_of_nobodys(kind))?;
        furnish::fit(spec, &self.fittings, &self.id);
        Ok(())
    }

    /// What a container gets that is to be in a namespace of this kind of a sandbox without a process. What the pod has is
    /// never silently the host's instead.
    fn instead_of_nobodys(&self, kind: LinuxNamespaceType) -> Result<Instead> {
        if kind == LinuxNamespaceType::Pid && self.private_pids {
            return Ok(Instead::Own);
        }
        if !self.kinds().any(|of_pod| of_pod == kind) {
            return Ok(Instead::Hosts);
        }
        let path = self.path(kind);
        path.map(Instead::Pods).ok_or_else(|| {
            let id = &self.id;
            Failure::precondition(format!("join the {kind} namespace of sandbox {id}: it has no such namespace now"))
        })
    }

    /// The kinds of namespaces that the pod has.
    fn kinds(&self) -> impl Iterator<Item = LinuxNamespaceType> {
        let namespaces = self.spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
        let kinds = namespaces.into_iter().flatten().map(LinuxNamespace::typ);
        kinds.filter(|kind| *kind != LinuxNamespaceType::Mount)
    }

    /// Where one of them is found now.
    fn path(&self, kind: LinuxNamespaceType) -> Option<PathBuf> {
        match &*crate::lock(&self.backing) {
            Backing::Pinned(pins) => pins.path(kind),
            Backing::Held(task) if !task.has_ended() => {
                Some(format!("/proc/{}/ns/{}", task.pid(), in_procfs(kind)).into())
            }
            _ => None,
        }
    }

    /// Waits until the namespaces are there, and lets containers join them.
    async fn start(self: &Arc<Self>, shim: &Arc<Shim>) -> Result<()> {
        let _turn = self.turn.lock().await;
        let next = crate::lock(&self.stage).take(Step::Start, &self.id)?;
        if let Err(failure) = self.back(shim).await {
            // It is not to be tried again: what there was of it is gone.
            self.release(shim, ENDING).await?;
            self.ended(Exit { code: FAILED, at: SystemTime::now() });
            return Err(failure.while_doing(format!("start sandbox {}", self.id)));
        }
        *crate::lock(&self.stage) = next;
        self.trace.reached(Phase::Started);
        Ok(())
    }

    /// Waits for what keeps the namespaces.
    async fn back(self: &Arc<Self>, shim: &Arc<Shim>) -> Result<()> {
        let backing = std::mem::take(&mut *crate::lock(&self.backing));
        let backing = match backing {
            Backing::Founding(pinning) => {
                let pid = pinning.pid();
                let pins = match readable(&*pinning).await {
                    Ok(()) => pinning.finish().map_err(Failure::from),
                    Err(failure) => Err(failure),
                };
                shim.pids.remove(pid);
                let pins = pins?;
                if let Some(host) = &self.host {
                    host.has_network(pins.network()?);
                }
                Backing::Pinned(pins)
            }
            Backing::Held(task) => {
                *crate::lock(&self.backing) = Backing::Held(Arc::clone(&task));
                Arc::clone(&task).start().await?;
                if let Some(host) = &self.host {
                    host.has_sandbox(&task);
                }
                tokio::spawn(Arc::clone(self).watch(Arc::clone(&task)));
                Backing::Held(task)
            }
            gone => gone,
        };
        *crate::lock(&self.backing) = backing;
        Ok(())
    }

    /// From now on the shim runs the pod, if the sandbox asks for that and the administrator lets it: CRI hands all of the
    /// pod's annotations to who makes the sandbox, but to containers only those that the runtime class lets through.
    pub(crate) fn adopt_with(&self, shim: &Shim, container: &Spec) {
        let Some(host) = self.host.as_ref().filter(|_| shim.host.get().is_none()) else { return };
        if spec::annotation(container, MANIFEST) == spec::annotation(&self.spec, MANIFEST) {
            create::adopt(shim, Arc::clone(host));
        }
    }

    /// The holder has ended, and that is final: a pod that the shim runs itself gets another one.
    async fn watch(self: Arc<Self>, holder: Arc<Task>) {
        let exit = holder.exit().wait().await;
        self.ended(exit);
    }

    fn ended(&self, exit: Exit) {
        *crate::lock(&self.stage) = Stage::Stopped;
        self.fittings.remove();
        if let Some(host) = &self.host {
            host.leaves_network();
        }
        self.exit.set(exit);
    }

    /// Ends the sandbox, with the containers that are still there. More than once is once.
    async fn stop(&self, shim: &Arc<Shim>, patience: Duration) -> Result<()> {
        let _turn = self.turn.lock().await;
        // First of all: no container is made any more.
        let next = crate::lock(&self.stage).take(Step::Stop, &self.id)?;
        *crate::lock(&self.stage) = next;
        tokio::time::timeout(patience, end_containers(shim)).await.map_err(|_| {
            let left = shim.tasks().into_iter().filter(|task| is_alive(task)).map(|task| task.id().to_owned());
            let left = left.collect::<Vec<_>>().join(", ");
            Failure::unknown(format!(
                "stop sandbox {}: its containers have been killed and have not ended in {patience:?}: {left} (try again)",
                self.id
            ))
        })?;
        self.release(shim, patience).await?;
        self.ended(Exit { code: 0, at: SystemTime::now() });
        Ok(())
    }

    /// Deletes the containers that a client has not deleted: nobody would, without this shim.
    async fn forget_containers(&self, shim: &Arc<Shim>) -> Result<()> {
        let mut failed = Ok(());
        for task in shim.tasks() {
            match task.delete().await {
                Ok(_) => drop(shim.remove(&task)),
                Err(failure) => failed = Err(failure.while_doing(format!("shut sandbox {} down", self.id))),
            }
        }
        failed
    }

    /// Ends it, with all that is left of its containers, and lets the shim leave.
    pub(crate) async fn shut_down(&self, shim: &Arc<Shim>) -> Result<()> {
        self.stop(shim, ENDING).await?;
        self.forget_containers(shim).await?;
        shim.leave();
        Ok(())
    }

    /// Lets go of the namespaces.
    async fn release(&self, shim: &Arc<Shim>, patience: Duration) -> Result<()> {
        let backing = std::mem::take(&mut *crate::lock(&self.backing));
        match backing {
            Backing::Held(task) => {
                let ended = end(shim, &task, patience).await;
                if ended.is_err() {
                    // To be asked again.
                    *crate::lock(&self.backing) = Backing::Held(task);
                }
                ended
            }
            Backing::Founding(pinning) => {
                let pid = pinning.pid();
                drop(pinning);
                shim.pids.remove(pid);
                Ok(())
            }
            Backing::Pinned(_) | Backing::Gone => Ok(()),
        }
    }

    /// The specification of its namespaces and files as they are: what newer versions of containerd take for those of its
    /// containers.
    fn as_it_is(&self) -> Spec {
        let mut spec = (*self.spec).clone();
        let kept: Vec<_> = self.kinds().filter_map(|kind| Some((kind, self.path(kind)?))).collect();
        let of = |(kind, path): (LinuxNamespaceType, Option<PathBuf>)| {
            let mut namespace = LinuxNamespace::default();
            namespace.set_typ(kind).set_path(path);
            namespace
        };
        let private = self.private_pids.then_some((LinuxNamespaceType::Pid, None));
        let kept = kept.into_iter().map(|(kind, path)| (kind, Some(path))).chain(private).map(of).collect();
        if let Some(linux) = spec.linux_mut() {
            linux.set_namespaces(Some(kept));
        }
        furnish::fit(&mut spec, &self.fittings, &self.id);
        spec
    }
}

/// Ends every container, also those that are still being made, and waits until they have ended.
async fn end_containers(shim: &Arc<Shim>) {
    shim.all_made().await;
    let tasks: Vec<_> = shim.tasks().into_iter().filter(|task| is_alive(task)).collect();
    for task in &tasks {
        // One that has just ended needs no signal.
        let _ended = task.kill(nix::libc::SIGKILL, true);
    }
    for task in tasks {
        task.exit().wait().await;
    }
}

fn is_alive(task: &Task) -> bool {
    !task.is_sandbox() && task.exit().get().is_none()
}

/// The name of a kind of namespaces in `/proc/PID/ns`.
fn in_procfs(kind: LinuxNamespaceType) -> &'static str {
    match kind {
        LinuxNamespaceType::Mount => "mnt",
        LinuxNamespaceType::Cgroup => "cgroup",
        LinuxNamespaceType::Uts => "uts",
        LinuxNamespaceType::Ipc => "ipc",
        LinuxNamespaceType::User => "user",
        LinuxNamespaceType::Pid => "pid",
        LinuxNamespaceType::Network => "net",
        LinuxNamespaceType::Time => "time",
    }
}

/// Ends a holder and forgets it.
async fn end(shim: &Arc<Shim>, task: &Arc<Task>, patience: Duration) -> Result<()> {
    // One that has ended needs no signal.
    let _ended = task.kill(nix::libc::SIGKILL, false);
    let gone = async {
        if task.is_open() {
            task.exit().wait().await;
        }
        task.delete().await
    };
    let gone = tokio::time::timeout(patience, gone).await;
    gone.unwrap_or_else(|_| {
        let id = task.id();
        Err(Failure::unknown(format!("stop sandbox {id}: its process has not ended in {patience:?}")))
    })?;
    shim.remove(task);
    Ok(())
}

fn check(shim: &Shim, id: &str, bundle: &str) -> Result<PathBuf> {
    container::check_id(id).map_err(|error| Failure::from(error).while_doing("create sandbox"))?;
    if !Path::new(bundle).is_absolute() {
        return Err(Failure::invalid(format!("create sandbox {id}: bundle {bundle:?} is no absolute path")));
    }
    match shim.pod_sandbox() {
        Some(other) => Err(Failure::exists(format!("create sandbox {id}: this shim has sandbox {}", other.id))),
        None => Ok(bundle.into()),
    }
}
