//! Create: everything that can be done before Start.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
    sync::{Arc, Mutex},
};

use loment_cgroups::{
    Layout,
    systemd::{self, Occupant},
};
use nix::sched::CloneFlags;
use oci_spec::runtime::{LinuxResources, Spec};

use super::{
    Container, Defaults, Extras, Gate, Request, Role,
    agent::{Agent, Call},
    birth::{self, FreshCgroup, Nascent},
    capabilities, netdev,
    nursery::{Calling, Unborn},
};
use crate::{
    Error, Result,
    channel::Report,
    child::{Inhabited, Join},
    errand::Errand,
    hooks::{Aftermath, ContainerHooks},
    namespace,
    plan::{self, Plan, netdev::NetDevice, sysctl::Sysctl, user},
    rootfs::VisibleRoot,
    seccomp::Filter,
    trace::Phase,
    user_namespace::UserNamespaces,
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
    /// Keeps a scope of systemd's from being empty until init is inside.
    occupant: Option<Occupant>,
    role: Role,
    defaults: Defaults,
    call: Option<Call>,
    /// Whose device rules are still to be set: its disks are mounted by a process that is in its cgroup.
    unrestricted: Option<Arc<Spec>>,
    net_devices: Vec<NetDevice>,
    warnings: Vec<Error>,
}

/// What there is news from.
#[derive(Debug)]
enum Awaited {
    /// Init.
    Init(Nascent),
    /// Mounting, or hooks.
    Errand(Errand),
}

impl Creating {
    /// Asks systemd for the container's cgroup, if the specification says that it is systemd's. The answer is to be
    /// awaited, and goes to [`Creating::begin_in`].
    pub fn scope(request: &Request, layout: &Layout) -> Result<Option<systemd::Errand>> {
        let linux = request.spec.linux().as_ref();
        if !linux.is_some_and(|linux| linux.cgroups_path().as_deref().is_some_and(systemd::is_scope)) {
            return Ok(None);
        }
        // What cannot be honoured is refused before systemd makes anything.
        let plan = plan::plan(request)?;
        let resources = linux.and_then(|linux| linux.resources().as_ref());
        Ok(systemd::Errand::start_scope(layout, &plan.cgroup, resources)?)
    }

    /// Begins: makes the cgroup, clones init into its namespaces. Returns while init is still setting itself up.
    ///
    /// # Errors
    /// [`crate::error::Cause::Invalid`] for whatever the specification asks for that cannot be honoured, before
    /// anything is made; a seccomp profile of a holder is looked at after it. On any error everything that was made is
    /// undone.
    ///
    /// Waits for systemd if the cgroup is to be one of its scopes: who must not wait takes [`Creating::begin_in`].
    pub fn begin(request: Request, layout: &Layout) -> Result<Self> {
        Self::begin_with(request, Extras::default(), layout)
    }

    /// [`Creating::begin`] with more than a specification can say.
    pub fn begin_with(request: Request, extras: Extras, layout: &Layout) -> Result<Self> {
        let occupant = Self::scope(&request, layout)?.map(systemd::Errand::finish).transpose()?;
        Self::begin_in(request, extras, layout, occupant)
    }

    /// [`Creating::begin_with`] in a scope that systemd has started.
    pub fn begin_in(request: Request, mut extras: Extras, layout: &Layout, occupant: Option<Occupant>) -> Result<Self> {
        let mut plan = plan::plan(&request)?;
        birth::check_labels(&plan.process)?;
        birth::check_mount_label(plan.view.mount_label.as_deref())?;
        let filter = match request.role {
            Role::Program => filter(&request.spec)?,
            // It executes nothing.
            Role::Holder => None,
        };
        let agent = Agent::of(&request.spec, filter.as_deref(), &request.id, &request.bundle)?;
        // With a gate that somebody else opens, that one calls again: here it is seen whether the agent is there at all.
        let call = agent.as_ref().map(|agent| agent.call()).transpose()?.filter(|_| extras.gate.is_none());
        let (joins, pids) = birth::open_namespaces(&plan.namespaces)?;
        let users = UserNamespaces::of(plan.user.as_ref(), &plan.view)?;
        if let Some(maps) = users.maps() {
            user::check_ids(&plan.process, maps)?;
        }
        refuse_changes_of_the_host(&plan, &joins)?;
        let warnings = match request.role {
            Role::Program => capabilities::leave_out_what_is_missing(&mut plan.process, users.maps().is_some())?,
            // It has none anyway.
            Role::Holder => None,
        };
        let Request { id, bundle, spec, io, role, rootfs } = request;
        extras.trace.reached(Phase::Planned);
        let record = extras.record.take().unwrap_or_else(|| bundle.clone());
        let cgroup = make_cgroup(&plan, &spec, &id, record, layout)?;
        extras.trace.reached(Phase::CgroupMade);
        let hooks = plan.hooks.clone();
        let (process, personality) = (Arc::new(plan.process.clone()), plan.personality);
        let inhabited = Inhabited::of(&plan.namespaces, &users);
        let mut defaults = Defaults { process, personality, filter: filter.clone(), inhabited, agent };
        let root_is_visible = plan.root_is_visible;
        let listener = call.as_ref().map(|call| Arc::clone(&call.place));
        let unrestricted = plan.view.needs_disks().then(|| Arc::clone(&spec));
        let net_devices = plan.net_devices.clone();
        let unborn =
            Unborn { id, calling: Calling::Init(role), io, plan, joins, pids, users, filter, listener, extras };
        let (awaited, unborn, root) = match root_is_visible {
            false => (Awaited::Init(unborn.bear(&cgroup)?), None, None),
            true => {
                let (root, errand) = VisibleRoot::mount(&rootfs, &bundle)?;
                (Awaited::Errand(errand), Some(Box::new(unborn)), Some(root))
            }
        };
        if role == Role::Holder {
            // While it sets itself up: its pod's containers mostly have the same profile, and find it compiled.
            defaults.filter = self::filter(&spec)?;
        }
        let (hooked, waiting, ready, failure) = (false, None, None, None);
        Ok(Self {
            awaited,
            waiting,
            cgroup,
            occupant,
            root,
            unborn,
            hooks,
            hooked,
            ready,
            failure,
            role,
            defaults,
            call,
            unrestricted,
            net_devices,
            warnings: warnings.into_iter().collect(),
        })
    }

