//! Hooks on a container's way to its program.

use std::os::fd::{AsFd, BorrowedFd};

use nix::unistd::fchdir;

use super::{Birth, identity, last::Setting, program};
use crate::{
    Result,
    error::Context,
    hooks::ContainerHooks,
    plan::{Plan, process::ProcessPlan},
};

/// Before the root is switched: those of the runtime, for which this process waits, then those of its own, which are the
/// host's programs and begin in the new root. `init` is the pid of the container's process, as the container sees it.
pub(super) fn create(birth: &Birth, plan: &Plan, root: Option<BorrowedFd<'_>>, init: i32) -> Result<()> {
    let Some(hooks) = plan.hooks.as_deref() else { return Ok(()) };
    if !hooks.see_the_root() {
        return Ok(());
    }
    birth.channel.ask_for_hooks()?;
    if !birth.channel.wait_at_gate() {
        loment_sys::clone::exit_now(1);
    }
    if let Some(root) = root {
        fchdir(root).at("enter", "the root file system")?;
    }
    hooks.run_create(birth.channel.as_fd(), init)
}

/// After the gate: the container's own programs, which get what its program gets and no more: its user, capabilities and
/// seccomp filter; `assume` is what is left to be done for that under the filter. With the runtime's privileges an image
/// could do with the host as it likes. A filter that asks a listener gets no answer for them.
pub(super) fn start(
    hooks: &ContainerHooks,
    birth: &Birth,
    process: &ProcessPlan,
    setting: &Setting<'_>,
    own: program::Own,
    assume: Option<&dyn Fn() -> Result<()>>,
) -> Result<()> {
    hooks.run_start(birth.attendant().as_fd(), |hook| {
        own.refuse(&hook.path)?;
        identity::set_umask(process);
        if let Some(filter) = setting.filter {
            filter.load().at("load", "the seccomp filter")?;
        }
        assume.map_or(Ok(()), |assume| assume())
    })
}
