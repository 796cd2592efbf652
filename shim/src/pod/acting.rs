//! What the machine answers, done.

use std::{future::Future, sync::Arc};

use loment_sandbox::lifecycle::{Action, ContainerId, Event};
use nix::libc::SIGKILL;

use super::{host::Host, words};
use crate::task::Task;

impl Host {
    /// Does what the machine has answered. What takes time is done beside the loop, and its outcome fed back.
    pub(super) fn act(self: &Arc<Self>, action: Action) {
        match action {
            Action::Open { container, .. } => {
                self.mark_log(container);
                self.with_task(container, open);
            }
            Action::Prepare { container, .. } => self.with_task(container, prepare),
            Action::Signal { container, signal } => self.signal(container, signal),
            Action::Discard { container } => {
                if let Some(task) = self.task(container) {
                    task.give_up_attempts();
                    self.signal(container, SIGKILL);
                }
            }
            Action::Report { container, code } => self.report(container, code),
            Action::Adopt { container, .. } => self.adopt(container),
            Action::Dismiss { container, code } => {
                if let Some(successor) = self.change(container, |slot| slot.successor.take()) {
                    successor.task.dismiss(code);
                }
            }
            Action::RunHook { container, attempt, hook } => {
                let wanted = self.with_spec(|spec| spec.container(container)?.hook(hook).cloned());
                let (Some(task), Some(wanted)) = (self.task(container), wanted) else { return };
                let done = Arc::clone(self).hook(task, wanted);
                self.ask_of(container, async move { Event::HookDone { container, attempt, hook, error: done.await } });
            }
            Action::Probe { container, attempt, probe } => {
                let wanted = self.with_spec(|spec| spec.container(container)?.probe(probe).cloned());
                let (Some(task), Some(wanted)) = (self.task(container), wanted) else { return };
                let done = Arc::clone(self).probe(task, wanted);
                self.ask_of(container, async move { Event::Probed { container, attempt, probe, outcome: done.await } });
            }
            Action::RenewSandbox => {
                let host = Arc::clone(self);
                tokio::spawn(async move { host.tell(Arc::clone(&host).renew_sandbox().await) });
            }
            Action::Record(entry) => crate::lock(&self.timeline).add(entry),
        }
    }

    /// Does something to the task that the container is now.
    fn with_task<F>(self: &Arc<Self>, container: ContainerId, work: fn(Arc<Task>, ContainerId) -> F)
    where
        F: Future<Output = Option<Event>> + Send + 'static,
    {
        let Some(task) = self.task(container) else {
            return log::error!("pod: an action for container {container:?}, which was never created");
        };
        let host = Arc::clone(self);
        tokio::spawn(async move {
            if let Some(outcome) = work(task, container).await {
                host.tell(outcome);
            }
        });
    }

    /// Asks something of a running container; given up when it ends.
    fn ask_of(self: &Arc<Self>, container: ContainerId, asking: impl Future<Output = Event> + Send + 'static) {
        let host = Arc::clone(self);
        let asked = tokio::spawn(async move { host.tell(asking.await) });
        self.asks(container, asked.abort_handle());
    }

    fn signal(&self, container: ContainerId, signal: i32) {
        let Some(task) = self.task(container) else { return };
        if let Err(failure) = task.signal_attempt(signal) {
            log::warn!("pod: signal {signal} to container {}: {failure}", task.id());
        }
    }

    fn report(&self, container: ContainerId, code: u32) {
        self.give_up_asking(container);
        let (task, oom_killed) = self.change(container, |slot| (slot.task.clone(), slot.oom_killed));
        if let Some(task) = task {
            tokio::spawn(task.report(code, oom_killed));
        }
    }

    /// The successor is the container from now on.
    fn adopt(&self, container: ContainerId) {
        self.give_up_asking(container);
        let Some(successor) = self.change(container, |slot| {
            let successor = slot.successor.take()?;
            slot.task = Some(Arc::clone(&successor.task));
            slot.oom_killed = false;
            Some(successor)
        }) else {
            return log::error!("pod: container {container:?} has no successor");
        };
        // What has happened to it while it was not the container.
        if let Some(exit) = successor.task.ended_at_gate() {
            self.tell(Event::Exited { container, code: exit.code, oom_killed: false, message: None });
        }
        if let Some(signal) = successor.killed {
            self.tell(Event::KillRequested { container, signal });
        }
    }

    /// Notes where in its log an attempt begins whose last words may be found there.
    fn mark_log(&self, container: ContainerId) {
        let name = self.with_spec(|spec| {
            let spec = spec.container(container)?;
            spec.termination_message.fall_back_to_logs.then(|| spec.name.clone())
        });
        if let Some(logs) = name.and_then(|name| self.logs_of(&name)) {
            let from = words::length(&logs);
            self.change(container, |slot| slot.log_from = from);
        }
    }
}

async fn open(task: Arc<Task>, container: ContainerId) -> Option<Event> {
    task.open_attempt().await.then_some(Event::Opened { container })
}

async fn prepare(task: Arc<Task>, container: ContainerId) -> Option<Event> {
    Some(match task.renew().await {
        Ok(()) => Event::Ready { container },
        Err(failure) => Event::PrepareFailed { container, message: failure.message },
    })
}
