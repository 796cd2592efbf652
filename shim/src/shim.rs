//! The shim's tasks, by id: what the services work on.

use std::{
    collections::HashMap,
    future::Future,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use loment_cgroups::{Layout, Pod, Stats};
use oci_spec::runtime::Spec;
use tokio::sync::Notify;

use crate::{
    events::Events,
    failure::{Failure, Result},
    members::Members,
    pids::{Ending, Pids},
    pod::host::Host,
    quiet::Quiet,
    sandbox::PodSandbox,
    slice::Slice,
    task::{Task, usage::Measured},
    traces::Traces,
};

/// Everything that one shim serves: the containers of one pod.
pub(crate) struct Shim {
    /// Where events go.
    pub(crate) events: Events,
    /// The machine's cgroup hierarchies.
    pub(crate) layout: Layout,
    /// Children whose end somebody watches.
    pub(crate) pids: Pids,
    /// Gives back memory when there is nothing to do.
    pub(crate) quiet: Quiet,
    /// Loggers that are to end.
    pub(crate) loggers: Ending,
    /// Who runs the pod, when the shim does.
    pub(crate) host: OnceLock<Arc<Host>>,
    /// Where its containers are in scopes of systemd's on cgroup v2: the slice around them.
    pub(crate) slice: Mutex<Option<Slice>>,
    /// When each phase of its last starts came.
    pub(crate) traces: Traces,
    /// The containers, for who comes after its death.
    pub(crate) members: Members,
    tasks: Mutex<HashMap<String, Slot>>,
    /// What the pod uses as a whole.
    pod: Mutex<Pod>,
    /// The task of the pod's sandbox.
    sandbox: Mutex<Weak<Task>>,
    /// The pod's sandbox, when containerd leaves it to the shim.
    pod_sandbox: OnceLock<Arc<PodSandbox>>,
    /// A Create has come to its end, good or bad.
    made: Notify,
    /// The last task has been deleted, or could not be made.
    emptied: AtomicBool,
    /// A Shutdown came while there were tasks. containerd 2.0 to 2.4 does not ask again.
    shutdown_asked: AtomicBool,
    /// Set together with `left`: what would be made now would lose its shim.
    leaving: AtomicBool,
    /// The last task is gone and nobody wants the shim any more.
    pub(crate) left: Notify,
}

enum Slot {
    /// Being created; told when its client does not want it any more.
    Reserved(Arc<Notify>),
    /// Created.
    Here(Arc<Task>),
}

impl Shim {
    /// A shim without tasks.
    pub(crate) fn new(events: Events, layout: Layout, traces: Traces, members: Members) -> Self {
        Self {
            members,
            events,
            layout,
            pids: Pids::default(),
            quiet: Quiet::default(),
            loggers: Ending::default(),
            host: OnceLock::new(),
            slice: Mutex::default(),
            traces,
            tasks: Mutex::default(),
            pod: Mutex::default(),
            sandbox: Mutex::default(),
            pod_sandbox: OnceLock::new(),
            made: Notify::new(),
            emptied: AtomicBool::new(false),
            shutdown_asked: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            left: Notify::new(),
        }
    }

    /// Runs a change to its end, even when whoever waits for it goes away.
    pub(crate) async fn to_the_end<T: Send + 'static>(
        self: &Arc<Self>,
        change: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let shim = Arc::clone(self);
        let ended = tokio::spawn(async move {
            let result = change.await;
            shim.quiet.disturb();
            result
        });
        let ended = ended.await;
        ended.unwrap_or_else(|error| Err(Failure::unknown(format!("the request was not finished: {error}"))))
    }

    /// Keeps `id` for a task that is about to be made in `bundle`.
    pub(crate) fn reserve(self: &Arc<Self>, id: &str, bundle: &Path) -> Result<Reservation> {
        if self.leaving.load(Ordering::Relaxed) {
            return Err(Failure::precondition(format!("create container {id}: this shim is leaving (start another)")));
        }
        if self.pod_sandbox().is_some_and(|sandbox| sandbox.has_ended()) {
            return Err(Failure::precondition(format!("create container {id}: the pod's sandbox has been stopped")));
        }
        let mut tasks = crate::lock(&self.tasks);
        if tasks.contains_key(id) {
            return Err(Failure::exists(format!("create container {id}: the id is taken")));
        }
        self.members.add(id, bundle)?;
        let unwanted = Arc::new(Notify::new());
        tasks.insert(id.to_owned(), Slot::Reserved(Arc::clone(&unwanted)));
        Ok(Reservation { shim: Arc::clone(self), id: id.to_owned(), unwanted })
    }

    /// The task `id`, for a request.
    pub(crate) fn task(&self, id: &str) -> Result<Arc<Task>> {
        self.quiet.disturb();
        match crate::lock(&self.tasks).get(id) {
            Some(Slot::Here(task)) => Ok(Arc::clone(task)),
            _ => Err(Failure::not_found(format!("container {id}: no such container in this shim"))),
        }
    }

    /// The task `id`, also if it is still being made: a client that gives up waiting for its Create asks for a Delete,
    /// and nobody else would delete what comes of it.
    pub(crate) async fn task_to_come(&self, id: &str) -> Result<Arc<Task>> {
        loop {
            let made = self.made.notified();
            if !self.is_being_made(id) {
                return self.task(id);
            }
            made.await;
        }
    }

    /// Whether `id` is being made still; it is not wanted any more.
    fn is_being_made(&self, id: &str) -> bool {
        match crate::lock(&self.tasks).get(id) {
            Some(Slot::Reserved(unwanted)) => {
                unwanted.notify_one();
                true
            }
            _ => false,
        }
    }

    /// Whether one is being made.
    pub(crate) fn is_making(&self) -> bool {
        crate::lock(&self.tasks).values().any(|slot| matches!(slot, Slot::Reserved(_)))
    }

    /// Every task there is.
    pub(crate) fn tasks(&self) -> Vec<Arc<Task>> {
        let tasks = crate::lock(&self.tasks);
        let here = |slot: &Slot| match slot {
            Slot::Here(task) => Some(Arc::clone(task)),
            Slot::Reserved(_) => None,
        };
        tasks.values().filter_map(here).collect()
    }

    /// The pod is the one of this sandbox.
    pub(crate) fn is_around(&self, sandbox: &Arc<Task>, uid: Option<&str>) {
        self.has_sandbox(sandbox);
        match sandbox.with_container(|container| Ok(Pod::around(container.cgroup(), uid)?)) {
            Ok(pod) => *crate::lock(&self.pod) = pod,
            // Its containers are added up.
            Err(failure) => log::warn!("look for the cgroup of the pod: {failure}"),
        }
    }

    /// The holder of the pod's namespaces is this one.
    pub(crate) fn has_sandbox(&self, sandbox: &Arc<Task>) {
        *crate::lock(&self.sandbox) = Arc::downgrade(sandbox);
    }

    /// The shim makes the pod's sandbox, and this is it.
    pub(crate) fn has_pod_sandbox(&self, sandbox: &Arc<PodSandbox>, pod: Pod) -> Result<()> {
        if self.pod_sandbox.set(Arc::clone(sandbox)).is_err() {
            return Err(Failure::exists(format!("create sandbox {}: this shim has another", sandbox.id())));
        }
        *crate::lock(&self.pod) = pod;
        Ok(())
    }

    /// The pod's sandbox, when containerd leaves it to the shim.
    pub(crate) fn pod_sandbox(&self) -> Option<&Arc<PodSandbox>> {
        self.pod_sandbox.get()
    }

    /// The same, by its id, for a request.
    pub(crate) fn pod_sandbox_of(&self, id: &str) -> Result<&Arc<PodSandbox>> {
        self.quiet.disturb();
        let found = self.pod_sandbox().filter(|sandbox| sandbox.id() == id);
        found.ok_or_else(|| Failure::not_found(format!("sandbox {id}: no such sandbox in this shim")))
    }

    /// An empty root where containers of the pod may begin: see [`Container::stub`] and [`Pins::stub`].
    ///
    /// [`Container::stub`]: loment_sandbox::container::Container::stub
    /// [`Pins::stub`]: loment_sandbox::container::Pins::stub
    pub(crate) fn stub(&self) -> Option<OwnedFd> {
        if let Some(stub) = self.pod_sandbox().and_then(|sandbox| sandbox.stub()) {
            return Some(stub);
        }
        let sandbox = crate::lock(&self.sandbox).upgrade().filter(|sandbox| sandbox.is_open())?;
        sandbox.with_container(|container| Ok(container.stub())).ok().flatten()
    }

    /// Whether the pod has a cgroup of its own, which counts for it.
    pub(crate) fn pod_has_cgroup(&self) -> bool {
        crate::lock(&self.pod).cgroup().is_some()
    }

    /// Whether the slice at this path is the pod's own cgroup.
    pub(crate) fn has_own_slice(&self, path: &Path) -> bool {
        crate::lock(&self.pod).cgroup().is_some_and(|own| own.path() == path)
    }

    /// What the pod's own cgroup tells, if it has one.
    pub(crate) fn pod_stats(&self) -> Result<Option<Stats>> {
        let pod = crate::lock(&self.pod);
        Ok(pod.cgroup().map(loment_cgroups::Cgroup::stats).transpose()?)
    }

    /// What the pod uses and has used as a whole, given its containers.
    pub(crate) fn measure_pod(&self, containers: &[Measured]) -> Result<Measured> {
        let pod = crate::lock(&self.pod);
        let usage = pod.usage(containers.iter().map(|container| &container.usage))?;
        Ok(match pod.cgroup() {
            Some(own) => Measured { usage, processes: own.pids()?.len() as u64, cgroup: own.path().to_owned() },
            None => {
                let processes = containers.iter().map(|container| container.processes).sum();
                Measured { usage, processes, cgroup: PathBuf::new() }
            }
        })
    }

    /// Makes a container's specification fit its pod: the namespaces that it names by the pod's holder are those of the
    /// holder that there is now, or the shim's own pins.
    pub(crate) fn fit_into_pod(&self, spec: &mut Spec) -> Result<()> {
        if let Some(host) = self.host.get() {
            host.lead_to_holder(spec);
        }
        self.pod_sandbox().map_or(Ok(()), |sandbox| sandbox.furnish(spec))
    }

    /// Waits until none is being made any more; those that are, are not wanted.
    pub(crate) async fn all_made(&self) {
        loop {
            let made = self.made.notified();
            let ids: Vec<_> = crate::lock(&self.tasks).keys().cloned().collect();
            // Each is told.
            if ids.iter().filter(|id| self.is_being_made(id)).count() == 0 {
                return;
            }
            made.await;
        }
    }

    /// Whether it was to leave, and waits for the end of its last task.
    pub(crate) fn is_to_leave(&self) -> bool {
        self.shutdown_asked.load(Ordering::Relaxed)
    }

    /// Forgets a task that has been deleted; false when it had been forgotten, whoever has its id by now.
    pub(crate) fn remove(&self, task: &Arc<Task>) -> bool {
        let mut tasks = crate::lock(&self.tasks);
        let is_here = matches!(tasks.get(task.id()), Some(Slot::Here(here)) if Arc::ptr_eq(here, task));
        if is_here {
            tasks.remove(task.id());
        }
        drop(tasks);
        if is_here {
            self.members.remove(task.id());
            self.close_account(task);
            if let Some(usage) = task.last_usage() {
                crate::lock(&self.pod).bury(&usage);
            }
        }
        self.leave_if_unwanted();
        is_here
    }

    /// Whether there was a task and there is nothing any more. A sandbox of the shim's may be without containers.
    pub(crate) fn is_emptied(&self) -> bool {
        let had_tasks = self.emptied.load(Ordering::Relaxed);
        had_tasks && crate::lock(&self.tasks).is_empty() && self.pod_sandbox().is_none()
    }

    /// A client of tasks wants no more of this shim. Where that has a sandbox, only a client of sandboxes says so.
    pub(crate) fn shutdown(&self) {
        if self.pod_sandbox().is_none() {
            self.leave();
        }
    }

    /// Nobody wants any more of this shim: it leaves with its last task.
    pub(crate) fn leave(&self) {
        self.shutdown_asked.store(true, Ordering::Relaxed);
        self.leave_if_unwanted();
    }

    fn leave_if_unwanted(&self) {
        if !crate::lock(&self.tasks).is_empty() {
            return;
        }
        if self.shutdown_asked.load(Ordering::Relaxed) {
            self.leaving.store(true, Ordering::Relaxed);
            self.left.notify_one();
        } else {
            self.emptied.store(true, Ordering::Relaxed);
            // However long that took, the time to be told to leave begins now.
            self.quiet.disturb();
        }
    }
}

