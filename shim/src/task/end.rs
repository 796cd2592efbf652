//! The end of a container: it is waited for, told, asked for, and cleared up after.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use containerd_shim_protos::events::task::TaskExit;
use loment_sandbox::{container::Container, process::Exit};
use protobuf::MessageField;

use super::{
    Task, Vessel, exec,
    ready::readable,
    stage::{Stage, Step},
};
use crate::{
    events::Event,
    failure::{Failure, Result},
    relay::Relay,
    stdio::{self, Stdio},
    time::timestamp,
};

/// How long a Delete waits for a reader of the terminal's last output, and for the logger's end.
const DRAIN: Duration = Duration::from_secs(10);
/// How long what was killed may take to be gone. It may be writing back what it had written.
const ENDING: Duration = Duration::from_secs(4);
/// The same for one that was never started: what it has said at its gate is handed over as well.
const DISCARDING: Duration = Duration::from_secs(8);
/// First and longest wait before it is looked at again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

impl Task {
    /// Waits for the end of the present attempt and tells it.
    pub(super) async fn watch(self: Arc<Self>) {
        let ending = crate::lock(&self.live).container().map(|container| container.init().ending());
        let Some(ending) = ending else { return };
        if let Err(failure) = readable(&ending).await {
            log::error!("watch container {}: {failure}", self.plan.id);
        }
        let exit = self.reap().await;
        // Before anything is waited for: systemd removes a scope that is empty, and its counts with it.
        let oom_killed = self.ended_for_memory(exit).await;
        // What it has left in a pid namespace of the pod's goes on writing to its log, of which the end is wanted.
        self.end_others().await;
        if let Some(member) = self.plan.member.clone() {
            let message = member.last_words(&self, exit.code).await;
            let _turn = self.turn.lock().await;
            match self.tell_attempt() {
                Some(why) => member.could_not_start(&self.plan.id, why),
                None => member.exited(&self.plan.id, exit, oom_killed, message),
            }
            return;
        }
        if self.is_sandbox()
            && let Some(host) = self.shim.host.get()
            && host.loses_sandbox(exit, crate::lock(&self.live).signalled)
        {
            self.shim.quiet.disturb();
            return;
        }
        hand_over(&self.plan.stdio, self.relay()).await;
        // After the event of a Start that is still under way.
        let _turn = self.turn.lock().await;
        if oom_killed {
            self.publish_oom();
        }
        self.finish(exit);
    }

    pub(super) async fn reap(&self) -> Exit {
        let exit = reap(&self.plan.id, || {
            let mut live = crate::lock(&self.live);
            let ended = match &mut live.container {
                Vessel::Here(container) => container.init_mut().try_wait(),
                Vessel::Restorable(_) | Vessel::Gone => Ok(None),
            };
            live.reaped |= !matches!(ended, Ok(None));
            ended
        });
        let exit = exit.await;
        self.shim.pids.remove(self.pid());
        exit
    }

    /// Whether init has ended.
    pub(crate) fn has_ended(&self) -> bool {
        crate::lock(&self.live).container().is_some_and(|container| container.init().has_ended())
    }

    /// Whether there is a process of it, be it one that waits at its gate.
    pub(crate) fn has_process(&self) -> bool {
        !crate::lock(&self.live).reaped
    }

    /// The init's end is the last of its container: kills what the kernel has not killed and waits for every exec, also
    /// for one that is being started at this very moment. No other is begun: init has been reaped.
    pub(super) async fn end_others(&self) {
        if !self.private_pids
            && let Err(failure) = self.with_container(|container| Ok(container.cgroup().kill()?))
        {
            log::warn!("end what is left of container {}: {failure}", self.plan.id);
        }
        let execs: Vec<_> = crate::lock(&self.live).execs.values().cloned().collect();
        for exec in execs {
            exec.over().await;
        }
    }

    /// Tells everyone that the container has ended and will not run again.
    pub(crate) fn finish(&self, exit: Exit) {
        let mut live = crate::lock(&self.live);
        live.stage = live.stage.next(Step::End).unwrap_or(Stage::Stopped);
        let pid = live.pid();
        drop(live);
        self.plan.stdio.release_when_read();
        // A sandbox that is given up while a new holder is made has ended already.
        if !self.exit.set(exit) {
            return;
        }
        self.shim.quiet.disturb();
        self.announce(&Event::Exit(TaskExit {
            container_id: self.plan.id.clone(),
            id: self.plan.id.clone(),
            pid: pid.unsigned_abs(),
            exit_status: exit.code,
            exited_at: MessageField::some(timestamp(exit.at)),
            ..TaskExit::default()
        }));
    }

    /// Sends a signal to init, or to every process of the container.
    pub(crate) fn kill(&self, signal: i32, all: bool) -> Result<()> {
        if !self.stage().alive() {
            return Err(exec::finished(&self.plan.id));
        }
        if let Some(member) = &self.plan.member {
            // Who ends what it has not started waits for the end now, as containerd does when it was killed between the two.
            crate::lock(&self.live).signalled |= signal != 0;
            self.tell_end_if_asked();
            member.kill_requested(&self.plan.id, signal);
            return Ok(());
        }
        if self.is_restorable() {
            if signal != 0 {
                self.never_restored(signal);
            }
            return Ok(());
        }
        if signal == nix::libc::SIGKILL && self.stage() == Stage::Created {
            self.killed.notify_one();
        }
        self.note_signal(signal);
        if self.is_sandbox() && signal != 0 {
            crate::lock(&self.live).signalled = true;
            if let Some(host) = self.shim.host.get() {
                // It may have been lost before that.
                host.give_up_sandbox();
            }
        }
        let paused = self.stage() == Stage::Paused;
        let sent = self.with_container(|container| {
            let sent = if all { container.signal_all(signal)? } else { container.init().signal(signal)? };
            if paused && signal == nix::libc::SIGKILL {
                // A frozen process of cgroup v1 does not even die.
                container.resume()?;
            }
            Ok(sent)
        });
        match sent? {
            true => Ok(()),
            false => Err(exec::finished(&self.plan.id)),
        }
    }

