//! A container written to disk, and one brought back from there.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use containerd_shim_protos::events::task::TaskCheckpointed;
use loment_sandbox::{
    checkpoint::{Criu, Request, Restorable},
    container::{self, Io},
    process::Exit,
};
use oci_spec::runtime::Spec;
use tokio::sync::{Mutex as Turn, Notify};

use super::{ExitCell, Live, Plan, Task, Vessel, has_private_pids, memory::Kills, readable, stage::Stage};
use crate::{
    events::Event,
    failure::{Failure, Result},
    shim::Shim,
    spec,
};

impl Task {
    /// A task whose processes are in `images`, and come with its Start. `unwanted` says that it is to be deleted already.
    pub(crate) async fn create_restorable(
        shim: Arc<Shim>,
        plan: Plan,
        spec: Arc<Spec>,
        images: PathBuf,
        unwanted: &Notify,
    ) -> Result<Arc<Self>> {
        if plan.member.is_some() {
            let why = "the shim runs its pod, which knows no containers of another life";
            return Err(Failure::invalid(format!("restore container {}: {why}", plan.id)));
        }
        let private_pids = has_private_pids(&spec);
        let request = request(&plan, spec, plan.stdio.for_process()?);
        let (restorable, errand) = Restorable::begin(request, images, &shim.layout)?;
        // Dropped unfinished, both take back what was made.
        tokio::select! {
            mounted = super::hooks::run(errand, &plan.id) => mounted?,
            () = unwanted.notified() => {
                let why = "it was given up while it waited for mounts, because it is to be deleted";
                return Err(Failure::precondition(format!("restore container {}: {why}", plan.id)));
            }
        }
        plan.stdio.handed_over();
        let live = Live::new(Vessel::Restorable(restorable), None, Kills::default());
        let (turn, live, exit) = (Turn::new(()), Mutex::new(live), ExitCell::new());
        Ok(Arc::new(Self { plan, private_pids, shim, turn, killed: Notify::new(), live, exit }))
    }

    /// Whether its processes are on disk.
    pub(super) fn is_restorable(&self) -> bool {
        matches!(crate::lock(&self.live).container, Vessel::Restorable(_))
    }

    /// Brings the processes back. After a failure it may be tried again.
    pub(super) async fn restore(self: &Arc<Self>) -> Result<()> {
        let work = self.work_directory();
        let failed = |failure: Failure| failure.while_doing(format!("restore container {}", self.plan.id));
        // Init comes as our child, and must not be reaped by anybody before it is known.
        let expected = self.shim.pids.expect();
        let criu = match &crate::lock(&self.live).container {
            Vessel::Restorable(restorable) => restorable.restore(&work).map_err(|error| failed(error.into()))?,
            Vessel::Here(_) | Vessel::Gone => return Ok(()),
        };
        run(&self.shim, criu).await.map_err(failed)?;
        let mut live = crate::lock(&self.live);
        let Vessel::Restorable(restorable) = std::mem::replace(&mut live.container, Vessel::Gone) else {
            return Err(failed(Failure::precondition("it was killed meanwhile")));
        };
        if let Err(error) = restorable.verify() {
            live.container = Vessel::Restorable(restorable);
            return Err(failed(error.into()));
        }
        let container = restorable.finish(&work).map_err(|error| failed(error.into()))?;
        self.shim.pids.add(container.init().pid());
        live.container = Vessel::Here(container);
        live.opened = true;
        drop(live);
        drop(expected);
        forget(&work);
        self.watch_all();
        Ok(())
    }

    /// Its processes will stay where they are.
    pub(super) fn never_restored(&self, signal: i32) {
        let mut live = crate::lock(&self.live);
        (live.container, live.reaped) = (Vessel::Gone, true);
        drop(live);
        let exit = Exit { code: 128 + signal.unsigned_abs(), at: std::time::SystemTime::now() };
        self.finish(exit);
    }

    /// Takes back what was made for processes that have never come; false when there is a container.
    pub(super) fn take_back(&self) -> bool {
        let mut live = crate::lock(&self.live);
        match live.container {
            Vessel::Here(_) => return false,
            Vessel::Restorable(_) | Vessel::Gone => live.container = Vessel::Gone,
        }
        true
    }

    /// Writes the container to disk.
    pub(crate) async fn checkpoint(&self, mut asked: Request) -> Result<()> {
        let _turn = self.turn.lock().await;
        let id = &self.plan.id;
        let stage = self.stage();
        if !matches!(stage, Stage::Running | Stage::Paused) {
            return Err(Failure::precondition(format!("checkpoint container {id}: it is not running")));
        }
        if asked.work.as_os_str().is_empty() {
            asked.work = self.work_directory();
        }
        let failed = |failure: Failure| failure.while_doing(format!("checkpoint container {id}"));
        let io = Io::Plain { stdin: None, stdout: None, stderr: None };
        let made_of = request(&self.plan, Arc::new(spec::read(&self.plan.bundle)?), io);
        let criu = self.with_container(|container| Ok(container.checkpoint(&made_of, &asked)?)).map_err(failed)?;
        run(&self.shim, criu).await.map_err(failed)?;
        if asked.work == self.work_directory() {
            forget(&asked.work);
        }
        self.shim.events.send(&Event::Checkpointed(TaskCheckpointed {
            container_id: id.clone(),
            checkpoint: asked.images.display().to_string(),
            ..TaskCheckpointed::default()
        }));
        Ok(())
    }

    /// For CRIU's log, unless the client names a place. Kept after a failure, until the bundle goes.
    fn work_directory(&self) -> PathBuf {
        self.plan.bundle.join("criu-work")
    }
}

fn request(plan: &Plan, spec: Arc<Spec>, io: Io) -> container::Request {
    let (id, bundle, rootfs, role) = (plan.id.clone(), plan.bundle.clone(), plan.rootfs.clone(), plan.role);
    container::Request { id, bundle, spec, rootfs, io, role }
}

/// Waits until CRIU is done.
async fn run(shim: &Shim, criu: Criu) -> Result<()> {
    let pid = criu.pid();
    shim.pids.add(pid);
    let done = async {
        readable(&criu).await?;
        let running = criu.executed()?;
        readable(&running.process().ending()).await?;
        Ok(running.outcome()?)
    };
    let done = done.await;
    shim.pids.remove(pid);
    done
}

fn forget(work: &Path) {
    if let Err(error) = std::fs::remove_dir_all(work) {
        log::debug!("remove {}: {error}", work.display());
    }
}
