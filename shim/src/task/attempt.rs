//! One attempt at running a container.

use std::sync::Arc;

use loment_sandbox::container::{Container, Creating, Request};
use oci_spec::runtime::Spec;

use super::{Plan, characters, ready::readable};
use crate::{failure::Result, relay::Relay, shim::Shim, stdio::Stdio};

/// Makes one attempt: a container with its init at the gate, and the copying for its terminal.
pub(super) async fn make(shim: &Shim, plan: &Plan, spec: Arc<Spec>) -> Result<(Container, Option<Arc<Relay>>)> {
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
    let creating = Creating::begin_in(request, &shim.layout, occupant)?;
    let pid = creating.pid();
    shim.pids.add(pid);
    // Dropped unfinished it takes back what it has made.
    let finished = readable(&creating).await.and_then(|()| Ok(creating.finish()?));
    let made = finished.and_then(|container| with_relay(container, stdio, size));
    match &made {
        Ok(_) => stdio.handed_over(),
        Err(_) => shim.pids.remove(pid),
    }
    made
}

/// Begins to copy for a container's terminal, if it has one. On error the container is deleted.
fn with_relay(
    mut container: Container,
    stdio: &Stdio,
    size: Option<oci_spec::runtime::Box>,
) -> Result<(Container, Option<Arc<Relay>>)> {
    let Some(terminal) = container.take_terminal() else { return Ok((container, None)) };
    let relay = Relay::start(terminal, stdio.paths()).and_then(|relay| {
        if let Some(size) = size {
            relay.resize(characters(size.width()), characters(size.height()))?;
        }
        Ok(relay)
    });
    match relay {
        Ok(relay) => Ok((container, Some(Arc::new(relay)))),
        Err(failure) => {
            container.delete()?;
            Err(failure)
        }
    }
}
