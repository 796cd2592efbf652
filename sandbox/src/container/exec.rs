//! Another process in a container that runs.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use loment_cgroups::Entry;
use nix::errno::Errno;
use oci_spec::runtime::Process as ProcessSpec;

use super::{
    Container, Defaults, Extras, Io, Role,
    agent::HandOver,
    birth::{self, Nascent},
    capabilities,
};
use crate::{
    Error, Result,
    channel::Report,
    child::{self, Birth},
    error::Context,
    plan::{
        process::{self, ProcessPlan},
        user,
    },
    process::Process,
    trace::Phase,
};

/// An exec under way: readable when there is news of it. Dropping it kills the process.
#[derive(Debug)]
pub struct Executing {
    child: Nascent,
    ready: bool,
    terminal: Option<OwnedFd>,
    /// The listener of its seccomp filter, until the agent has it.
    listener: Option<HandOver>,
    warnings: Vec<Error>,
}

impl Executing {
    pub(super) fn begin(container: &Container, spec: &ProcessSpec, io: Io, extras: Extras) -> Result<Self> {
        if container.role == Role::Holder {
            return Err(Error::invalid("exec", "", "is not possible in a holder of namespaces: it has no programs"));
        }
        let mut plan = with_defaults(process::process(spec)?, spec, &container.defaults);
        birth::check_labels(&plan)?;
        let Defaults { personality, filter, inhabited, agent, .. } = &container.defaults;
        if let Some(maps) = &inhabited.maps {
            user::check_ids(&plan, maps)?;
        }
        let warning = capabilities::leave_out_what_is_missing(&mut plan, inhabited.maps.is_some())?;
        let init = container.init.try_clone_pidfd()?;
        let call = agent.as_ref().map(|agent| agent.call()).transpose()?;
        let trace = extras.trace;
        trace.reached(Phase::Planned);
        let (channel, mut birth) =
            birth::prepare(container.cgroup.entry()?, container.cgroup.path().to_owned(), io, extras)?;
        birth.listener = call.as_ref().map(|call| Arc::clone(&call.place));
        let run = |birth: &Birth| {
            birth.run(|birth| child::exec(birth, &plan, *personality, &init, inhabited, filter.as_deref()))
        };
        let child = birth::bear_another(init.as_fd(), &mut birth, channel, run, || beside_init(container))?;
        trace.reached(Phase::Cloned);
        container.remember(child.other());
        let listener = match (call, agent) {
            (Some(call), Some(agent)) => {
                Some(HandOver::begin(call, agent, child.by_descriptor()?, container.init.pid())?)
            }
            _ => None,
        };
        Ok(Self { child, ready: false, terminal: None, listener, warnings: warning.into_iter().collect() })
    }

    /// What the process goes without, since this was last asked: see [`super::Creating::take_warnings`].
    pub fn take_warnings(&mut self) -> Vec<Error> {
        std::mem::take(&mut self.warnings)
    }

    /// Its pid.
    pub fn pid(&self) -> i32 {
        self.child.pid()
    }

    /// Takes one piece of news; true when it was the last and the program has been executed. Does not wait when the
    /// descriptor is readable, and has to be asked again only when it is readable again: between "ready" and execve(2)
    /// the process is in the container already, where others may stop it for as long as they like (SIGSTOP, the
    /// freezer), and whoever waited for it there would be stopped with it.
    pub fn advance(&mut self) -> Result<bool> {
        // Before "ready" no filter is loaded.
        if let Some(listener) = self.listener.as_mut().filter(|_| self.ready) {
            if listener.advance(self.child.channel())? {
                self.listener = None;
            }
            return Ok(false);
        }
        match self.child.report()? {
            Report::Ready(terminal) => {
                (self.ready, self.terminal) = (true, terminal);
                Ok(false)
            }
            Report::Failed(error) => Err(error),
            Report::Closed if self.ready => Ok(true),
            Report::Born(_) | Report::Hooks | Report::Closed => Err(self.child.died_silently()),
        }
    }

    /// Waits until the program has been executed; with a terminal, its other end comes with the process. Does not wait
    /// after [`Executing::advance`] has said that it has been.
    pub fn finish(mut self) -> Result<(Process, Option<OwnedFd>)> {
        while !self.advance()? {}
        let (process, _) = self.child.into_process()?;
        Ok((process, self.terminal))
    }
}

impl AsFd for Executing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_ref().filter(|_| self.ready).map_or(self.child.as_fd(), AsFd::as_fd)
    }
}

/// Where init is.
fn beside_init(container: &Container) -> Result<Entry> {
    let entry = container.cgroup.entry_beside(container.init.pid())?;
    // Only now it is known that the pid was still its own.
    match container.init.has_ended() {
        false => Ok(entry),
        true => Err(Errno::ESRCH).at("exec beside process", container.init.pid()),
    }
}

/// What the process leaves open is as for the container's init.
fn with_defaults(plan: ProcessPlan, spec: &ProcessSpec, defaults: &Defaults) -> ProcessPlan {
    let container: &Arc<ProcessPlan> = &defaults.process;
    ProcessPlan {
        capabilities: if spec.capabilities().is_some() { plan.capabilities } else { container.capabilities },
        no_new_privileges: spec.no_new_privileges().unwrap_or(container.no_new_privileges),
        rlimits: if plan.rlimits.is_empty() { container.rlimits.clone() } else { plan.rlimits },
        // Without a value of its own it would have the runtime's, which the kernel is told to spare.
        oom_score_adj: plan.oom_score_adj.or(container.oom_score_adj),
        apparmor: plan.apparmor.or_else(|| container.apparmor.clone()),
        selinux: plan.selinux.or_else(|| container.selinux.clone()),
        io_priority: plan.io_priority.or(container.io_priority),
        scheduler: plan.scheduler.or(container.scheduler),
        affinity: if spec.exec_cpu_affinity().is_some() { plan.affinity } else { container.affinity.clone() },
        memory_policy: container.memory_policy.clone(),
        ..plan
    }
}
