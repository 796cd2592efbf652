//! A container as containerd knows it: a task, with its processes and their streams.

mod attempt;
pub(crate) mod captured;
mod checkpoint;
mod end;
pub(crate) mod exec;
pub(crate) mod exit;
mod hooks;
mod memory;
pub(crate) mod ready;
pub(crate) mod stage;
mod supervised;
mod updates;
pub(crate) mod usage;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use containerd_shim_protos::events::task::TaskStart;
use loment_cgroups::stats::Usage;
use loment_sandbox::{
    checkpoint::Restorable,
    container::{Container, Role, RootfsMount},
    process::Exit,
    trace::{Phase, Trace},
};
use oci_spec::runtime::{LinuxNamespaceType, LinuxResources, Spec};
use tokio::{
    sync::{Mutex as Turn, Notify},
    task::AbortHandle,
};

use self::{
    exec::Exec,
    exit::ExitCell,
    memory::Kills,
    ready::readable,
    stage::{Stage, Step},
    updates::Updates,
};
use crate::{
    events::Event,
    failure::{Failure, Result},
    pod::{api::traced_start::Kind, member::Member},
    relay::Relay,
    shim::Shim,
    stdio::Stdio,
    traces::Subject,
};

/// A task.
pub(crate) struct Task {
    plan: Plan,
    /// Whether the kernel kills the rest of the container with its init.
    private_pids: bool,
    shim: Arc<Shim>,
    /// Start, the publication of the end, and Delete, one after the other. Never held by State or Kill.
    turn: Turn<()>,
    /// It has been killed before its Start, or its next attempt, has come to an end: hooks that this waits for are waited
    /// for no longer.
    killed: Notify,
    live: Mutex<Live>,
    exit: ExitCell,
}

struct Live {
    stage: Stage,
    container: Vessel,
    relay: Option<Arc<Relay>>,
    execs: BTreeMap<String, Arc<Exec>>,
    kills: Kills,
    /// What waits for memory kills in the present attempt.
    memory_watch: Option<AbortHandle>,
    /// What it had used when its cgroup was about to be removed.
    last_usage: Option<Usage>,
    /// Whether the gate of the present attempt has been opened.
    opened: bool,
    /// Whether the process of the present attempt has been reaped.
    reaped: bool,
    /// What has kept the present attempt from running: told when its process is gone.
    start_error: Option<String>,
    /// Whether the end of the present attempt has been told to the pod.
    told: bool,
    /// The end of a pod's container that its client has not started yet: told when it does.
    untold: Option<Exit>,
    /// Whether a client has sent it a signal: its end is then no surprise.
    signalled: bool,
    /// What its limits have been changed to since it was created.
    updates: Updates,
    /// How many attempts there have been before the present one.
    attempt: u32,
    /// That of the present attempt.
    trace: Trace,
}

/// The container of a task, in whatever state of being.
enum Vessel {
    /// Created.
    Here(Container),
    /// Its processes are on disk, and come with its Start.
    Restorable(Restorable),
    /// Never came.
    Gone,
}

impl Live {
    fn new(container: Vessel, relay: Option<Arc<Relay>>, kills: Kills) -> Self {
        Self {
            stage: Stage::Created,
            container,
            relay,
            execs: BTreeMap::new(),
            kills,
            memory_watch: None,
            last_usage: None,
            opened: false,
            reaped: false,
            start_error: None,
            told: false,
            untold: None,
            signalled: false,
            updates: Updates::default(),
            attempt: 0,
            trace: Trace::default(),
        }
    }

    fn container(&self) -> Option<&Container> {
        match &self.container {
            Vessel::Here(container) => Some(container),
            Vessel::Restorable(_) | Vessel::Gone => None,
        }
    }

    /// Pid of init, 0 when there was none yet.
    fn pid(&self) -> i32 {
        self.container().map_or(0, |container| container.init().pid())
    }
}

/// What a task is made of.
pub(crate) struct Plan {
    /// containerd's id.
    pub(crate) id: String,
    /// Its name in its pod; empty when nobody has given it one.
    pub(crate) name: String,
    /// Absolute path of the bundle.
    pub(crate) bundle: PathBuf,
    /// containerd's mounts.
    pub(crate) rootfs: Vec<RootfsMount>,
    /// A program or a holder.
    pub(crate) role: Role,
    /// Streams, open.
    pub(crate) stdio: Stdio,
    /// Who owns the pipes of its processes, if not their users.
    pub(crate) io_owner: Option<(u32, u32)>,
    /// Place in a pod that the shim runs itself: there starts and ends are the pod's to decide.
    pub(crate) member: Option<Member>,
    /// Whether containerd knows of it, and hears what becomes of it.
    pub(crate) is_announced: bool,
}

impl Plan {
    /// Where to note the phases of an attempt, which `number` others came before.
    pub(crate) fn trace_in(&self, shim: &Shim, number: u32) -> Trace {
        let kind = if self.role == Role::Holder { Kind::SANDBOX } else { Kind::CONTAINER };
        shim.traces.begin(Subject { kind, id: &self.id, exec: "", name: &self.name, attempt: number })
    }
}

