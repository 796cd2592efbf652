//! Commands that change a container that exists: `kill`, `pause`, `resume`, `update`, `delete`.

use loment_cgroups::Layout;

use crate::{
    args::{Delete, Kill, One, Update},
    failure::{Failure, Result},
    signals,
    store::{Place, Status, Store, status},
    update,
};

/// Sends a signal. Needs no lock: a process is held by its pidfd, and a start that does not come to its end must be
/// possible to be killed.
pub(crate) fn kill(store: &Store, kill: &Kill) -> Result<()> {
    let signal = signals::parse(&kill.signal)?;
    let place = store.find(&kill.id)?;
    let adopted = place.created(&Layout::detect()?)?;
    if kill.all {
        // None left is what was wanted.
        adopted.signal_all(signal)?;
        return Ok(());
    }
    match adopted.signal(signal)? {
        true => Ok(()),
        false => Err(Failure::new(format!("kill container {:?}: container not running", kill.id))),
    }
}

pub(crate) fn pause(store: &Store, one: &One) -> Result<()> {
    let place = store.find(&one.id)?;
    let _lock = place.lock()?;
    let adopted = place.created(&Layout::detect()?)?;
    match status(&adopted)? {
        Status::Running | Status::Created => Ok(adopted.cgroup().freeze()?),
        status => Err(wrong("pause", &place, status, "running or created")),
    }
}

pub(crate) fn resume(store: &Store, one: &One) -> Result<()> {
    let place = store.find(&one.id)?;
    let _lock = place.lock()?;
    let adopted = place.created(&Layout::detect()?)?;
    match status(&adopted)? {
        Status::Paused => Ok(adopted.cgroup().thaw()?),
        status => Err(wrong("resume", &place, status, "paused")),
    }
}

pub(crate) fn update(store: &Store, update: &Update) -> Result<()> {
    let mut resources = update::resources(update)?;
    let place = store.find(&update.id)?;
    let _lock = place.lock()?;
    let adopted = place.created(&Layout::detect()?)?;
    match status(&adopted)? {
        status @ (Status::Stopped | Status::Creating) => Err(wrong("update", &place, status, "running")),
        _ => {
            if let Some(errand) = adopted.cgroup().tell_systemd(&mut resources)? {
                errand.finish()?;
            }
            Ok(adopted.cgroup().update(&resources)?)
        }
    }
}

pub(crate) fn delete(store: &Store, delete: &Delete) -> Result<()> {
    let place = match store.find(&delete.id) {
        Ok(place) => place,
        // There is nothing left of it, which is what was wanted.
        Err(_) if delete.force => return Ok(()),
        Err(failure) => return Err(failure),
    };
    let layout = Layout::detect()?;
    if delete.force
        && let Some(adopted) = place.adopt(&layout)?
    {
        // Before the lock: whoever holds it may be waiting for this container.
        adopted.cgroup().kill()?;
        adopted.signal(nix::libc::SIGKILL)?;
    }
    let _lock = match place.lock() {
        Ok(lock) => lock,
        Err(_) if delete.force && store.find(&delete.id).is_err() => return Ok(()),
        Err(failure) => return Err(failure),
    };
    match place.adopt(&layout)? {
        Some(adopted) if !delete.force => match status(&adopted)? {
            Status::Stopped | Status::Created => {}
            status => {
                let hint = format!("it is {} (stop it first, or give --force)", status.name());
                return Err(Failure::new(format!(
                    "cannot delete container {:?} that is not stopped: {hint}",
                    place.id
                )));
            }
        },
        _ => {}
    }
    place.clear()
}

fn wrong(operation: &str, place: &Place, status: Status, wanted: &str) -> Failure {
    Failure::new(format!("{operation} container {:?}: it is {}, not {wanted}", place.id, status.name()))
}
