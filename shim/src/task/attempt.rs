//! One attempt at running a container.

use std::sync::Arc;

use loment_sandbox::{
    container::{Container, Creating, Extras, Request},
    trace::{Phase, Trace},
};
use oci_spec::runtime::Spec;
use tokio::sync::Notify;

use super::{Plan, characters, ready::readable};
use crate::{failure::Result, relay::Relay, shim::Shim, stdio::Stdio};

/// Makes one attempt: a container with its init at the gate, and the copying for its terminal. What is done for it is
/// noted in `trace`.
pub(super) async fn make(
    shim: &Shim,
    plan: &Plan,
    spec: Arc<Spec>,
    trace: Trace,
    unwanted: &Notify,
) -> Result<(Container, Option<Arc<Relay>>)> {
    let size = spec.process().as_ref().and_then(oci_spec::runtime::Process::console_size);
    let stdio = &plan.stdio;
    let request = Request {
        id: plan.id.clone(),
        bundle: plan.bundle.clone(),
        spec,
        rootfs: plan.rootfs.clone(),
        io: stdio.for_process()?,
        role: plan.role,
    };
    let occupant = match Creating::scope(&request, &shim.layout)? {
        Some(errand) => {
            readable(&errand).await?;
            Some(errand.finish()?)
        }
        None => None,
    };
    let record = shim.members.place(&plan.id, &plan.bundle);
    let extras = Extras { trace, stub: shim.stub(), record, ..Extras::default() };
    let mut creating = Creating::begin_in(request, extras, &shim.layout, occupant)?;
    for warning in creating.take_warnings() {
        log::warn!("create container {}: {warning}", plan.id);
    }
    // Dropped unfinished it takes back what it has made.
    let mut pid = 0;
    let settled = settle(shim, &mut creating, &mut pid, unwanted).await;
    let made = match settled.and_then(|()| Ok(creating.finish()?)) {
        Ok(container) => with_relay(container, stdio, size).await,
        Err(failure) => Err(failure),
    };
    match &made {
        Ok(_) => {
            stdio.handed_over();
            trace.reached(Phase::Created);
        }
        Err(_) => shim.pids.remove(pid),
    }
    made
}

/// Waits until init stands at its gate. `pid` is its pid as soon as it has one: before anything else is waited for, so
/// that nobody takes it for an orphan. A container that is not wanted any more is given up if it waits for hooks.
async fn settle(shim: &Shim, creating: &mut Creating, pid: &mut i32, unwanted: &Notify) -> Result<()> {
    loop {
        *pid = creating.pid().max(*pid);
        shim.pids.add(*pid);
        tokio::select! {
            news = readable(creating) => news?,
            () = unwanted.notified(), if creating.waits_for_others() => {
                let reason = "was given up while it waited for hooks or mounts, because it is to be deleted";
                creating.give_up(loment_sandbox::Error::failed("create", "the container", reason))?;
                continue;
            }
        }
        if creating.advance()? {
            return Ok(());
        }
    }
}

/// Begins to copy for a container's terminal, if it has one. On error the container is deleted.
async fn with_relay(
    mut container: Container,
    stdio: &Stdio,
    size: Option<oci_spec::runtime::Box>,
) -> Result<(Container, Option<Arc<Relay>>)> {
    let Some(terminal) = container.take_terminal() else { return Ok((container, None)) };
    let relay = Relay::start(terminal, stdio).and_then(|relay| {
        if let Some(size) = size {
            relay.resize(characters(size.width()), characters(size.height()))?;
        }
        Ok(relay)
    });
    match relay {
        Ok(relay) => Ok((container, Some(Arc::new(relay)))),
        Err(failure) => {
            if let Some(errand) = container.remove()? {
                super::hooks::run(errand, "without a terminal").await?;
            }
            Err(failure)
        }
    }
}
