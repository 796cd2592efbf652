//! A container of a pod that the shim runs: many attempts, one task.

use std::{sync::Arc, time::SystemTime};

use loment_sandbox::{container::Container, layer, process::Exit};

use super::{Task, Vessel, attempt, memory::Kills, stage::Stage};
use crate::{
    failure::{Failure, Result},
    spec,
};

impl Task {
    /// Opens the gate of the present attempt.
    pub(crate) async fn open_attempt(&self) -> Result<()> {
        let _turn = self.turn.lock().await;
        self.open().await
    }

    /// Replaces an attempt that has ended by a fresh one: a new process at its gate, over a clean writable layer, in
    /// the same cgroup and with the same streams.
    pub(crate) async fn renew(self: &Arc<Self>) -> Result<()> {
        let _turn = self.turn.lock().await;
        if self.exit.get().is_some() {
            return Err(Failure::precondition(format!("run container {} again: its end has been told", self.plan.id)));
        }
        if !crate::lock(&self.live).reaped {
            return Err(Failure::precondition(format!("run container {} again: it has not ended", self.plan.id)));
        }
        self.end_others().await;
        self.until_done("end", Container::try_end_attempt).await?;
        let aftermath = self.with_container(|container| Ok(container.aftermath_of_attempt()?))?;
        self.clear_up(aftermath).await?;
        // The terminal's last lines belong before those of the next attempt.
        if let Some(relay) = self.relay() {
            super::end::drain_terminal(&relay).await;
        }
        layer::fresh_writable_layer(&self.plan.rootfs)?;
        let spec = Arc::new(spec::read(&self.plan.bundle)?);
        let (container, relay) = attempt::make(&self.shim, &self.plan, spec, &self.killed).await?;
        self.shim.close_account(self);
        let mut live = crate::lock(&self.live);
        live.kills = Kills::before(&container);
        live.container = Vessel::Here(container);
        (live.relay, live.opened, live.reaped) = (relay, false, false);
        live.execs.retain(|_, exec| exec.stage() != Stage::Stopped);
        drop(live);
        self.watch_all();
        Ok(())
    }

    /// Sends a signal to the present attempt. One that has ended needs none. SIGKILL means that there will be no other
    /// one: if it is being made and waits for hooks, it is given up.
    pub(crate) fn signal_attempt(&self, signal: i32) -> Result<()> {
        if signal == nix::libc::SIGKILL {
            self.killed.notify_one();
        }
        self.note_signal(signal);
        self.with_container(|container| Ok(container.init().signal(signal)?)).map(drop)
    }

    /// Tells containerd that the container will not run again.
    pub(crate) async fn report(self: Arc<Self>, code: u32, oom_killed: bool) {
        let exit = Exit { code, at: SystemTime::now() };
        super::end::hand_over(&self.plan.stdio, self.relay()).await;
        if oom_killed {
            self.publish_oom();
        }
        let mut live = crate::lock(&self.live);
        if live.stage == Stage::Created {
            // For containerd a container has to have been started before it can end.
            live.untold = Some(exit);
            return;
        }
        drop(live);
        if self.exit.get().is_none() {
            self.finish(exit);
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
