//! What a holder does for the rest of its life: nothing, and as pid 1 of a shared pid namespace it reaps.

use loment_sys::memory::rest;
use nix::sys::{
    prctl,
    signal::{SigSet, Signal},
};

use crate::{Result, error::Context};

/// What ends it.
const ENDS: [Signal; 2] = [Signal::SIGTERM, Signal::SIGINT];

/// To be called before anyone can know of this process: pid 1 of a namespace loses a signal that it has no handler for,
/// unless it blocks it. A blocked one is kept, because a handler might be installed later. pid_namespaces(7)
pub(crate) fn prepare() -> Result<()> {
    let awaited: SigSet = ENDS.into_iter().chain([Signal::SIGCHLD]).collect();
    awaited.thread_block().at("block", "signals")?;
    prctl::set_name(c"pause").at("set the name of", "the holder")
}

/// Waits for SIGTERM or SIGINT, and exits with status 0. What it had of the runtime's memory is gone.
pub(crate) fn hold() -> ! {
    rest(&ENDS)
}
