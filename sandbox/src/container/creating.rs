//! Create: everything that can be done before Start.

use std::{
    os::fd::{AsFd, BorrowedFd},
    path::PathBuf,
    sync::{Arc, Mutex},
};

use loment_cgroups::{Cgroup, Layout};
use nix::sched::CloneFlags;
use oci_spec::runtime::{LinuxResources, Spec};

use super::{
    Container, Defaults, Request, Role,
    agent::{Agent, Call},
    birth::{self, FreshCgroup, Nascent},
    netdev,
};
use crate::{
    Error, Result,
    child::{self, Join},
    error::Context,
    plan::{self, Plan, netdev::NetDevice},
    record::{self, Record},
    seccomp::Filter,
};

/// A container whose init has been cloned and is setting itself up. Readable (as a descriptor) when it has something
/// to say. Dropping it undoes what was made.
#[derive(Debug)]
pub struct Creating {
    // Dropped in this order: a cgroup with a process in it cannot be removed.
    child: Nascent,
    cgroup: FreshCgroup,
    role: Role,
    defaults: Defaults,
    call: Option<Call>,
    /// Whose device rules are still to be set: its disks are mounted by a process that is in its cgroup.
    unrestricted: Option<Arc<Spec>>,
    net_devices: Vec<NetDevice>,
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
        birth::check_mount_label(plan.view.mount_label.as_deref())?;
        let filter = filter(&request.spec)?;
        let agent = Agent::of(&request.spec, filter.as_deref(), &request.id, &request.bundle)?;
        // A holder executes nothing and has no filter.
        let agent = agent.filter(|_| request.role == Role::Program);
        let call = agent.as_ref().map(|agent| agent.call()).transpose()?;
        let (joins, pids) = birth::open_namespaces(&plan.namespaces)?;
        refuse_parameters_of_the_host(&plan, &joins)?;
        let Request { id, bundle, spec, io, role, .. } = request;
        let cgroup = make_cgroup(&plan, &spec, bundle, layout)?;
        let (channel, mut birth) = birth::prepare(&id, cgroup.get()?, io)?;
        birth.listener = call.as_ref().map(|call| Arc::clone(&call.place));
        let child = birth::bear(plan.namespaces.new, pids.as_ref().map(AsFd::as_fd), &birth, channel, || {
            birth.run(|birth| match role {
                Role::Program => child::init(birth, &plan, &joins, filter.as_deref()),
                Role::Holder => child::hold(birth, &plan, &joins),
            })
        })?;
        // On disk before the gate can open; the child is busy meanwhile.
        record::write(cgroup.bundle(), &Record::of(id, child.pid(), cgroup.get()?.path())?)?;
        let defaults = Defaults { process: Arc::new(plan.process), personality: plan.personality, filter, agent };
        let unrestricted = plan.view.needs_disks().then_some(spec);
        Ok(Self { child, cgroup, role, defaults, call, unrestricted, net_devices: plan.net_devices })
    }

    /// Pid of init.
    pub fn pid(&self) -> i32 {
        self.child.pid()
    }

    /// Waits until init stands at its gate. On error everything that was made is undone.
    pub fn finish(self) -> Result<Container> {
        let Self { child, cgroup, role, defaults, call, unrestricted, net_devices } = self;
        let ready = child.wait_until_ready().and_then(|terminal| {
            if let Some(spec) = unrestricted {
                cgroup.get()?.restrict_devices(resources(&spec))?;
            }
            // Last of all: nothing else can fail and take a device away with the namespace.
            netdev::move_all(&net_devices, child.pid())?;
            Ok(terminal)
        });
        // A child that failed is gone before its cgroup is removed: `child` must not outlive this line on error.
        let terminal = match ready {
            Ok(terminal) => terminal,
            Err(error) => {
                drop(child);
                return Err(error);
            }
        };
        let (init, gate) = child.into_process()?;
        let (cgroup, bundle) = cgroup.keep()?;
        let (gate, others) = (Some(gate), Mutex::default());
        Ok(Container { bundle, role, init, cgroup, gate, call, terminal, defaults, others })
    }
}

impl AsFd for Creating {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.child.as_fd()
    }
}

fn make_cgroup(plan: &Plan, spec: &Spec, bundle: PathBuf, layout: &Layout) -> Result<FreshCgroup> {
    let cgroup = FreshCgroup::new(Cgroup::create(layout, &plan.cgroup)?, bundle);
    if let Some(resources) = resources(spec) {
        cgroup.get()?.apply_limits(resources)?;
    }
    match plan.view.needs_disks() {
        false => cgroup.get()?.restrict_devices(resources(spec))?,
        // An earlier attempt's rules may be in force. What the parent does not allow is told by the mount.
        true => drop(cgroup.get()?.allow_devices()),
    }
    Ok(cgroup)
}

fn resources(spec: &Spec) -> Option<&LinuxResources> {
    spec.linux().as_ref().and_then(|linux| linux.resources().as_ref())
}

fn filter(spec: &Spec) -> Result<Option<Arc<Filter>>> {
    let Some(profile) = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref()) else { return Ok(None) };
    Filter::cached(profile)
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
