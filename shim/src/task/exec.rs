//! A further process in a container.

use std::{
    os::fd::OwnedFd,
    sync::{Arc, Mutex},
};

use containerd_shim_protos::events::task::{TaskExecStarted, TaskExit};
use loment_sandbox::{
    container::{Executing, Extras},
    process::{Exit, Process},
    trace::{self, Phase, Trace},
};
use protobuf::MessageField;
use tokio::sync::Mutex as Turn;

use super::{
    Task,
    exit::ExitCell,
    ready::readable,
    stage::{Stage, Step},
};
use crate::{
    events::Event,
    failure::{Failure, Result},
    pod::api::traced_start::Kind,
    relay::Relay,
    stdio::Stdio,
    time::timestamp,
    traces::Subject,
};

/// What containerd calls an exec.
#[derive(Debug)]
pub(crate) struct Exec {
    id: String,
    spec: oci_spec::runtime::Process,
    stdio: Stdio,
    /// Start and the publication of the end, one after the other.
    turn: Turn<()>,
    live: Mutex<Live>,
    exit: ExitCell,
}

#[derive(Debug)]
struct Live {
    stage: Stage,
    process: Option<Process>,
    relay: Option<Arc<Relay>>,
}

impl Exec {
    /// Registered, not started.
    pub(crate) fn new(id: &str, spec: oci_spec::runtime::Process, stdio: Stdio) -> Self {
        Self {
            id: id.to_owned(),
            spec,
            stdio,
            turn: Turn::new(()),
            live: Mutex::new(Live { stage: Stage::Created, process: None, relay: None }),
            exit: ExitCell::new(),
        }
    }

    /// Its streams.
    pub(crate) fn stdio(&self) -> &Stdio {
        &self.stdio
    }

    /// Its end.
    pub(crate) fn exit(&self) -> &ExitCell {
        &self.exit
    }

    /// Where it stands.
    pub(crate) fn stage(&self) -> Stage {
        crate::lock(&self.live).stage
    }

    /// Its pid; 0 before it was started.
    pub(crate) fn pid(&self) -> i32 {
        crate::lock(&self.live).process.as_ref().map_or(0, Process::pid)
    }

    /// Its terminal, if it has one.
    pub(crate) fn relay(&self) -> Option<Arc<Relay>> {
        crate::lock(&self.live).relay.clone()
    }

    /// Whether it has been started and has not ended.
    pub(crate) fn running(&self) -> bool {
        self.stage() == Stage::Running && self.exit.get().is_none()
    }

    /// Starts the process in `task`'s container.
    pub(crate) async fn start(self: Arc<Self>, task: Arc<Task>) -> Result<i32> {
        let asked = trace::now();
        let _turn = self.turn.lock().await;
        let next = self.stage().take(Step::Start, &format!("exec {}", self.id))?;
        let trace = self.trace_in(&task);
        trace.reached_at(Phase::Asked, asked);
        let started = self.execute(&task, trace).await;
        let (process, relay) = match started {
            Ok(started) => started,
            Err(failure) => {
                self.give_up();
                let failure = failure.while_doing(format!("exec in container {}", task.id()));
                // The container's end came first: that is the reason, whichever step has met it.
                return Err(if task.has_ended() { Failure::precondition(failure.message) } else { failure });
            }
        };
        let pid = process.pid();
        *crate::lock(&self.live) = Live { stage: next, process: Some(process), relay };
        task.shim().events.send(&Event::ExecStarted(TaskExecStarted {
            container_id: task.id().to_owned(),
            exec_id: self.id.clone(),
            pid: pid.unsigned_abs(),
            ..TaskExecStarted::default()
        }));
        trace.reached(Phase::Started);
        tokio::spawn(Arc::clone(&self).watch(Arc::clone(&task)));
        Ok(pid)
    }

    fn trace_in(&self, task: &Task) -> Trace {
        let subject = Subject { kind: Kind::EXEC, id: task.id(), exec: &self.id, name: task.name(), attempt: 0 };
        task.shim().traces.begin(subject)
    }

    async fn execute(&self, task: &Task, trace: Trace) -> Result<(Process, Option<Arc<Relay>>)> {
        let io = self.stdio.for_process()?;
        let extras = Extras { trace, ..Extras::default() };
        let mut executing = task.with_container(|container| Ok(container.exec_with(&self.spec, io, extras)?))?;
        for warning in executing.take_warnings() {
            log::warn!("exec {} in container {}: {warning}", self.id, task.id());
        }
        let pid = executing.pid();
        task.shim().pids.add(pid);
        let executed = self.become_program(executing).await;
        trace.reached(Phase::Executed);
        match &executed {
            Ok(_) => self.stdio.handed_over(),
            Err(_) => task.shim().pids.remove(pid),
        }
        executed
    }

