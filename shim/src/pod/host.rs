//! The shim as the host of a pod's lifecycle: feeds the machine with what happens and does what it answers.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use loment_sandbox::lifecycle::{ContainerId, Event, Machine, PodSpec, Stage, Time};
use oci_spec::runtime::Spec;
use tokio::{
    sync::{Notify, mpsc, watch},
    task::AbortHandle,
};

use super::{
    chronicle,
    names::{BEGUN, CONTAINER_NAME, MANIFEST},
    place::{self, Places},
    sandbox::Sandbox,
    storage,
    timeline::Timeline,
};
use crate::{
    failure::{Failure, Result},
    spec::annotation,
    task::Task,
};

/// The name of a container in its pod: loment's own annotation, then CRI's.
const CONTAINER_NAMES: [&str; 2] = [CONTAINER_NAME, "io.kubernetes.cri.container-name"];
/// The machine's clock starts with the pod.
pub(super) const START: Time = Time::from_nanos(0);

/// Runs one pod.
pub(crate) struct Host {
    machine: Mutex<Machine>,
    started: (Instant, SystemTime),
    inbox: mpsc::UnboundedSender<Event>,
    outbox: Mutex<Option<mpsc::UnboundedReceiver<Event>>>,
    members: Mutex<HashMap<ContainerId, Slot>>,
    pub(super) sandbox: Sandbox,
    places: Places,
    /// What its storage may be, if that is limited.
    pub(super) storage: Option<storage::Limits>,
    pub(super) timeline: Mutex<Timeline>,
    /// Counts the machine's steps; told to whoever waits for news.
    pub(super) steps: watch::Sender<u64>,
    /// The step that is on disk, and whether somebody waits for that.
    pub(super) written: watch::Sender<u64>,
    pub(super) hurry: Notify,
}

/// A container of the pod, once a client has created it.
#[derive(Default)]
pub(super) struct Slot {
    pub(super) task: Option<Arc<Task>>,
    /// Who is to take over from it.
    pub(super) successor: Option<Successor>,
    /// Whether its last attempt was ended by want of memory.
    pub(super) oom_killed: bool,
    /// Probes and hooks under way.
    asked: Vec<AbortHandle>,
    /// Where in its log the present attempt begins; known only of who may be asked for it.
    pub(super) log_from: u64,
}

/// A second task for a container: of another image.
pub(super) struct Successor {
    pub(super) task: Arc<Task>,
    /// A client has started it, and the machine knows of it.
    pub(super) started: bool,
    /// A client has asked for its end by this signal.
    pub(super) killed: Option<i32>,
}

/// What a task is to its container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// It is the container.
    Present,
    /// It will be.
    Successor,
    /// It was.
    Former,
}

/// The name of a container in its pod.
pub(crate) fn name_of(container: &Spec) -> Option<&str> {
    CONTAINER_NAMES.iter().find_map(|name| annotation(container, name))
}

impl Host {
    /// The host that a sandbox's annotations ask for, if they do.
    pub(crate) fn from_annotations(sandbox: &Spec) -> Result<Option<Arc<Self>>> {
        let Some(manifest) = annotation(sandbox, MANIFEST) else { return Ok(None) };
        let pod = PodSpec::from_manifest(manifest)
            .map_err(|error| Failure::from(error).while_doing(format!("read annotation {MANIFEST}")))?;
        let places = Places::of(sandbox, &pod)?;
        let storage = storage::Limits::of(manifest);
        let (inbox, outbox) = mpsc::unbounded_channel();
        let started = (Instant::now(), SystemTime::now());
        let (machine, timeline) = match places.directory.as_deref().and_then(chronicle::saved) {
            // Another shim has run the pod until the machine was started anew.
            Some((status, entries)) => (Machine::resume(pod, &status, START, started.1), Timeline::from(entries)),
            None => (Machine::new(pod, START), Timeline::default()),
        };
        Ok(Some(Arc::new(Self {
            machine: Mutex::new(if places.held_in.is_some() { machine.held() } else { machine }),
            started,
            inbox,
            outbox: Mutex::new(Some(outbox)),
            members: Mutex::default(),
            sandbox: Sandbox::default(),
            places,
            storage,
            timeline: Mutex::new(timeline),
            steps: watch::Sender::new(0),
            written: watch::Sender::new(0),
            hurry: Notify::new(),
        })))
    }

