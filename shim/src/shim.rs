//! The shim's tasks, by id: what the services work on.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use loment_cgroups::Layout;
use tokio::sync::Notify;

use crate::{
    events::Events,
    failure::{Failure, Result},
    pod::host::Host,
    task::Task,
};

/// Everything that one shim serves: the containers of one pod.
pub(crate) struct Shim {
    /// Where events go.
    pub(crate) events: Events,
    /// The machine's cgroup hierarchies.
    pub(crate) layout: Layout,
    /// Children whose end somebody watches.
    pub(crate) pids: Pids,
    /// Who runs the pod, when the shim does.
    pub(crate) host: OnceLock<Arc<Host>>,
    tasks: Mutex<HashMap<String, Slot>>,
    /// A Shutdown came while there were tasks. containerd 2.0 to 2.4 does not ask again.
    shutdown_asked: AtomicBool,
    /// The last task is gone and nobody wants the shim any more.
    pub(crate) leave: Notify,
}

enum Slot {
    /// Being created.
    Reserved,
    /// Created.
    Here(Arc<Task>),
}

impl Shim {
    /// A shim without tasks.
    pub(crate) fn new(events: Events, layout: Layout) -> Self {
        Self {
            events,
            layout,
            pids: Pids::default(),
            host: OnceLock::new(),
            tasks: Mutex::default(),
            shutdown_asked: AtomicBool::new(false),
            leave: Notify::new(),
        }
    }

    /// Keeps `id` for a task that is about to be made.
    pub(crate) fn reserve(self: &Arc<Self>, id: &str) -> Result<Reservation> {
        let mut tasks = crate::lock(&self.tasks);
        if tasks.contains_key(id) {
            return Err(Failure::exists(format!("create container {id}: the id is taken")));
        }
        tasks.insert(id.to_owned(), Slot::Reserved);
        Ok(Reservation { shim: Arc::clone(self), id: id.to_owned() })
    }

    /// The task `id`.
    pub(crate) fn task(&self, id: &str) -> Result<Arc<Task>> {
        match crate::lock(&self.tasks).get(id) {
            Some(Slot::Here(task)) => Ok(Arc::clone(task)),
            _ => Err(Failure::not_found(format!("container {id}: no such container in this shim"))),
        }
    }

    /// Forgets a task that has been deleted.
    pub(crate) fn remove(&self, id: &str) {
        crate::lock(&self.tasks).remove(id);
        self.leave_if_unwanted();
    }

    /// containerd wants no more of this shim.
    pub(crate) fn shutdown(&self) {
        self.shutdown_asked.store(true, Ordering::Relaxed);
        self.leave_if_unwanted();
    }

    fn leave_if_unwanted(&self) {
        if self.shutdown_asked.load(Ordering::Relaxed) && crate::lock(&self.tasks).is_empty() {
            self.leave.notify_one();
        }
    }
}

/// An id kept for a task that is being made; given back unless the task is put in its place.
pub(crate) struct Reservation {
    shim: Arc<Shim>,
    id: String,
}

impl Reservation {
    /// The task has been made.
    pub(crate) fn fill(self, task: Arc<Task>) {
        crate::lock(&self.shim.tasks).insert(self.id.clone(), Slot::Here(task));
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut tasks = crate::lock(&self.shim.tasks);
        if matches!(tasks.get(&self.id), Some(Slot::Reserved)) {
            tasks.remove(&self.id);
        }
    }
}

/// Children that somebody watches by pidfd. All others that end are orphans which the kernel gave to the shim.
#[derive(Default)]
pub(crate) struct Pids {
    watched: Mutex<HashSet<i32>>,
    /// A watched child has been reaped: one that hid orphans from the sweep is out of the way.
    pub(crate) reaped: Notify,
}

impl Pids {
    /// Somebody watches `pid`.
    pub(crate) fn add(&self, pid: i32) {
        crate::lock(&self.watched).insert(pid);
    }

    /// `pid` has been reaped.
    pub(crate) fn remove(&self, pid: i32) {
        crate::lock(&self.watched).remove(&pid);
        self.reaped.notify_one();
    }

    /// Reaps orphans.
    pub(crate) fn sweep(&self) {
        use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
        let peek = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        while let Ok(status) = waitid(Id::All, peek) {
            let Some(pid) = status.pid().filter(|_| status != WaitStatus::StillAlive) else { return };
            if crate::lock(&self.watched).contains(&pid.as_raw()) {
                // The kernel shows the same child until its watcher has reaped it; then the sweep goes on.
                return;
            }
            let _reaped = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG);
        }
    }
}