/// An id kept for a task that is being made; given back unless the task is put in its place.
pub(crate) struct Reservation {
    shim: Arc<Shim>,
    id: String,
    /// Its client asks for a Delete, while it is being made.
    pub(crate) unwanted: Arc<Notify>,
}

impl Reservation {
    /// The task has been made.
    pub(crate) fn fill(self, task: Arc<Task>) {
        crate::lock(&self.shim.tasks).insert(self.id.clone(), Slot::Here(task));
        // The rest is said by being dropped.
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut tasks = crate::lock(&self.shim.tasks);
        if matches!(tasks.get(&self.id), Some(Slot::Reserved(_))) {
            tasks.remove(&self.id);
            self.shim.members.remove(&self.id);
        }
        drop(tasks);
        self.shim.made.notify_waiters();
        // A Shutdown may have come while this was the only container.
        self.shim.leave_if_unwanted();
    }
}

#[cfg(test)]
mod tests {
    use std::{future::Future, pin::pin, task::Context, task::Waker};

    use super::*;
    use crate::traces::Began;

    fn shim() -> Arc<Shim> {
        let began = Began { invoked: 1, understood: 2, forked: 3, bound: 4 };
        Arc::new(Shim::new(
            Events::new("test", "/nowhere"),
            Layout::detect().unwrap(),
            Traces::new(began),
            Members::of(Path::new("/nowhere"), false),
        ))
    }