impl Task {
    /// Creates the container; its init waits at the gate. `unwanted` says that it is to be deleted already.
    pub(crate) async fn create(
        shim: Arc<Shim>,
        plan: Plan,
        spec: Arc<Spec>,
        trace: Trace,
        unwanted: &Notify,
    ) -> Result<Arc<Self>> {
        let private_pids = has_private_pids(&spec);
        let (container, relay) = attempt::make(&shim, &plan, spec, trace, unwanted).await?;
        let kills = Kills::before(&container);
        let live = Live { trace, ..Live::new(Vessel::Here(container), relay, kills) };
        let (turn, killed, live, exit) = (Turn::new(()), Notify::new(), Mutex::new(live), ExitCell::new());
        let task = Arc::new(Self { plan, private_pids, shim, turn, killed, live, exit });
        task.watch_all();
        Ok(task)
    }

    /// Begins to watch what has just been made: the container, or its next attempt.
    fn watch_all(self: &Arc<Self>) {
        self.shim.quiet.disturb();
        tokio::spawn(Arc::clone(self).watch());
        let memory = tokio::spawn(Arc::clone(self).watch_memory()).abort_handle();
        if let Some(last) = crate::lock(&self.live).memory_watch.replace(memory) {
            last.abort();
        }
    }

    /// containerd's id.
    pub(crate) fn id(&self) -> &str {
        &self.plan.id
    }

    /// Its bundle.
    pub(crate) fn bundle(&self) -> &Path {
        &self.plan.bundle
    }

    /// Its streams.
    pub(crate) fn stdio(&self) -> &Stdio {
        &self.plan.stdio
    }

    /// Who owns the pipes of its processes, if not their users.
    pub(crate) fn io_owner(&self) -> Option<(u32, u32)> {
        self.plan.io_owner
    }

    /// Its shim.
    pub(crate) fn shim(&self) -> &Shim {
        &self.shim
    }

    /// The same, to be kept.
    pub(crate) fn shared_shim(&self) -> &Arc<Shim> {
        &self.shim
    }

    /// Its place in a pod that the shim runs.
    pub(crate) fn member(&self) -> Option<&Member> {
        self.plan.member.as_ref()
    }

    /// The end of its init.
    pub(crate) fn exit(&self) -> &ExitCell {
        &self.exit
    }

    /// Pid of its init, also after the end.
    pub(crate) fn pid(&self) -> i32 {
        crate::lock(&self.live).pid()
    }

    /// Where it stands.
    pub(crate) fn stage(&self) -> Stage {
        crate::lock(&self.live).stage
    }

    /// Its terminal, if it has one.
    pub(crate) fn relay(&self) -> Option<Arc<Relay>> {
        crate::lock(&self.live).relay.clone()
    }

    /// Does something with the container. Nothing may wait in there.
    pub(crate) fn with_container<T>(&self, work: impl FnOnce(&mut Container) -> Result<T>) -> Result<T> {
        match &mut crate::lock(&self.live).container {
            Vessel::Here(container) => work(container),
            Vessel::Restorable(_) | Vessel::Gone => {
                Err(Failure::precondition(format!("container {}: it has not been restored", self.plan.id)))
            }
        }
    }

    /// Lets the container run. In a pod that the shim runs this arms it: it runs when its turn comes.
    pub(crate) async fn start(self: Arc<Self>) -> Result<i32> {
        let _turn = self.turn.lock().await;
        let next = self.stage().take(Step::Start, &format!("container {}", self.plan.id));
        let next = next.map_err(|refusal| self.failure_at_gate().unwrap_or(refusal))?;
        if self.is_restorable() {
            self.restore().await?;
        } else if self.plan.member.is_none() {
            self.open().await?;
        }
        let mut live = crate::lock(&self.live);
        live.stage = next;
        let (pid, trace) = (live.pid(), live.trace);
        drop(live);
        self.announce(&Event::Start(TaskStart {
            container_id: self.plan.id.clone(),
            pid: pid.unsigned_abs(),
            ..TaskStart::default()
        }));
        if let Some(member) = &self.plan.member {
            member.armed(&self.plan.id);
        } else {
            trace.reached(Phase::Started);
        }
        self.tell_end();
        Ok(pid)
    }

    /// Tells containerd, if it knows of this container.
    fn announce(&self, event: &Event) {
        if self.plan.is_announced {
            self.shim.events.send(event);
        }
    }

    /// Opens the gate and waits until the program has been executed.
    async fn open(&self) -> Result<()> {
        let trace = crate::lock(&self.live).trace;
        trace.reached(Phase::Called);
        let starting = self.with_container(|container| Ok(container.start()?))?;
        trace.reached(Phase::GateOpened);
        self.started(starting).await?;
        trace.reached(Phase::Executed);
        crate::lock(&self.live).opened = true;
        Ok(())
    }

    /// Whether the present attempt has been started and has not ended.
    fn runs(&self) -> bool {
        let live = crate::lock(&self.live);
        live.opened && !live.reaped
    }