    /// Removes everything that belongs to the container. May be asked again after a failure.
    pub(crate) async fn delete(&self) -> Result<Exit> {
        self.discard().await?;
        let _turn = self.turn.lock().await;
        self.stage().take(Step::Delete, &format!("container {}", self.plan.id))?;
        drain(self.relay(), &self.plan.stdio).await;
        self.plan.stdio.release();
        if !self.take_back() {
            self.keep_usage();
            self.until_done("delete", Container::try_delete).await?;
            let aftermath = self.with_container(|container| Ok(container.aftermath()?))?;
            self.clear_up(aftermath).await?;
        }
        Ok(self.exit.get().unwrap_or(Exit { code: 0, at: std::time::SystemTime::now() }))
    }

    /// Takes `step` until it is done, for a bounded time. It does not wait itself: meanwhile the shim serves the other
    /// containers of the pod, and reaps.
    pub(super) async fn until_done(
        &self,
        what: &str,
        step: fn(&mut Container) -> loment_sandbox::Result<bool>,
    ) -> Result<()> {
        let deadline = Instant::now() + ENDING;
        let mut pause = PAUSE.0;
        while !self.with_container(|container| Ok(step(container)?))? {
            if Instant::now() >= deadline {
                return Err(self.goes_on(what, ENDING));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
        Ok(())
    }

    /// What was killed has not ended in time, or somebody else is in the cgroup.
    fn goes_on(&self, what: &str, after: Duration) -> Failure {
        let occupants = self.with_container(|container| Ok(container.cgroup().describe_occupants()));
        let occupants = occupants.ok().flatten().unwrap_or_else(|| format!("process {} has not ended", self.pid()));
        Failure::unknown(format!(
            "{what} container {}: its processes have been killed, and after {after:?} {occupants} (one that waits in the \
             kernel or is frozen ends when it can; one of somebody else's has to be moved; then try again)",
            self.plan.id
        ))
    }

    /// Ends a container that was never started and waits, for a bounded time, for its end.
    pub(super) async fn discard(&self) -> Result<()> {
        {
            let mut live = crate::lock(&self.live);
            match live.stage.next(Step::Discard) {
                Some(next) => live.stage = next,
                // One that did not end in time is asked again.
                None if live.stage == Stage::Discarded => {}
                None => return Ok(()),
            }
            live.kills.sent(nix::libc::SIGKILL);
            if let Some(container) = live.container().filter(|_| self.plan.member.is_none()) {
                container.init().signal(nix::libc::SIGKILL)?;
                self.killed.notify_one();
            }
        }
        if self.is_restorable() {
            self.never_restored(nix::libc::SIGKILL);
        }
        self.tell_end();
        if let Some(member) = self.plan.member.as_ref().filter(|_| self.exit.get().is_none()) {
            member.kill_requested(&self.plan.id, nix::libc::SIGKILL);
        }
        let ended = tokio::time::timeout(DISCARDING, self.exit.wait()).await;
        ended.map(drop).map_err(|_| self.goes_on("delete", DISCARDING))
    }
}

/// Reaps a process that has ended. One that is traced is not ours to reap before its tracer has let it go: a debugger, or
/// CRIU, which ends what it has written to disk.
pub(super) async fn reap(id: &str, mut try_wait: impl FnMut() -> loment_sandbox::Result<Option<Exit>>) -> Exit {
    let mut pause = PAUSE.0;
    loop {
        match try_wait() {
            Ok(Some(exit)) => return exit,
            Ok(None) => tokio::time::sleep(pause).await,
            Err(error) => {
                log::error!("reap {id}: {error}");
                return Exit { code: 255, at: std::time::SystemTime::now() };
            }
        }
        pause = (pause * 2).min(PAUSE.1);
    }
}

/// Waits until the client has read the output of a process that has ended, unless it does not read at all.
pub(super) async fn hand_over(stdio: &Stdio, relay: Option<Arc<Relay>>) {
    if let Some(relay) = relay {
        // A stuck client does not keep the exit back for longer than this.
        let _stuck = tokio::time::timeout(stdio::STUCK, relay.drained()).await;
    }
    stdio.drained().await;
}

/// Waits, not for ever, until the client has read what a terminal still had to say.
pub(super) async fn drain_terminal(relay: &Relay) {
    if tokio::time::timeout(DRAIN, relay.drained()).await.is_err() {
        log::warn!("the client of a terminal did not read its last output within {DRAIN:?}");
    }
}

/// Waits, not for ever, until all output of a process that has ended is where it belongs. A logger that takes longer is
/// seen off afterwards.
pub(super) async fn drain(relay: Option<Arc<Relay>>, stdio: &Stdio) {
    let drained = async {
        if let Some(relay) = relay {
            drain_terminal(&relay).await;
        }
        stdio.end_logger().await;
    };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        log::warn!("the last output of a process was not taken within {DRAIN:?}");
    }
}
