//! A container of a pod that the shim runs: many attempts, one task.

use std::{path::PathBuf, sync::Arc, time::SystemTime};

use loment_sandbox::{
    container::Container,
    layer,
    process::Exit,
    trace::{self, Phase},
};

use super::{
    Task, Vessel, attempt,
    memory::Kills,
    stage::{Stage, Step},
};
use crate::{
    failure::{Failure, Result},
    spec,
};

impl Task {
    /// Opens the gate of the present attempt; `false` when it could not be started. Why not is told when its process is
    /// gone, instead of its exit: only then can there be another attempt.
    pub(crate) async fn open_attempt(&self) -> bool {
        let _turn = self.turn.lock().await;
        let Err(failure) = self.open().await else { return true };
        let mut live = crate::lock(&self.live);
        if !live.told {
            live.start_error = Some(failure.message);
        }
        // It ends by itself, unless it was something else that failed.
        if let Some(Err(error)) = live.container().map(|container| container.init().signal(nix::libc::SIGKILL)) {
            log::warn!("end container {}: {error}", self.plan.id);
        }
        false
    }

    /// Its pod is told now that the present attempt has ended. Answers with what has kept it from running, if anything has.
    pub(super) fn tell_attempt(&self) -> Option<String> {
        let mut live = crate::lock(&self.live);
        live.told = true;
        live.start_error.take()
    }

    /// Replaces an attempt that has ended by a fresh one: a new process at its gate, over a clean writable layer, in
    /// the same cgroup and with the same streams.
    pub(crate) async fn renew(self: &Arc<Self>) -> Result<()> {
        let _turn = self.turn.lock().await;
        self.remake().await
    }

    /// Makes the holder of the pod's namespaces again, which was lost.
    pub(crate) async fn renew_holder(self: &Arc<Self>) -> Result<()> {
        let _turn = self.turn.lock().await;
        let lost = self.pid();
        self.remake().await?;
        if let Some(host) = self.shim.host.get() {
            host.has_lost_holder(lost);
        }
        self.open().await
    }

    async fn remake(self: &Arc<Self>) -> Result<()> {
        if self.exit.get().is_some() {
            return Err(Failure::precondition(format!("run container {} again: its end has been told", self.plan.id)));
        }
        if !crate::lock(&self.live).reaped {
            return Err(Failure::precondition(format!("run container {} again: it has not ended", self.plan.id)));
        }
        self.until_done("end", Container::try_end_attempt).await?;
        let aftermath = self.with_container(|container| Ok(container.aftermath_of_attempt()?))?;
        self.clear_up(aftermath).await?;
        // The terminal's last lines belong before those of the next attempt.
        if let Some(relay) = self.relay() {
            super::end::drain_terminal(&relay).await;
        }
        let rest = layer::begin_fresh_writable_layer(&self.plan.rootfs)?;
        self.clear_up(rest).await?;
        if let Some(member) = &self.plan.member {
            member.renewed();
        }
        let (asked, number) = (trace::now(), crate::lock(&self.live).attempt + 1);
        let mut spec = spec::read(&self.plan.bundle)?;
        crate::lock(&self.live).updates.apply(&mut spec)?;
        self.shim.fit_into_pod(&mut spec)?;
        let spec = Arc::new(spec);
        let trace = self.plan.trace_in(&self.shim, number);
        trace.reached_at(Phase::Asked, asked);
        trace.reached(Phase::SpecRead);
        let (container, relay) = attempt::make(&self.shim, &self.plan, spec, trace, &self.killed).await?;
        self.shim.close_account(self);
        let mut live = crate::lock(&self.live);
        live.kills = Kills::before(&container);
        live.container = Vessel::Here(container);
        (live.relay, live.opened, live.reaped, live.told) = (relay, false, false, false);
        // What was paused was the attempt that has ended.
        live.stage = live.stage.next(Step::Resume).unwrap_or(live.stage);
        (live.attempt, live.trace) = (number, trace);
        live.execs.retain(|_, exec| exec.stage() != Stage::Stopped);
        drop(live);
        self.watch_all();
        Ok(())
    }

    /// Sends a signal to the present attempt. One that has ended needs none. After SIGKILL nobody waits for the hooks of
    /// its start.
    pub(crate) fn signal_attempt(&self, signal: i32) -> Result<()> {
        if signal == nix::libc::SIGKILL {
            self.killed.notify_waiters();
        }
        self.note_signal(signal);
        self.with_container(|container| Ok(container.signal(signal)?)).map(drop)
    }

    /// There will be no other attempt: one that is being made and waits for hooks is given up.
    pub(crate) fn give_up_attempts(&self) {
        self.killed.notify_one();
    }

    /// It will never be the container that it was made to be: ends its process and tells its client that it has ended.
    pub(crate) fn dismiss(self: &Arc<Self>, code: u32) {
        self.give_up_attempts();
        if let Err(failure) = self.signal_attempt(nix::libc::SIGKILL) {
            log::warn!("end container {}: {failure}", self.plan.id);
        }
        tokio::spawn(Arc::clone(self).report(code, false));
    }

    /// How its process ended, if it has, and was reaped.
    pub(crate) fn ended_at_gate(&self) -> Option<Exit> {
        let mut live = crate::lock(&self.live);
        match &mut live.container {
            Vessel::Here(container) if container.init().has_ended() => container.init_mut().try_wait().ok().flatten(),
            _ => None,
        }
    }

    /// Waits until its client has read what it has written.
    pub(crate) async fn hand_over_output(&self) {
        super::end::hand_over(&self.plan.stdio, self.relay()).await;
    }

    /// The directory of its writable layer, if it has one.
    pub(crate) fn writable_layer(&self) -> Option<PathBuf> {
        layer::writable(&self.plan.rootfs)
    }

    /// Tells containerd that the container will not run again.
    pub(crate) async fn report(self: Arc<Self>, code: u32, oom_killed: bool) {
        let exit = Exit { code, at: SystemTime::now() };
        // With a pid namespace of the pod's, what it has left behind lives on and holds its output open: containerd reads
        // that to its end before it has the container deleted.
        self.end_others().await;
        super::end::hand_over(&self.plan.stdio, self.relay()).await;
        if oom_killed {
            self.publish_oom();
        }
        let mut live = crate::lock(&self.live);
        if live.stage == Stage::Created && !live.signalled {
            // For containerd a container has to have been started before it can end, if it has not ended it itself.
            live.untold = Some(exit);
            return;
        }
        drop(live);
        if self.exit.get().is_none() {
            self.finish(exit);
        }
    }

    /// Tells an end that was kept back, if a client has asked for it.
    pub(super) fn tell_end_if_asked(&self) {
        if crate::lock(&self.live).signalled {
            self.tell_end();
        }
    }

    /// Tells an end that was kept back.
    pub(super) fn tell_end(&self) {
        let untold = crate::lock(&self.live).untold.take();
        if let Some(exit) = untold {
            self.finish(exit);
        }
    }
}