    /// Whether the start of the present attempt has come to its end.
    pub(crate) fn is_open(&self) -> bool {
        crate::lock(&self.live).opened
    }

    /// What has ended its process while that waited to be started, if it has said so: a holder goes on setting itself up.
    fn failure_at_gate(&self) -> Option<Failure> {
        let live = crate::lock(&self.live);
        live.container().filter(|_| live.reaped)?.failure_at_gate().map(Failure::from)
    }

    /// Remembers that a client has sent a signal. Who has ended before it needed none.
    fn note_signal(&self, signal: i32) {
        let mut live = crate::lock(&self.live);
        if live.container().is_some_and(|container| !container.init().has_ended()) {
            live.kills.sent(signal);
        }
    }

    /// Freezes or thaws the container.
    pub(crate) async fn freeze(&self, step: Step) -> Result<()> {
        let _turn = self.turn.lock().await;
        let next = self.stage().take(step, &format!("container {}", self.plan.id))?;
        // A frozen process never passes its gate, and would keep the turn that a Resume waits for.
        if step == Step::Pause && self.plan.member.is_some() && !self.runs() {
            let why = "it waits for its turn in the pod";
            return Err(Failure::precondition(format!("pause container {}: {why}", self.plan.id)));
        }
        self.with_container(|container| {
            let done = if step == Step::Pause { container.pause() } else { container.resume() };
            Ok(done?)
        })?;
        crate::lock(&self.live).stage = next;
        Ok(())
    }

    /// Changes the limits of the container, for the attempts to come too.
    pub(crate) fn update(&self, resources: &LinuxResources) -> Result<()> {
        self.with_container(|container| Ok(container.update(resources)?))?;
        match &self.plan.member {
            Some(_) => crate::lock(&self.live).updates.add(resources),
            None => Ok(()),
        }
    }

    /// Registers a further process.
    pub(crate) fn add_exec(&self, id: &str, exec: Exec) -> Result<()> {
        let mut live = crate::lock(&self.live);
        if !live.stage.alive() {
            return Err(Failure::precondition(format!("exec in container {}: it has ended", self.plan.id)));
        }
        match live.execs.entry(id.to_owned()) {
            std::collections::btree_map::Entry::Occupied(_) => {
                Err(Failure::exists(format!("exec {id} in container {}: the id is taken", self.plan.id)))
            }
            std::collections::btree_map::Entry::Vacant(vacant) => {
                vacant.insert(Arc::new(exec));
                Ok(())
            }
        }
    }

    /// A further process.
    pub(crate) fn exec(&self, id: &str) -> Result<Arc<Exec>> {
        let found = crate::lock(&self.live).execs.get(id).cloned();
        found.ok_or_else(|| Failure::not_found(format!("exec {id} in container {}: no such process", self.plan.id)))
    }

    /// Execs with their pids.
    pub(crate) fn execs(&self) -> Vec<(String, i32)> {
        crate::lock(&self.live).execs.iter().map(|(id, exec)| (id.clone(), exec.pid())).collect()
    }

    /// Starts a further process; refused when init has ended or has not begun.
    pub(crate) async fn start_exec(self: Arc<Self>, id: &str) -> Result<i32> {
        let exec = self.exec(id)?;
        if let Some(why) = self.no_exec_because() {
            // Nothing will be written: its client must not wait for it.
            exec.stdio().handed_over();
            if why == ENDED {
                exec.give_up();
            }
            return Err(Failure::precondition(format!("exec in container {}: it {why}", self.plan.id)));
        }
        exec.start(self).await
    }

    /// Why no further process can be started now, if none can.
    fn no_exec_because(&self) -> Option<&'static str> {
        let live = crate::lock(&self.live);
        match live.stage {
            stage if !stage.alive() || live.reaped => Some(ENDED),
            // It would be frozen before it has reported, and whoever waits for it with it.
            Stage::Paused => Some("is paused"),
            _ if self.plan.member.is_some() && !live.opened => Some("waits for its turn in the pod"),
            _ => None,
        }
    }

    /// Forgets a further process.
    pub(crate) async fn delete_exec(&self, id: &str) -> Result<(i32, Option<Exit>)> {
        let exec = self.exec(id)?;
        exec.delete().await?;
        // A request that was repeated must not take a later process of the same name.
        crate::lock(&self.live).execs.retain(|_, other| !Arc::ptr_eq(other, &exec));
        Ok((exec.pid(), exec.exit().get()))
    }
}

/// Why there is no further process in a container for ever.
const ENDED: &str = "has ended";

/// A terminal's size in characters; one beyond what the kernel can say is cut.
pub(crate) fn characters(size: u64) -> u16 {
    u16::try_from(size).unwrap_or(u16::MAX)
}

/// Whether the spec gives the container a pid namespace of its own.
fn has_private_pids(spec: &Spec) -> bool {
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    namespaces.is_some_and(|namespaces| {
        namespaces.iter().any(|one| one.typ() == LinuxNamespaceType::Pid && one.path().is_none())
    })
}