    /// Waits until the program runs. The container may stop the process on its way there, and with it nobody else.
    async fn become_program(&self, mut executing: Executing) -> Result<(Process, Option<Arc<Relay>>)> {
        loop {
            readable(&executing).await?;
            if executing.advance()? {
                break;
            }
        }
        let (process, terminal) = executing.finish()?;
        match terminal.map(|terminal| self.relay_of(terminal)).transpose() {
            Ok(relay) => Ok((process, relay)),
            Err(failure) => {
                // Nobody would hear of it any more. It is reaped as an orphan.
                process.signal(nix::libc::SIGKILL)?;
                Err(failure)
            }
        }
    }

    fn relay_of(&self, terminal: OwnedFd) -> Result<Arc<Relay>> {
        let relay = Relay::start(terminal, &self.stdio)?;
        if let Some(size) = self.spec.console_size() {
            relay.resize(crate::task::characters(size.width()), crate::task::characters(size.height()))?;
        }
        Ok(Arc::new(relay))
    }

    /// Waits for the end and publishes it.
    async fn watch(self: Arc<Self>, task: Arc<Task>) {
        let ending = crate::lock(&self.live).process.as_ref().map(Process::ending);
        let Some(ending) = ending else { return };
        if let Err(failure) = readable(&ending).await {
            log::error!("watch exec {}: {failure}", self.id);
        }
        let try_wait = || crate::lock(&self.live).process.as_mut().map_or(Ok(None), Process::try_wait);
        let exit = super::end::reap(&self.id, try_wait).await;
        let pid = self.pid();
        task.shim().pids.remove(pid);
        super::end::hand_over(&self.stdio, self.relay()).await;
        // After the event of a Start that is still under way.
        let _turn = self.turn.lock().await;
        self.end(exit);
        task.shim().events.send(&Event::Exit(TaskExit {
            container_id: task.id().to_owned(),
            id: self.id.clone(),
            pid: pid.unsigned_abs(),
            exit_status: exit.code,
            exited_at: MessageField::some(timestamp(exit.at)),
            ..TaskExit::default()
        }));
    }

    /// It will never be started. Whoever waits must not wait for ever; 255 is what containerd's own shim answers.
    pub(crate) fn give_up(&self) {
        if self.stage() == Stage::Created {
            self.end(Exit { code: 255, at: std::time::SystemTime::now() });
        }
    }

    fn end(&self, exit: Exit) {
        let mut live = crate::lock(&self.live);
        live.stage = live.stage.next(Step::End).unwrap_or(Stage::Stopped);
        drop(live);
        self.stdio.release();
        self.exit.set(exit);
    }

    /// Waits for its end, also if it is being started at this very moment. One that was never started has none.
    pub(crate) async fn over(&self) {
        if self.stage() == Stage::Created {
            // Held by a Start as long as it is under way.
            drop(self.turn.lock().await);
        }
        if self.running() {
            self.exit.wait().await;
        }
    }

    /// Sends it a signal.
    pub(crate) fn kill(&self, signal: i32) -> Result<()> {
        let live = crate::lock(&self.live);
        match (&live.process, live.stage) {
            (_, Stage::Stopped) => Err(finished(&self.id)),
            (None, _) => Err(Failure::precondition(format!("kill exec {}: it has not been started", self.id))),
            (Some(process), _) => match process.signal(signal)? {
                true => Ok(()),
                false => Err(finished(&self.id)),
            },
        }
    }

    /// Checks that it may be forgotten and waits until its output has been handed over.
    pub(crate) async fn delete(&self) -> Result<()> {
        let _turn = self.turn.lock().await;
        match self.stage() {
            // A Start that waits for its turn finds it ended, and whoever waits for its end is told.
            Stage::Created => self.end(Exit { code: 0, at: std::time::SystemTime::now() }),
            stage => drop(stage.take(Step::Delete, &format!("exec {}", self.id))?),
        }
        super::end::drain(self.relay(), &self.stdio).await;
        Ok(())
    }
}

/// What Kill answers when there is nothing left to kill: clients take NOT_FOUND for success.
pub(super) fn finished(id: &str) -> Failure {
    Failure::not_found(format!("kill {id}: the process has already finished"))
}