    /// What a future says the next time it is asked; `None` while it waits.
    fn ask<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }

    #[test]
    fn a_delete_waits_for_the_create_that_its_client_has_given_up() {
        let shim = shim();
        let reservation = shim.reserve("a", Path::new("/b")).unwrap();
        let mut delete = pin!(shim.task_to_come("a"));
        assert!(ask(delete.as_mut()).is_none(), "the create is still under way");
        drop(reservation);
        let answer = ask(delete.as_mut()).expect("the create has ended");
        assert_eq!(answer.err().unwrap().code, ttrpc::Code::NOT_FOUND);
        assert_eq!(ask(pin!(shim.task_to_come("b"))).unwrap().err().unwrap().code, ttrpc::Code::NOT_FOUND);
    }

    #[test]
    fn a_shutdown_is_remembered_until_the_last_create_has_failed() {
        let shim = shim();
        let reservation = shim.reserve("a", Path::new("/b")).unwrap();
        shim.shutdown();
        let mut leave = pin!(shim.left.notified());
        assert!(ask(leave.as_mut()).is_none(), "there is a container to come");
        drop(reservation);
        assert!(ask(leave.as_mut()).is_some(), "nobody will ask again");
    }

    #[test]
    fn nothing_is_created_in_a_shim_that_leaves() {
        let shim = shim();
        assert!(shim.reserve("a", Path::new("/b")).is_ok());
        shim.shutdown();
        assert_eq!(shim.reserve("b", Path::new("/b")).err().unwrap().code, ttrpc::Code::FAILED_PRECONDITION);
    }

    #[test]
    fn an_id_is_given_once() {
        let shim = shim();
        let _reservation = shim.reserve("a", Path::new("/b")).unwrap();
        assert_eq!(shim.reserve("a", Path::new("/b")).err().unwrap().code, ttrpc::Code::ALREADY_EXISTS);
    }
}