    /// What the specification asks for and the container goes without, since this was last asked: to be told, and no
    /// reason not to create it.
    pub fn take_warnings(&mut self) -> Vec<Error> {
        std::mem::take(&mut self.warnings)
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
                    if let Some(spec) = self.unrestricted.take() {
                        self.cgroup.get()?.restrict_devices(resources(&spec))?;
                    }
                    // Last of all: nothing else can fail and take a device away with the namespace.
                    netdev::move_all(&self.net_devices, init.pid())?;
                    self.ready = Some(terminal);
                    Ok(true)
                }
                Report::Hooks => self.run_hooks().map(|()| false),
                Report::Failed(error) => Err(error),
                Report::Born(_) | Report::Closed => Err(init.died_silently()),
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
        let Self { awaited: Awaited::Init(init), cgroup, occupant, root, role, defaults, ready, hooks, call, .. } =
            self
        else {
            return Err(Error::invalid("container", "", "has no process"));
        };
        let (init, gate) = init.into_process()?;
        // Init is in the scope, which needs nobody else.
        drop(occupant);
        let (cgroup, bundle) = cgroup.keep()?;
        let gate = Some(Gate { channel: gate, hooks: hooks.clone(), call });
        let (terminal, others) = (ready.flatten(), Mutex::default());
        let aftermath = Aftermath::new(hooks, root.map(VisibleRoot::keep));
        Ok(Container { bundle, role, init, cgroup, gate, terminal, defaults, others, aftermath })
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

/// What a container has that is restored from disk, but for its processes: they have been made in another life.
pub(crate) fn seed(
    plan: &Plan,
    spec: &Spec,
    id: &str,
    bundle: PathBuf,
    layout: &Layout,
) -> Result<(FreshCgroup, Defaults)> {
    birth::check_labels(&plan.process)?;
    let (process, personality, filter) = (Arc::new(plan.process.clone()), plan.personality, filter(spec)?);
    let (inhabited, agent) = (Inhabited::default(), None);
    let cgroup = make_cgroup(plan, spec, id, bundle, layout)?;
    if plan.view.needs_disks() {
        // CRIU mounts, and it is outside.
        cgroup.get()?.restrict_devices(resources(spec))?;
    }
    Ok((cgroup, Defaults { process, personality, filter, inhabited, agent }))
}

fn make_cgroup(plan: &Plan, spec: &Spec, id: &str, bundle: PathBuf, layout: &Layout) -> Result<FreshCgroup> {
    let cgroup = FreshCgroup::make(layout, id, &plan.cgroup, bundle)?;
    let unlimited = LinuxResources::default();
    let resources = resources(spec).unwrap_or(&unlimited);
    match plan.view.needs_disks() {
        false => cgroup.get()?.confine(resources)?,
        true => {
            cgroup.get()?.apply_limits(resources)?;
            // An earlier attempt's rules may be in force. What the parent does not allow is told by the mount.
            let _refused = cgroup.get()?.allow_devices();
        }
    }
    Ok(cgroup)
}

fn resources(spec: &Spec) -> Option<&LinuxResources> {
    spec.linux().as_ref().and_then(|linux| linux.resources().as_ref())
}

pub(super) fn filter(spec: &Spec) -> Result<Option<Arc<Filter>>> {
    let Some(profile) = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref()) else { return Ok(None) };
    Filter::cached(profile)
}

/// A container that joins a namespace of the host's may not change what belongs to it.
pub(super) fn refuse_changes_of_the_host(plan: &Plan, joins: &[Join]) -> Result<()> {
    let parameter = |of: fn(&Sysctl) -> bool| {
        let found = plan.sysctls.iter().find(|sysctl| of(sysctl));
        found.map(|sysctl| ("linux.sysctl", sysctl.name.as_str()))
    };
    let name = || {
        let names = [("hostname", &plan.hostname), ("domainname", &plan.domainname)];
        names.into_iter().find_map(|(field, name)| Some((field, name.as_deref()?)))
    };
    for join in joins {
        let (file, change) = match join.kind {
            CloneFlags::CLONE_NEWNET => ("net", parameter(Sysctl::is_network)),
            CloneFlags::CLONE_NEWIPC => ("ipc", parameter(Sysctl::is_ipc)),
            CloneFlags::CLONE_NEWUTS => ("uts", name().or_else(|| parameter(Sysctl::is_name))),
            _ => continue,
        };
        let Some((field, value)) = change else { continue };
        if namespace::is_own(join.namespace.as_fd(), file, join.path.display())? {
            return Err(Error::invalid(field, value, format!("would change the host's {file} namespace")));
        }
    }
    Ok(())
}
