//! A further process in a container.

use std::sync::{Arc, Mutex};

use containerd_shim_protos::events::task::{TaskExecStarted, TaskExit};
use loment_sandbox::process::{Exit, Process};
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
    relay::Relay,
    stdio::Stdio,
    time::timestamp,
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
        let _turn = self.turn.lock().await;
        let next = self.stage().take(Step::Start, &format!("exec {}", self.id))?;
        let started = self.execute(&task).await;
        let (process, relay) = match started {
            Ok(started) => started,
            Err(failure) => {
                // Whoever waits must not wait for ever; 255 is what containerd's own shim answers.
                self.end(Exit { code: 255, at: std::time::SystemTime::now() });
                return Err(failure.while_doing(format!("exec in container {}", task.id())));
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
        tokio::spawn(Arc::clone(&self).watch(Arc::clone(&task)));
        Ok(pid)
    }

    async fn execute(&self, task: &Task) -> Result<(Process, Option<Arc<Relay>>)> {
        let io = self.stdio.for_process()?;
        let executing = task.with_container(|container| Ok(container.exec(&self.spec, io)?))?;
        let pid = executing.pid();
        task.shim().pids.add(pid);
        let watched = readable(&executing).await;
        let finished = executing.finish().inspect_err(|_| task.shim().pids.remove(pid));
        watched?;
        let (process, terminal) = finished?;
        self.stdio.handed_over();
        let relay = terminal.map(|terminal| Relay::start(terminal, self.stdio.paths())).transpose()?;
        if let (Some(relay), Some(size)) = (&relay, self.spec.console_size()) {
            relay.resize(crate::task::characters(size.width()), crate::task::characters(size.height()))?;
        }
        Ok((process, relay.map(Arc::new)))
    }

    /// Waits for the end and publishes it.
    async fn watch(self: Arc<Self>, task: Arc<Task>) {
        let Some(pidfd) = self.pidfd() else { return };
        if let Err(failure) = readable(&pidfd).await {
            log::error!("watch exec {}: {failure}", self.id);
        }
        let ended = crate::lock(&self.live).process.as_mut().map(Process::try_wait);
        let exit = match ended {
            Some(Ok(Some(exit))) => exit,
            other => {
                log::error!("reap exec {}: {other:?}", self.id);
                Exit { code: 255, at: std::time::SystemTime::now() }
            }
        };
        let pid = self.pid();
        task.shim().pids.remove(pid);
        super::hand_over(&self.stdio, self.relay()).await;
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

    fn pidfd(&self) -> Option<std::os::fd::OwnedFd> {
        use std::os::fd::AsFd;
        crate::lock(&self.live).process.as_ref().and_then(|process| process.as_fd().try_clone_to_owned().ok())
    }

    fn end(&self, exit: Exit) {
        let mut live = crate::lock(&self.live);
        live.stage = live.stage.next(Step::End).unwrap_or(Stage::Stopped);
        drop(live);
        self.exit.set(exit);
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
        let stage = self.stage();
        if stage != Stage::Created {
            stage.take(Step::Delete, &format!("exec {}", self.id))?;
        }
        if let Some(relay) = self.relay() {
            super::drain(&relay).await;
        }
        self.stdio.release();
        Ok(())
    }
}

/// What Kill answers when there is nothing left to kill: clients take NOT_FOUND for success.
pub(super) fn finished(id: &str) -> Failure {
    Failure::not_found(format!("kill {id}: the process has already finished"))
}
