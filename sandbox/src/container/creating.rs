//! Create: everything that can be done before Start.

use std::{
    os::fd::{AsFd, BorrowedFd},
    path::PathBuf,
    sync::{Arc, Mutex},
};

use loment_cgroups::{
    Cgroup, Layout,
    systemd::{self, Errand, Occupant},
};
use nix::sched::CloneFlags;
use oci_spec::runtime::{LinuxResources, Spec};

use super::{
    Container, Defaults, Request, Role,
    birth::{self, FreshCgroup, Nascent},
};
use crate::{
    Error, Result,
    channel::{self, ParentEnd},
    child::{self, Birth, Inhabited, Join},
    error::Context,
    plan::{self, Plan, namespaces::NEWTIME, user},
    record::{self, Record},
    seccomp::Filter,
    user_namespace::UserNamespaces,
};

/// A container whose init has been cloned and is setting itself up. Readable (as a descriptor) when it has something
/// to say. Dropping it undoes what was made.
#[derive(Debug)]
pub struct Creating {
    // Dropped in this order: a cgroup with a process in it cannot be removed.
    child: Nascent,
    cgroup: FreshCgroup,
    /// Keeps a scope of systemd's from being empty until init is inside.
    occupant: Option<Occupant>,
    role: Role,
    defaults: Defaults,
}

impl Creating {
    /// Asks systemd for the container's cgroup, if the specification says that it is systemd's. The answer is to be
    /// awaited, and goes to [`Creating::begin_in`].
    pub fn scope(request: &Request, layout: &Layout) -> Result<Option<Errand>> {
        let linux = request.spec.linux().as_ref();
        if !linux.is_some_and(|linux| linux.cgroups_path().as_deref().is_some_and(systemd::is_scope)) {
            return Ok(None);
        }
        // What cannot be honoured is refused before systemd makes anything.
        let plan = plan::plan(request)?;
        let resources = linux.and_then(|linux| linux.resources().as_ref());
        Ok(Errand::start_scope(layout, &plan.cgroup, resources)?)
    }

    /// Begins: makes the cgroup, clones init into its namespaces. Returns while init is still setting itself up.
    ///
    /// # Errors
    /// [`crate::error::Cause::Invalid`] for whatever the specification asks for that cannot be honoured, before
    /// anything is made. On any error everything that was made is undone.
    ///
    /// Waits for systemd if the cgroup is to be one of its scopes: who must not wait takes [`Creating::begin_in`].
    pub fn begin(request: Request, layout: &Layout) -> Result<Self> {
        let occupant = Self::scope(&request, layout)?.map(Errand::finish).transpose()?;
        Self::begin_in(request, layout, occupant)
    }

    /// [`Creating::begin`] in a scope that systemd has started.
    pub fn begin_in(request: Request, layout: &Layout, occupant: Option<Occupant>) -> Result<Self> {
        let plan = plan::plan(&request)?;
        birth::check_labels(&plan.process)?;
        let filter = filter(&request.spec)?;
        let (joins, pids) = birth::open_namespaces(&plan.namespaces)?;
        let users = UserNamespaces::of(&plan)?;
        if let Some(maps) = users.maps() {
            user::check_ids(&plan.process, maps)?;
        }
        refuse_parameters_of_the_host(&plan, &joins)?;
        let Request { id, bundle, spec, io, role, .. } = request;
        let cgroup = make_cgroup(&plan, &spec, bundle, layout)?;
        let (channel, birth) = birth::prepare(&id, cgroup.get()?, io)?;
        let nursery = Nursery { plan: &plan, joins: &joins, pids: pids.as_ref().map(AsFd::as_fd), users: &users, role };
        let child = nursery.bear(birth, channel, filter.as_deref())?;
        // On disk before the gate can open; the child is busy meanwhile.
        record::write(cgroup.bundle(), &Record::of(id, child.pid(), cgroup.get()?.path())?)?;
        let inhabited = Inhabited::of(&plan.namespaces, &users);
        let defaults = Defaults { process: Arc::new(plan.process), personality: plan.personality, filter, inhabited };
        Ok(Self { child, cgroup, occupant, role, defaults })
    }

    /// Pid of init.
    pub fn pid(&self) -> i32 {
        self.child.pid()
    }

    /// Waits until init stands at its gate. On error everything that was made is undone.
    pub fn finish(self) -> Result<Container> {
        let Self { child, cgroup, occupant, role, defaults } = self;
        let ready = child.wait_until_ready();
        // A child that failed is gone before its cgroup is removed: `child` must not outlive this line on error.
        let terminal = match ready {
            Ok(terminal) => terminal,
            Err(error) => {
                drop(child);
                return Err(error);
            }
        };
        drop(occupant);
        let (init, gate) = child.into_process()?;
        let (cgroup, bundle) = cgroup.keep()?;
        Ok(Container { bundle, role, init, cgroup, gate: Some(gate), terminal, defaults, others: Mutex::default() })
    }
}

impl AsFd for Creating {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.child.as_fd()
    }
}

/// What init is born with.
struct Nursery<'a> {
    plan: &'a Plan,
    joins: &'a [Join],
    pids: Option<BorrowedFd<'a>>,
    users: &'a UserNamespaces,
    role: Role,
}

impl Nursery<'_> {
    fn bear(&self, mut birth: Birth, channel: ParentEnd, filter: Option<&Filter>) -> Result<Nascent> {
        let Self { plan, joins, pids, users, role } = *self;
        let ordinary = |birth: &Birth| match role {
            Role::Program => child::init(birth, plan, joins, users, filter),
            Role::Holder => child::hold(birth, plan, joins),
        };
        if users.container().is_some() {
            return self.bear_in_user_namespace(&mut birth, channel, filter);
        }
        if plan.namespaces.new.contains(NEWTIME) {
            let carrier = || birth.run(|birth| child::carry(birth, plan, joins, users, ordinary));
            return birth::bear_by_carrier(pids, &birth, channel, carrier);
        }
        // A user namespace that turned out to be our own is not made.
        birth::bear(plan.namespaces.new, pids, &birth, channel, || birth.run(ordinary))
    }

    /// First init, which waits; then, because it joins init's namespaces, who builds for it.
    fn bear_in_user_namespace(
        &self,
        birth: &mut Birth,
        channel: ParentEnd,
        filter: Option<&Filter>,
    ) -> Result<Nascent> {
        let Self { plan, joins, pids, users, role } = *self;
        let (giver, taker) = channel::handover()?;
        birth.taker = Some(taker);
        let init = |birth: &Birth| match role {
            Role::Program => child::init_in_user_namespace(birth, plan, filter),
            Role::Holder => child::hold_in_user_namespace(birth, plan),
        };
        let carrier = || birth.run(|birth| child::carry(birth, plan, joins, users, init));
        let init = birth::bear_by_carrier(pids, birth, channel, carrier)?;
        let pidfd = init.pidfd()?;
        let builder = birth::bear_outside(Some(pidfd.as_fd()), || {
            birth.run(|birth| child::build(birth, plan, role, &pidfd, users, &giver))
        })?;
        Ok(init.built_by(builder))
    }
}

fn make_cgroup(plan: &Plan, spec: &Spec, bundle: PathBuf, layout: &Layout) -> Result<FreshCgroup> {
    let cgroup = FreshCgroup::new(Cgroup::create(layout, &plan.cgroup)?, bundle);
    let given = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    match given {
        Some(resources) => cgroup.get()?.confine(resources)?,
        None => cgroup.get()?.confine(&LinuxResources::default())?,
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
