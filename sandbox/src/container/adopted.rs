//! A container that another process has made, known by its record.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use loment_cgroups::{Cgroup, Layout};
use nix::errno::Errno;
use oci_spec::runtime::Process as ProcessSpec;

use super::{
    Container, Defaults, Executing, Extras, Io, Request, Role, Starting,
    agent::{Agent, Call, HandOver},
    creating, signal_all, signal_init,
};
use crate::{
    Error, Result,
    channel::ParentEnd,
    child::Inhabited,
    gate,
    hooks::{Aftermath, ContainerHooks},
    plan::{self, namespaces::NEWTIME},
    process::Process,
    record::{self, Record},
    user_namespace::UserNamespace,
};

/// A container as whoever has not made it sees it. Its init is not the caller's child, so that there is an exit to be
/// seen and none to be reaped; [`record::sweep`] takes away what is left of it.
#[derive(Debug)]
pub struct Adopted {
    directory: PathBuf,
    record: Record,
    /// `None` when it has ended.
    init: Option<Process>,
    cgroup: Cgroup,
}

impl Adopted {
    /// The container whose record is in `directory`, if there is one.
    pub fn open(directory: &Path, layout: &Layout) -> Result<Option<Self>> {
        let Some(record) = record::read(directory)? else { return Ok(None) };
        let init = record.init()?;
        let cgroup = Cgroup::open(layout, &record.cgroup)?;
        Ok(Some(Self { directory: directory.to_owned(), record, init, cgroup }))
    }

    /// Its record.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Its init, if that had not ended when the container was opened.
    pub fn init(&self) -> Option<&Process> {
        self.init.as_ref()
    }

    /// Its cgroup.
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// Whether its init waits at its gate.
    pub fn is_at_gate(&self) -> bool {
        self.init.is_some() && gate::is_closed(&self.directory)
    }

    /// Opens the gate, and waits until the program runs and its `poststart` hooks have run; answers with what failed and
    /// does not stop it. `made_from` is what the container was made from.
    ///
    /// # Errors
    /// What kept the program from running; EALREADY when nobody stands at the gate. What fails before the gate is opened,
    /// a seccomp agent that is not there say, leaves init where it stands.
    pub fn start(&self, made_from: &Request) -> Result<Vec<Error>> {
        let Request { id, bundle, spec, role, .. } = made_from;
        let filter = creating::filter(spec)?;
        let hooks = ContainerHooks::of(spec, *role, id, bundle)?;
        let agent = Agent::of(spec, filter.as_deref(), id, bundle)?;
        let call = agent.as_ref().map(|agent| agent.call()).transpose()?;
        let (Some(channel), Some(init)) = (gate::reach(&self.directory)?, &self.init) else {
            gate::forget(&self.directory)?;
            return Err(Error::os("start", &self.record.id, Errno::EALREADY).hint("it has been started, or has ended"));
        };
        channel.open_gate_with(call.as_ref().map(|call| call.place.memory()))?;
        let started = wait_for_start(channel, init, hooks, call.zip(agent));
        // Whichever way it went: nobody stands there now.
        gate::forget(&self.directory)?;
        started
    }

    /// Sends init a signal. `Ok(false)` when it has ended.
    pub fn signal(&self, signal: i32) -> Result<bool> {
        self.init.as_ref().map_or(Ok(false), |init| signal_init(init, &self.cgroup, signal))
    }

    /// Sends a signal to every process of the container. `Ok(false)` when there is none.
    pub fn signal_all(&self, signal: i32) -> Result<bool> {
        signal_all(&self.cgroup, signal)
    }

    /// Begins another process in the container. `made_from` is what the container was made from: it says what `process`
    /// leaves open, as with [`Container::exec`].
    ///
    /// # Errors
    /// The container has ended, and whatever [`Container::exec`] refuses.
    pub fn exec(self, made_from: &Request, process: &ProcessSpec, io: Io, extras: Extras) -> Result<Executing> {
        let plan = plan::plan(made_from)?;
        let filter = creating::filter(&made_from.spec)?;
        let init = self.init.ok_or_else(|| Error::os("exec in", &self.record.id, Errno::ESRCH).hint("it has ended"))?;
        let agent = Agent::of(&made_from.spec, filter.as_deref(), &made_from.id, &made_from.bundle)?;
        // The maps are those that it has: a specification may have left them to the namespace that it joined.
        let own = PathBuf::from(format!("/proc/{}/ns/user", init.pid()));
        let users = plan.user.as_ref().map(|_| UserNamespace::open(&own, None)).transpose()?.flatten();
        let maps = users.map(|user| user.maps().clone());
        let inhabited = Inhabited { maps, clocks: plan.namespaces.has(NEWTIME) };
        let (process_plan, personality) = (Arc::new(plan.process), plan.personality);
        let defaults = Defaults { process: process_plan, personality, filter, inhabited, agent };
        let container = Container {
            bundle: self.directory,
            role: Role::Program,
            init,
            cgroup: self.cgroup,
            gate: None,
            terminal: None,
            defaults,
            others: Mutex::default(),
            aftermath: Aftermath::default(),
        };
        Executing::begin(&container, process, io, extras)
    }
}

/// After the gate has been opened.
fn wait_for_start(
    channel: ParentEnd,
    init: &Process,
    hooks: Option<Arc<ContainerHooks>>,
    call: Option<(Call, Arc<Agent>)>,
) -> Result<Vec<Error>> {
    let pid = init.pid();
    let hand_over = |(call, agent): (_, Arc<_>)| HandOver::begin(call, &agent, (pid, init.try_clone_pidfd()?), pid);
    let listener = call.map(hand_over).transpose()?;
    let mut starting = Starting::new(channel, pid, listener, hooks);
    while !starting.advance()? {}
    Ok(starting.take_failures())
}