    /// Takes events, one after the other, for as long as the shim lives.
    pub(crate) async fn run(self: Arc<Self>) {
        let Some(mut outbox) = crate::lock(&self.outbox).take() else { return };
        if let Some(directory) = self.places.directory.clone() {
            tokio::spawn(chronicle::keep(Arc::clone(&self), directory));
        }
        if self.storage.is_some() {
            tokio::spawn(Arc::clone(&self).watch_storage());
        }
        loop {
            let deadline = crate::lock(&self.machine).next_deadline();
            let event = tokio::select! {
                event = outbox.recv() => event,
                () = self.until(deadline) => Some(Event::Tick),
            };
            let Some(event) = event else { return };
            self.step(event);
        }
    }

    /// Waits until the machine's clock shows `deadline`; for ever without one.
    async fn until(&self, deadline: Option<Time>) {
        match deadline {
            Some(deadline) => tokio::time::sleep_until((self.started.0 + deadline.since(START)).into()).await,
            None => std::future::pending().await,
        }
    }

    fn now(&self) -> Time {
        START + self.started.0.elapsed()
    }

    fn step(self: &Arc<Self>, event: Event) {
        log::debug!("pod: {event:?}");
        let actions = crate::lock(&self.machine).step(self.now(), event);
        for action in actions {
            log::debug!("pod: {action:?}");
            self.act(action);
        }
        self.steps.send_modify(|steps| *steps += 1);
    }

    /// Something has happened.
    pub(super) fn tell(&self, event: Event) {
        // The loop ends with the process only.
        let _sent = self.inbox.send(event);
    }

    /// Looks at what the pod is.
    pub(super) fn with_spec<T>(&self, look: impl FnOnce(&PodSpec) -> T) -> T {
        look(crate::lock(&self.machine).spec())
    }

    /// Looks at a container and changes it.
    pub(super) fn change<T>(&self, container: ContainerId, change: impl FnOnce(&mut Slot) -> T) -> T {
        change(crate::lock(&self.members).entry(container).or_default())
    }

    /// The task that is a container now.
    pub(super) fn task(&self, container: ContainerId) -> Option<Arc<Task>> {
        crate::lock(&self.members).get(&container)?.task.clone()
    }

    /// What the task with this id is to its container.
    pub(super) fn part(&self, container: ContainerId, task: &str) -> Part {
        self.change(container, |slot| {
            if slot.task.as_ref().is_some_and(|present| present.id() == task) {
                Part::Present
            } else if slot.successor.as_ref().is_some_and(|next| next.task.id() == task) {
                Part::Successor
            } else {
                Part::Former
            }
        })
    }

    /// Remembers what is asked of a container, for as long as that lasts.
    pub(super) fn asks(&self, container: ContainerId, asked: AbortHandle) {
        self.change(container, |slot| {
            slot.asked.retain(|asked| !asked.is_finished());
            slot.asked.push(asked);
        });
    }

    /// Ends what is asked of a container: it has ended itself.
    pub(super) fn give_up_asking(&self, container: ContainerId) {
        for asked in self.change(container, |slot| std::mem::take(&mut slot.asked)) {
            asked.abort();
        }
    }

    /// The pod's directory.
    pub(super) fn directory(&self) -> Option<&Path> {
        self.places.directory.as_deref()
    }

    /// The directory of a container's logs.
    pub(super) fn logs_of(&self, name: &str) -> Option<PathBuf> {
        Some(self.places.logs.as_ref()?.join(name))
    }

