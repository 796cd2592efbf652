//! How the first process of a container comes to be: as a clone of the runtime's, by way of a carrier, with a builder.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

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

/// A process to be, all that is needed to clone it.
#[derive(Debug)]
pub(super) struct Unborn {
    pub(super) id: String,
    pub(super) role: Role,
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
        let Self { id, role, io, plan, joins, pids, users, filter, listener, extras } = self;
        let trace = extras.trace;
        let (channel, mut birth) = birth::prepare(cgroup.get()?, io, extras)?;
        birth.listener = listener;
        let nursery = Nursery { plan: &plan, joins: &joins, pids: pids.as_ref().map(AsFd::as_fd), users: &users, role };
        let child = nursery.bear(birth, channel, filter.as_deref())?;
        record::write(cgroup.bundle(), &Record::of(id, child.pid(), cgroup.get()?.path())?)?;
        trace.reached(Phase::Cloned);
        Ok(child)
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
        let (_, pidfd) = init.by_descriptor()?;
        let builder = birth::bear_outside(Some(pidfd.as_fd()), || {
            birth.run(|birth| child::build(birth, plan, role, &pidfd, users, &giver))
        })?;
        Ok(init.built_by(builder))
    }
}
