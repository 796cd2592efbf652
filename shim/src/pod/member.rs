//! A container's place in the pod that the shim runs: what its task tells the host.

use std::sync::Arc;

use loment_sandbox::{
    lifecycle::{ContainerId, ContainerSpec, Event, message},
    process::Exit,
};
use oci_spec::runtime::Spec;

use super::{
    host::{Host, Part, Successor, name_of},
    words,
};
use crate::task::Task;

/// Exit status of what never ran and was killed.
const KILLED: u32 = 128 + nix::libc::SIGKILL.unsigned_abs();

/// A container's place in the pod that the shim runs. The task that holds it is told by its id: there may be a second one,
/// the successor of the first, and the first lives on for a moment when that has taken over.
#[derive(Clone)]
pub(crate) struct Member {
    host: Arc<Host>,
    id: ContainerId,
}

impl Host {
    /// The place of the container with this specification. A container that the manifest does not name is a stranger
    /// in the pod (a debug container): it is run as its client says.
    pub(crate) fn member(self: &Arc<Self>, container: &Spec) -> Option<Member> {
        let id = self.with_spec(|spec| spec.id(name_of(container)?))?;
        Some(Member { host: Arc::clone(self), id })
    }
}

impl Member {
    /// A client has created the container.
    pub(crate) fn created(&self, task: &Arc<Task>) {
        let is_first = self.host.change(self.id, |slot| {
            if slot.task.is_none() {
                slot.task = Some(Arc::clone(task));
                return true;
            }
            let other = slot.successor.replace(Successor { task: Arc::clone(task), started: false, killed: None });
            if let Some(other) = other {
                other.task.dismiss(KILLED);
            }
            false
        });
        if is_first {
            self.host.tell(Event::Created { container: self.id });
        }
    }

    /// A client has started it.
    pub(crate) fn armed(&self, task: &str) {
        match self.host.part(self.id, task) {
            Part::Present => self.host.tell(Event::Armed { container: self.id }),
            Part::Successor => {
                self.host.change(self.id, |slot| slot.successor.iter_mut().for_each(|next| next.started = true));
                self.host.tell(Event::Replaced { container: self.id });
            }
            Part::Former => {}
        }
    }

    /// A client wants it to end.
    pub(crate) fn kill_requested(&self, task: &str, signal: i32) {
        match self.host.part(self.id, task) {
            Part::Present => self.host.tell(Event::KillRequested { container: self.id, signal }),
            Part::Successor if signal != 0 => self.kill_successor(signal),
            Part::Successor | Part::Former => {}
        }
    }

    /// One that has been announced takes over before it is ended; the other never was.
    fn kill_successor(&self, signal: i32) {
        let unwanted = self.host.change(self.id, |slot| match &mut slot.successor {
            Some(successor) if successor.started => {
                successor.killed.get_or_insert(signal);
                None
            }
            successor => successor.take(),
        });
        if let Some(unwanted) = unwanted {
            unwanted.task.dismiss(128 + signal.unsigned_abs());
        }
    }

    /// It has lost processes for want of memory and lives on.
    pub(crate) fn lost(&self, task: &str, kills: u64) {
        if self.host.part(self.id, task) == Part::Present {
            self.host.tell(Event::MemoryKilled { container: self.id, kills });
        }
    }

    /// An attempt has ended, and has left this message.
    pub(crate) fn exited(&self, task: &str, exit: Exit, oom_killed: bool, message: Option<String>) {
        if self.host.part(self.id, task) != Part::Present {
            return;
        }
        self.host.give_up_asking(self.id);
        self.host.change(self.id, |slot| slot.oom_killed = oom_killed);
        self.host.tell(Event::Exited { container: self.id, code: exit.code, oom_killed, message });
    }

    /// Its program could not be executed, and its process is gone.
    pub(crate) fn could_not_start(&self, task: &str, message: String) {
        if self.host.part(self.id, task) == Part::Present {
            self.host.give_up_asking(self.id);
            // What a CRI client expects of a container that could not be started.
            self.host.tell(Event::StartFailed { container: self.id, code: 128, message });
        }
    }

    /// What an attempt that has ended with `code` has left to say.
    pub(crate) async fn last_words(&self, task: &Task, code: u32) -> Option<String> {
        let (name, policy) = self.spec(|spec| (spec.name.clone(), spec.termination_message.clone()))?;
        let left = self.host.directory().and_then(|directory| words::left(directory, &name));
        let logs = self.host.logs_of(&name).filter(|_| message::wants_log(&policy, code, left.as_deref()));
        let Some(logs) = logs else { return left };
        task.hand_over_output().await;
        let from = self.host.change(self.id, |slot| slot.log_from);
        words::from_log(&logs, from).await
    }

    /// The next attempt finds its files as the first one did.
    pub(crate) fn renewed(&self) {
        if let (Some(directory), Some(name)) = (self.host.directory(), self.spec(|spec| spec.name.clone())) {
            words::empty(directory, &name);
        }
    }

    fn spec<T>(&self, look: impl FnOnce(&ContainerSpec) -> T) -> Option<T> {
        self.host.with_spec(|spec| spec.container(self.id).map(look))
    }
}
