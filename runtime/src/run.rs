//! `run`: create, start, wait, delete.

use loment_cgroups::Layout;

use crate::{
    args::{Global, Run},
    attend::Attendant,
    create,
    failure::{Failure, Result},
    store::{Place, Status, Store, status},
    streams::Preserved,
};

/// Runs a container; answers with the exit status of its program, or 0 when that is left running.
pub(crate) fn run(store: &Store, global: &Global, run: &Run, preserved: &Preserved) -> Result<u32> {
    let attendant = match run.detach {
        true => None,
        false => Some(Attendant::new(!run.making.no_subreaper)?),
    };
    let created = create::create(store, global, &run.making, preserved, run.detach)?;
    let (place, mut container, terminal) = created.unlock();
    if let Err(failure) = start(&place) {
        let _told = place.clear();
        return Err(failure);
    }
    let Some(attendant) = attendant else { return Ok(0) };
    let status = attendant.attend(container.init_mut(), terminal);
    if !run.keep {
        // Another command may have deleted it.
        match place.lock() {
            Ok(_lock) => place.clear()?,
            Err(_gone) => {}
        }
    }
    status
}

/// Starts the program of a container that has been created.
pub(crate) fn start(place: &Place) -> Result<()> {
    let _lock = place.lock()?;
    let adopted = place.created(&Layout::detect()?)?;
    match status(&adopted)? {
        Status::Created => {
            let state = place.state()?.ok_or_else(|| place.is_missing())?;
            adopted.start(&place.request(&state)?)?.iter().for_each(crate::log::warn);
            Ok(())
        }
        status => Err(Failure::new(format!(
            "start container {:?}: it is {} (only one that is created can be started)",
            place.id,
            status.name()
        ))),
    }
}
