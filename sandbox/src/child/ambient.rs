//! What this process has from whoever started the runtime and would hand down to a container, although no
//! specification says so.

use loment_sys::{ambient, sched};
use nix::{
    errno::Errno,
    sys::{
        personality::{self, Persona},
        prctl,
    },
};

use crate::{Error, Result, error::Context};

/// How exactly timers expire, in nanoseconds: what init(1) of a machine has. PR_SET_TIMERSLACK(2const)
const TIMER_SLACK: u64 = 50_000;

/// Makes this an ordinary process again. What the plan asks for comes later and wins.
///
/// Limits (`RLIMIT_*`) and the OOM score stay: the specification wants them so, and administrators set them for
/// containers where they start containerd.
pub(crate) fn forget() -> Result<()> {
    // The shim forbids them for the sake of its own small memory.
    prctl::set_thp_disable(false).at("allow", "huge pages")?;
    prctl::set_timerslack(TIMER_SLACK).at("reset", "the timer slack")?;
    personality::set(Persona::empty()).at("reset", "the personality")?;
    sched::set_io_priority(0, 0).at("reset", "the disk priority")?;
    match sched::set_scheduler(sched::Attributes::default()) {
        // To be favoured less than others is no privilege; to end it is one.
        Ok(()) | Err(Errno::EPERM) => {}
        Err(errno) => return Err(Error::os("reset", "the scheduling policy", errno)),
    }
    match ambient::default_memory_policy() {
        // A kernel for one node, or a seccomp policy of the host's.
        Ok(()) | Err(Errno::ENOSYS | Errno::EPERM) => {}
        Err(errno) => return Err(Error::os("reset", "the memory policy", errno)),
    }
    if ambient::secure_bits().at("read", "the securebits")? != 0 {
        // With them user 0 has not the capabilities that the specification gives to it.
        ambient::set_secure_bits(0)
            .map_err(|errno| Error::os("reset", "the securebits", errno).hint("are they locked for containerd?"))?;
    }
    Ok(())
}
