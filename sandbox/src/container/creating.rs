//! Create: everything that can be done before Start.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
    sync::{Arc, Mutex},
};

use loment_cgroups::{Cgroup, Layout};
use nix::sched::CloneFlags;
use oci_spec::runtime::Spec;

use super::{
    Container, Defaults, Gate, Io, Request, Role,
    birth::{self, FreshCgroup, Nascent},
};
use crate::{
    Error, Result,
    channel::Report,
    child::{self, Join},
    errand::Errand,
    error::Context,
    hooks::{Aftermath, ContainerHooks},
    plan::{self, Plan},
    record::{self, Record},
    rootfs::VisibleRoot,
    seccomp::Filter,
};

/// A container that is being made: its init is setting itself up, or waits for a hook. Readable (as a descriptor) when
/// there is news of it. Dropping it undoes what was made.
#[derive(Debug)]
pub struct Creating {
    // Dropped in this order: a cgroup with a process in it cannot be removed, a root that it uses not be given back.
    awaited: Awaited,
    /// Init, while it waits for something else.
    waiting: Option<Nascent>,
    cgroup: FreshCgroup,
    root: Option<VisibleRoot>,
    /// What init will be made of, while its root is being mounted.
    unborn: Option<Box<Unborn>>,
    hooks: Option<Arc<ContainerHooks>>,
    /// Whether a hook has been run: the hooks after the container's end are due then, however far it comes.
    hooked: bool,
    /// Init stands at its gate; with its terminal.
    ready: Option<Option<OwnedFd>>,
    /// Why everything has been taken back.
    failure: Option<Error>,
    role: Role,
    defaults: Defaults,
}

/// What there is news from.
#[derive(Debug)]
enum Awaited {
    /// Init.
    Init(Nascent),
    /// Mounting, or hooks.
    Errand(Errand),
}

/// A process to be, all that is needed to clone it.
#[derive(Debug)]
struct Unborn {
    id: String,
    role: Role,
    io: Io,
    plan: Plan,
    joins: Vec<Join>,
    pids: Option<OwnedFd>,
    filter: Option<Arc<Filter>>,
}

impl Creating {
    /// Begins: makes the cgroup, clones init into its namespaces. Returns while init is still setting itself up.
    ///
    /// # Errors
    /// [`crate::error::Cause::Invalid`] for whatever the specification asks for that cannot be honoured, before
    /// anything is made. On any error everything that was made is undone.
    pub fn begin(request: Request, layout: &Layout) -> Result<Self> {
        let plan = plan::plan(&request)?;
        birth::check_labels(&plan.process)?;
        let filter = filter(&request.spec)?;
        let (joins, pids) = birth::open_namespaces(&plan.namespaces)?;
        refuse_parameters_of_the_host(&plan, &joins)?;
        let Request { id, bundle, spec, io, role, rootfs } = request;
        let cgroup = make_cgroup(&plan, &spec, bundle, layout)?;
        let hooks = plan.hooks.clone();
        let process = Arc::new(plan.process.clone());
        let defaults = Defaults { process, personality: plan.personality, filter: filter.clone() };
        let root_is_visible = plan.root_is_visible;
        let unborn = Unborn { id, role, io, plan, joins, pids, filter };
        let (awaited, unborn, root) = match root_is_visible {
            false => (Awaited::Init(unborn.bear(&cgroup)?), None, None),
            true => {
                let (root, errand) = VisibleRoot::mount(&rootfs, cgroup.bundle())?;
                (Awaited::Errand(errand), Some(Box::new(unborn)), Some(root))
            }
        };
        let (hooked, waiting, ready, failure) = (false, None, None, None);
        Ok(Self { awaited, waiting, cgroup, root, unborn, hooks, hooked, ready, failure, role, defaults })
    }

    /// Pid of init; 0 as long as there is none, which is so until the root file system has been mounted if hooks have
    /// to find it.
    pub fn pid(&self) -> i32 {
        match (&self.awaited, &self.waiting) {
            (Awaited::Init(init), _) | (_, Some(init)) => init.pid(),
            (Awaited::Errand(_), None) => 0,
        }
    }

    /// Takes one piece of news; true when it was the last and init stands at its gate. Does not wait when the descriptor
    /// is readable, and has to be asked again only when it is readable again.
    ///
    /// # Errors
    /// Whatever has failed; everything is taken back then, and nothing is left to be asked.
    pub fn advance(&mut self) -> Result<bool> {
        match self.take_news() {
            Err(error) => self.give_up(error).map(|()| false),
            answer => answer,
        }
    }

    /// Whether it waits for others, for mounts or for hooks, which may take as long as they like.
    pub fn waits_for_others(&self) -> bool {
        self.failure.is_none() && self.ready.is_none() && (self.hooked || matches!(self.awaited, Awaited::Errand(_)))
    }

    /// Ends what has been made, for a reason that [`Creating::advance`] answers with when the hooks for the time after
    /// the container have run, or this does when there are none to be run.
    ///
    /// # Errors
    /// The reason.
    pub fn give_up(&mut self, reason: Error) -> Result<()> {
        if !std::mem::take(&mut self.hooked) {
            return Err(reason);
        }
        match &self.awaited {
            Awaited::Init(init) => init.end(),
            Awaited::Errand(errand) => errand.stop(),
        }
        self.waiting = None;
        self.cgroup.take_back();
        let aftermath = Aftermath::new(self.hooks.clone(), None);
        if aftermath.is_nothing() {
            return Err(reason);
        }
        // If they cannot be run: the first reason is the one to be told.
        let Ok(errand) = aftermath.send(None) else { return Err(reason) };
        (self.awaited, self.failure) = (Awaited::Errand(errand), Some(reason));
        Ok(())
    }