    /// Whether no container runs or will run.
    pub(super) fn has_finished(&self) -> bool {
        crate::lock(&self.machine).finished()
    }

    /// The pod's status in JSON.
    pub(crate) fn status(&self) -> Result<String> {
        let mut status = crate::lock(&self.machine).status(&|time| self.wall(time));
        let ids: HashMap<_, _> = self.members().into_iter().map(|member| (member.name, member.container_id)).collect();
        for container in status.init_container_statuses.iter_mut().chain(&mut status.container_statuses) {
            let id = ids.get(&container.name).filter(|id| !id.is_empty());
            container.container_id = id.map(|id| format!("containerd://{id}"));
        }
        serde_json::to_string(&status).map_err(|error| Failure::unknown(format!("encode the pod's status: {error}")))
    }

    /// The wall-clock time of one of the machine's times.
    pub(super) fn wall(&self, time: Time) -> SystemTime {
        self.started.1 + time.since(START)
    }

    /// The same in nanoseconds since 1970.
    pub(super) fn unix_nanos(&self, time: Time) -> i64 {
        let since_epoch = self.wall(time).duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX)
    }

    /// The pod's containers, in the order in which they start.
    pub(crate) fn members(&self) -> Vec<super::api::Member> {
        let machine = crate::lock(&self.machine);
        let runs = |id| machine.containers().iter().any(|one| one.id() == id && one.stage() == Stage::Running);
        let member = |(id, container): (ContainerId, &loment_sandbox::lifecycle::ContainerSpec)| {
            let task = self.task(id);
            super::api::Member {
                name: container.name.clone(),
                container_id: task.as_ref().map_or_else(String::new, |task| task.id().to_owned()),
                pid: task.filter(|task| runs(id) && !task.has_ended()).map_or(0, |task| task.pid()),
                ..super::api::Member::default()
            }
        };
        machine.spec().all().map(member).collect()
    }

    /// Name of a container.
    pub(super) fn name(&self, container: ContainerId) -> String {
        self.with_spec(|spec| spec.container(container).map_or_else(String::new, |container| container.name.clone()))
    }

    /// Lets a held pod begin. That it has is on the disk before anything runs: from here on it is no half-made pod.
    ///
    /// Errors: it cannot be written down; then the pod goes on waiting.
    pub(crate) fn release(&self) -> Result<()> {
        if let Some(directory) = &self.places.held_in {
            place::touch(directory, BEGUN).map_err(|error| {
                let path = directory.join(BEGUN);
                Failure::unknown(format!("write down that the pod has begun: make {}: {error}", path.display()))
            })?;
        }
        self.tell(Event::Released);
        Ok(())
    }

    /// Stops the pod and waits until no container runs or will run, and that is written down.
    pub(crate) async fn terminate(&self, grace: Option<Duration>) {
        let mut steps = self.steps.subscribe();
        self.tell(Event::Terminate { grace });
        // An error means that the host is gone, and the pod with it.
        drop(steps.wait_for(|_| self.has_finished()).await);
        self.write_down().await;
    }

    /// The pod is another one now, as far as it may be.
    pub(crate) fn update(self: &Arc<Self>, manifest: &str) -> Result<()> {
        let spec =
            PodSpec::from_manifest(manifest).map_err(|error| Failure::from(error).while_doing("update the pod"))?;
        let is_same =
            self.with_spec(|own| (&own.uid, &own.name, &own.namespace) == (&spec.uid, &spec.name, &spec.namespace));
        if !is_same {
            let (name, namespace) = (&spec.name, &spec.namespace);
            return Err(Failure::invalid(format!(
                "update the pod: this shim runs another one than {namespace}/{name}"
            )));
        }
        self.step(Event::Updated { spec: Box::new(spec) });
        // The loop sleeps until what was the next deadline.
        self.tell(Event::Tick);
        Ok(())
    }
}
