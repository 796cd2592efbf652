//! How the first process of a container comes to be: as a clone of the runtime's, by way of a carrier, with a builder. A
//! founder comes to be in the same way.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
    sync::Arc,
};

use loment_cgroups::Entry;

use super::{
    Extras, Io, Role,
    birth::{self, FreshCgroup, Nascent},
};
use crate::{
    Result,
    channel::{self, ParentEnd},
    child::{self, Birth, Join},
    listener::Place,
    plan::{Plan, namespaces::NEWTIME},
    record::{self, Record},
    seccomp::Filter,
    trace::Phase,
    user_namespace::UserNamespaces,
};

/// What a process is born to be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Calling {
    /// The first of a container.
    Init(Role),
    /// A founder: see [`super::pinning`].
    Founder,
}

/// A process to be, all that is needed to clone it.
#[derive(Debug)]
pub(super) struct Unborn {
    pub(super) id: String,
    pub(super) calling: Calling,
    pub(super) io: Io,
    pub(super) plan: Plan,
    pub(super) joins: Vec<Join>,
    pub(super) pids: Option<OwnedFd>,
    pub(super) users: UserNamespaces,
    pub(super) filter: Option<Arc<Filter>>,
    pub(super) listener: Option<Arc<Place>>,
    pub(super) extras: Extras,
}

impl Unborn {
    /// Clones it; on disk before its gate can open, because it is busy meanwhile.
    pub(super) fn bear(self, cgroup: &FreshCgroup) -> Result<Nascent> {
        let (id, trace, cgroups) = (self.id.clone(), self.extras.trace, cgroup.get()?);
        let child = self.bear_in(cgroups.entry()?, cgroups.path().to_owned())?;
        record::write(cgroup.bundle(), &Record::of(id, child.pid(), cgroups.path())?)?;
        trace.reached(Phase::Cloned);
        Ok(child)
    }

    /// Clones it where the runtime is itself. Nobody has to find it: at its gate it ends with the runtime.
    pub(super) fn bear_beside(self) -> Result<Nascent> {
        let trace = self.extras.trace;
        let child = self.bear_in(Entry::Tasks(Vec::new()), PathBuf::new())?;
        trace.reached(Phase::Cloned);
        Ok(child)
    }

    fn bear_in(self, entry: Entry, cgroup: PathBuf) -> Result<Nascent> {
        let Self { id: _, calling, io, plan, joins, pids, users, filter, listener, extras } = self;
        let (channel, mut birth) = birth::prepare(entry, cgroup, io, extras)?;
        birth.listener = listener;
        let pids = pids.as_ref().map(AsFd::as_fd);
        Nursery { plan: &plan, joins: &joins, pids, users: &users, calling }.bear(birth, channel, filter.as_deref())
    }
}

/// What init is born with.
struct Nursery<'a> {
    plan: &'a Plan,
    joins: &'a [Join],
    pids: Option<BorrowedFd<'a>>,
    users: &'a UserNamespaces,
    calling: Calling,
}

impl Nursery<'_> {
    fn bear(&self, mut birth: Birth, channel: ParentEnd, filter: Option<&Filter>) -> Result<Nascent> {
        let Self { plan, joins, pids, users, calling } = *self;
        let ordinary = |birth: &Birth| match calling {
            Calling::Init(Role::Program) => child::init(birth, plan, joins, users, filter),
            Calling::Init(Role::Holder) => child::hold(birth, plan, joins),
            Calling::Founder => child::found(birth, plan, joins),
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
        let Self { plan, joins, pids, users, calling } = *self;
        let (giver, taker) = channel::handover()?;
        birth.taker = Some(taker);
        let init = |birth: &Birth| match calling {
            Calling::Init(Role::Program) => child::init_in_user_namespace(birth, plan, filter),
            Calling::Init(Role::Holder) => child::hold_in_user_namespace(birth, plan),
            Calling::Founder => child::found_in_user_namespace(birth),
        };
        let carrier = || birth.run(|birth| child::carry(birth, plan, joins, users, init));
        let init = birth::bear_by_carrier(pids, birth, channel, carrier)?;
        let (_, pidfd) = init.by_descriptor()?;
        let has_root = matches!(calling, Calling::Init(Role::Program));
        let builder = birth::bear_outside(Some(pidfd.as_fd()), || {
            birth.run(|birth| child::build(birth, plan, has_root, &pidfd, users, &giver))
        })?;
        Ok(init.built_by(builder))
    }
}