    fn take_news(&mut self) -> Result<bool> {
        if self.ready.is_some() {
            return Ok(true);
        }
        match &mut self.awaited {
            Awaited::Errand(errand) => match errand.advance()? {
                true => self.go_on().map(|()| false),
                false => Ok(false),
            },
            Awaited::Init(init) => match init.report()? {
                Report::Ready(terminal) => {
                    self.ready = Some(terminal);
                    Ok(true)
                }
                Report::Hooks => self.run_hooks().map(|()| false),
                Report::Failed(error) => Err(error),
                Report::Closed => Err(init.died_silently()),
            },
        }
    }

    /// An errand is done: init is next.
    fn go_on(&mut self) -> Result<()> {
        if let Some(error) = self.failure.take() {
            return Err(error);
        }
        let init = match (self.waiting.take(), self.unborn.take()) {
            (Some(init), _) => {
                init.go_on()?;
                init
            }
            (None, Some(unborn)) => unborn.bear(&self.cgroup)?,
            (None, None) => return Err(Error::invalid("container", "", "has been taken back")),
        };
        self.awaited = Awaited::Init(init);
        Ok(())
    }

    /// Init waits while the runtime runs hooks; it runs others itself when it goes on.
    fn run_hooks(&mut self) -> Result<()> {
        self.hooked = true;
        let errand = self.hooks.as_ref().map(|hooks| hooks.send_runtime(self.pid())).transpose()?.flatten();
        let Some(errand) = errand else {
            return match &self.awaited {
                Awaited::Init(init) => init.go_on(),
                Awaited::Errand(_) => Ok(()),
            };
        };
        if let Awaited::Init(init) = std::mem::replace(&mut self.awaited, Awaited::Errand(errand)) {
            self.waiting = Some(init);
        }
        Ok(())
    }

    /// Waits until init stands at its gate. On error everything that was made is undone.
    pub fn finish(mut self) -> Result<Container> {
        while !self.advance()? {}
        let Self { awaited: Awaited::Init(init), cgroup, root, role, defaults, ready, hooks, .. } = self else {
            return Err(Error::invalid("container", "", "has no process"));
        };
        let (init, gate) = init.into_process()?;
        let (cgroup, bundle) = cgroup.keep()?;
        let gate = Some(Gate { channel: gate, hooks: hooks.clone() });
        let (terminal, others) = (ready.flatten(), Mutex::default());
        let aftermath = Aftermath::new(hooks, root.map(VisibleRoot::keep));
        Ok(Container { bundle, role, init, cgroup, gate, terminal, defaults, others, aftermath })
    }
}

impl Unborn {
    /// Clones it; on disk before its gate can open, because it is busy meanwhile.
    fn bear(self, cgroup: &FreshCgroup) -> Result<Nascent> {
        let Self { id, role, io, plan, joins, pids, filter } = self;
        let (channel, birth) = birth::prepare(&id, cgroup.get()?, io)?;
        let child = birth::bear(plan.namespaces.new, pids.as_ref().map(AsFd::as_fd), &birth, channel, || {
            birth.run(|birth| match role {
                Role::Program => child::init(birth, &plan, &joins, filter.as_deref()),
                Role::Holder => child::hold(birth, &plan, &joins),
            })
        })?;
        record::write(cgroup.bundle(), &Record::of(id, child.pid(), cgroup.get()?.path())?)?;
        Ok(child)
    }
}

impl AsFd for Creating {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.awaited {
            Awaited::Init(init) => init.as_fd(),
            Awaited::Errand(errand) => errand.as_fd(),
        }
    }
}

fn make_cgroup(plan: &Plan, spec: &Spec, bundle: PathBuf, layout: &Layout) -> Result<FreshCgroup> {
    let cgroup = FreshCgroup::new(Cgroup::create(layout, &plan.cgroup)?, bundle);
    if let Some(resources) = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref()) {
        cgroup.get()?.apply(resources)?;
    }
    Ok(cgroup)
}

fn filter(spec: &Spec) -> Result<Option<Arc<Filter>>> {
    let Some(profile) = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref()) else { return Ok(None) };
    match Filter::compile(profile)? {
        Some(filter) if filter.wants_listener() => {
            Err(Error::invalid("linux.seccomp.listenerPath", "", "is not supported yet: nobody would answer"))
        }
        filter => Ok(filter.map(Arc::new)),
    }
}

/// A container that joins the host's network may not change the host's parameters.
fn refuse_parameters_of_the_host(plan: &Plan, joins: &[Join]) -> Result<()> {
    let Some(parameter) = plan.sysctls.iter().find(|sysctl| sysctl.is_network()) else { return Ok(()) };
    let Some(join) = joins.iter().find(|join| join.kind == CloneFlags::CLONE_NEWNET) else { return Ok(()) };
    let own = nix::sys::stat::stat("/proc/self/ns/net").at("examine", "/proc/self/ns/net")?;
    let joined = nix::sys::stat::fstat(&join.namespace).at("examine", join.path.display())?;
    match (own.st_dev, own.st_ino) == (joined.st_dev, joined.st_ino) {
        true => Err(Error::invalid("linux.sysctl", &parameter.name, "would change the host's network namespace")),
        false => Ok(()),
    }
}
