//! The shim as the host of a pod's lifecycle: feeds the machine with what happens and does what it answers.

use std::{
    collections::{HashMap, VecDeque},
    fs::File,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime},
};

use loment_sandbox::{
    lifecycle::{Action, ContainerId, Entry, Event, Machine, PodSpec, Time},
    process::Exit,
};
use oci_spec::runtime::Spec;
use tokio::sync::{mpsc, watch};

use crate::{
    failure::{Failure, Result},
    spec::annotation,
    task::Task,
};

/// The pod's manifest, in JSON, on its sandbox.
const MANIFEST: &str = "io.loment.pod.manifest";
/// On a sandbox whose pod is to wait for [`Host::release`]: the pod's own directory, where that it has begun is written
/// down. A client that is killed while it makes the pod has then made nothing that runs.
const HELD_IN: &str = "io.loment.pod.held-in";
/// The file that says that a pod has begun, in its directory.
const BEGUN: &str = "begun";
/// The name of a container in its pod: loment's own annotation, then CRI's.
const CONTAINER_NAMES: [&str; 2] = ["io.loment.container.name", "io.kubernetes.cri.container-name"];
/// The machine's clock starts with the pod.
pub(super) const START: Time = Time::from_nanos(0);
/// Entries kept of the timeline.
const TIMELINE: usize = 4096;

/// Runs one pod.
pub(crate) struct Host {
    machine: Mutex<Machine>,
    started: (Instant, SystemTime),
    /// Where that a held pod has begun is written down.
    held_in: Option<PathBuf>,
    inbox: mpsc::UnboundedSender<Event>,
    outbox: Mutex<Option<mpsc::UnboundedReceiver<Event>>>,
    members: Mutex<HashMap<ContainerId, Slot>>,
    timeline: Mutex<Timeline>,
    /// Counts the machine's steps; told to whoever waits for news.
    steps: watch::Sender<u64>,
}

/// A container of the pod, once a client has created it.
#[derive(Default, Clone)]
struct Slot {
    task: Option<Arc<Task>>,
    /// Whether its last attempt was ended by want of memory.
    oom_killed: bool,
}

/// The newest entries, numbered from the pod's beginning.
#[derive(Default)]
struct Timeline {
    first: u64,
    entries: VecDeque<Entry>,
}

/// A container's place in the pod that the shim runs.
#[derive(Clone)]
pub(crate) struct Member {
    host: Arc<Host>,
    id: ContainerId,
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
        let held_in = annotation(sandbox, HELD_IN).map(PathBuf::from);
        Ok(Some(Arc::new(Self::new(pod, held_in))))
    }

    fn new(pod: PodSpec, held_in: Option<PathBuf>) -> Self {
        let (inbox, outbox) = mpsc::unbounded_channel();
        let machine = Machine::new(pod, START);
        Self {
            machine: Mutex::new(if held_in.is_some() { machine.held() } else { machine }),
            held_in,
            started: (Instant::now(), SystemTime::now()),
            inbox,
            outbox: Mutex::new(Some(outbox)),
            members: Mutex::default(),
            timeline: Mutex::default(),
            steps: watch::Sender::new(0),
        }
    }

    /// The place of the container with this specification. A container that the manifest does not name is a stranger
    /// in the pod (a debug container): it is run as its client says.
    pub(crate) fn member(self: &Arc<Self>, container: &Spec) -> Option<Member> {
        let id = crate::lock(&self.machine).spec().id(name_of(container)?)?;
        Some(Member { host: Arc::clone(self), id })
    }

    /// Takes events, one after the other, for as long as the shim lives.
    pub(crate) async fn run(self: Arc<Self>) {
        let Some(mut outbox) = crate::lock(&self.outbox).take() else { return };
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

    fn act(self: &Arc<Self>, action: Action) {
        match action {
            Action::Open { container, .. } => self.spawn(container, Self::open),
            Action::Prepare { container, .. } => self.spawn(container, Self::prepare),
            Action::Signal { container, signal } => self.signal(container, signal),
            Action::Discard { container } => self.signal(container, nix::libc::SIGKILL),
            Action::Report { container, code } => {
                let slot = self.slot(container);
                if let Some(task) = slot.task {
                    tokio::spawn(task.report(code, slot.oom_killed));
                }
            }
            Action::Record(entry) => self.record(entry),
        }
    }

    /// Does what takes time beside the loop, and feeds its outcome back.
    fn spawn<F>(self: &Arc<Self>, container: ContainerId, work: fn(Arc<Task>, ContainerId) -> F)
    where
        F: Future<Output = Event> + Send + 'static,
    {
        let Some(task) = self.slot(container).task else {
            return log::error!("pod: an action for container {container:?}, which was never created");
        };
        let inbox = self.inbox.clone();
        tokio::spawn(async move {
            // The loop ends with the process only.
            let _sent = inbox.send(work(task, container).await);
        });
    }

    async fn open(task: Arc<Task>, container: ContainerId) -> Event {
        match task.open_attempt().await {
            Ok(()) => Event::Opened { container },
            // What a CRI client expects of a container that could not be started.
            Err(failure) => Event::StartFailed { container, code: 128, message: failure.message },
        }
    }

    async fn prepare(task: Arc<Task>, container: ContainerId) -> Event {
        match task.renew().await {
            Ok(()) => Event::Ready { container },
            Err(failure) => Event::PrepareFailed { container, message: failure.message },
        }
    }

    fn signal(&self, container: ContainerId, signal: i32) {
        let Some(task) = self.slot(container).task else { return };
        if let Err(failure) = task.signal_attempt(signal) {
            log::warn!("pod: signal {signal} to container {}: {failure}", task.id());
        }
    }

    fn slot(&self, container: ContainerId) -> Slot {
        crate::lock(&self.members).get(&container).cloned().unwrap_or_default()
    }

    fn change(&self, container: ContainerId, change: impl FnOnce(&mut Slot)) {
        change(crate::lock(&self.members).entry(container).or_default());
    }

    fn record(&self, entry: Entry) {
        let mut timeline = crate::lock(&self.timeline);
        if timeline.entries.len() == TIMELINE {
            timeline.entries.pop_front();
            timeline.first += 1;
        }
        timeline.entries.push_back(entry);
    }

    /// The pod's status in JSON.
    pub(crate) fn status(&self) -> Result<String> {
        let status = crate::lock(&self.machine).status(&|time| self.wall(time));
        serde_json::to_string(&status).map_err(|error| Failure::unknown(format!("encode the pod's status: {error}")))
    }

    /// The wall-clock time of one of the machine's times.
    pub(crate) fn wall(&self, time: Time) -> SystemTime {
        self.started.1 + time.since(START)
    }

    /// Names of the pod's containers with the ids of their tasks.
    pub(crate) fn members(&self) -> Vec<(String, String)> {
        let machine = crate::lock(&self.machine);
        let task_id = |id| self.slot(id).task.map_or_else(String::new, |task| task.id().to_owned());
        machine.spec().all().map(|(id, container)| (container.name.clone(), task_id(id))).collect()
    }

    /// Name of a container.
    pub(crate) fn name(&self, container: ContainerId) -> String {
        let machine = crate::lock(&self.machine);
        machine.spec().container(container).map_or_else(String::new, |container| container.name.clone())
    }

    /// Entries from number `since` on, with the number of the first. Waits up to `wait` for one.
    pub(crate) async fn timeline(&self, since: u64, wait: Duration) -> (u64, Vec<Entry>) {
        let mut steps = self.steps.subscribe();
        let news = async {
            loop {
                let found = self.entries(since);
                if !found.1.is_empty() {
                    return found;
                }
                if steps.changed().await.is_err() {
                    return found;
                }
            }
        };
        tokio::time::timeout(wait, news).await.unwrap_or_else(|_| self.entries(since))
    }

    fn entries(&self, since: u64) -> (u64, Vec<Entry>) {
        let timeline = crate::lock(&self.timeline);
        let skipped = usize::try_from(since.saturating_sub(timeline.first)).unwrap_or(usize::MAX);
        (since.max(timeline.first), timeline.entries.iter().skip(skipped).cloned().collect())
    }

    /// Lets a held pod begin. That it has is on the disk before anything runs: from here on it is no half-made pod.
    ///
    /// Errors: it cannot be written down; then the pod goes on waiting.
    pub(crate) fn release(&self) -> Result<()> {
        if let Some(directory) = &self.held_in {
            let path = directory.join(BEGUN);
            File::create(&path).map_err(|error| {
                Failure::unknown(format!("write down that the pod has begun: make {}: {error}", path.display()))
            })?;
        }
        let _sent = self.inbox.send(Event::Released);
        Ok(())
    }

    /// Stops the pod and waits until no container runs or will run.
    pub(crate) async fn terminate(&self, grace: Option<Duration>) {
        let mut steps = self.steps.subscribe();
        let _sent = self.inbox.send(Event::Terminate { grace });
        // An error means that the host is gone, and the pod with it.
        let _gone = steps.wait_for(|_| crate::lock(&self.machine).finished()).await;
    }
}

impl Member {
    fn tell(&self, event: Event) {
        // The loop ends with the process only.
        let _sent = self.host.inbox.send(event);
    }

    /// A client has created the container.
    pub(crate) fn created(&self, task: &Arc<Task>) {
        self.host.change(self.id, |slot| slot.task = Some(Arc::clone(task)));
        self.tell(Event::Created { container: self.id });
    }

    /// A client has started it.
    pub(crate) fn armed(&self) {
        self.tell(Event::Armed { container: self.id });
    }

    /// A client wants it to end.
    pub(crate) fn kill_requested(&self, signal: i32) {
        self.tell(Event::KillRequested { container: self.id, signal });
    }

    /// It has lost processes for want of memory and lives on.
    pub(crate) fn lost(&self, kills: u64) {
        self.tell(Event::MemoryKilled { container: self.id, kills });
    }

    /// An attempt has ended.
    pub(crate) fn exited(&self, exit: Exit, oom_killed: bool) {
        self.host.change(self.id, |slot| slot.oom_killed = oom_killed);
        self.tell(Event::Exited { container: self.id, code: exit.code, oom_killed });
    }
}
