//! A pod's namespaces without a process in them.
//!
//! A *founder* makes them: a child like a holder, but it stays at its gate. Meanwhile the runtime takes hold of its
//! namespaces by descriptors, their *pins*, and then ends it. A pin is nothing on the disk and nothing in anybody's mounts:
//! when the runtime ends, in whatever way, the kernel drops the pins, and the namespaces with their last container.

use std::{
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
};

use loment_sys::namespace::owner;
use nix::{errno::Errno, sched::CloneFlags};
use oci_spec::runtime::{LinuxNamespaceType, Spec};

use super::{
    Extras, Io, Request, Role,
    birth::{self, Nascent},
    creating::refuse_changes_of_the_host,
    nursery::{Calling, Unborn},
};
use crate::{
    Result,
    channel::Report,
    error::Context,
    namespace,
    network::Network,
    plan::{self, namespaces::Namespaces, user},
    trace::{Phase, Trace},
    user_namespace::UserNamespaces,
};

/// Kinds that containers of a pod share, by their names in procfs. A pid namespace needs a first process: no pin can
/// replace it.
const SHARED: [(CloneFlags, LinuxNamespaceType, &str); 4] = [
    (CloneFlags::CLONE_NEWUSER, LinuxNamespaceType::User, "user"),
    (CloneFlags::CLONE_NEWNET, LinuxNamespaceType::Network, "net"),
    (CloneFlags::CLONE_NEWIPC, LinuxNamespaceType::Ipc, "ipc"),
    (CloneFlags::CLONE_NEWUTS, LinuxNamespaceType::Uts, "uts"),
];

/// Namespaces that descriptors of this process keep.
#[derive(Debug)]
pub struct Pins {
    pins: Vec<(LinuxNamespaceType, OwnedFd)>,
    stub: Option<OwnedFd>,
}

impl Pins {
    /// Takes hold of the namespaces that `founder` is in.
    fn of(founder: i32, namespaces: &Namespaces) -> Result<Self> {
        let open = |name: &str| namespace::open(Path::new(&format!("/proc/{founder}/ns/{name}")));
        let kinds = SHARED.into_iter().filter(|(kind, ..)| namespaces.has(*kind));
        let pins = kinds.map(|(_, kind, name)| Ok((kind, open(name)?))).collect::<Result<_>>()?;
        // What is mounted in a user namespace belongs to it.
        let has_users = namespaces.has(CloneFlags::CLONE_NEWUSER);
        Ok(Self { pins, stub: if has_users { None } else { Some(open("mnt")?) } })
    }

    /// Where a namespace is found, by anybody who may look into this process. `None`: the pod has none of its own of this
    /// kind.
    pub fn path(&self, kind: LinuxNamespaceType) -> Option<PathBuf> {
        Some(path(self.namespace(kind)?))
    }

    /// Each with its kind and its path.
    pub fn paths(&self) -> impl Iterator<Item = (LinuxNamespaceType, PathBuf)> {
        self.pins.iter().map(|(kind, pin)| (*kind, path(pin.as_fd())))
    }

    /// The network that the pod lives in.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub fn network(&self) -> Result<Network> {
        match self.namespace(LinuxNamespaceType::Network) {
            Some(pin) => Network::at(pin.try_clone_to_owned().at("copy", "the pin of the pod's network")?),
            None => Ok(Network::own()),
        }
    }

    /// A mount namespace with an empty root: where containers may begin whose mounts are to be few. `None` for a pod with
    /// users of its own.
    pub fn stub(&self) -> Option<OwnedFd> {
        self.stub.as_ref()?.try_clone().ok()
    }

    fn namespace(&self, kind: LinuxNamespaceType) -> Option<BorrowedFd<'_>> {
        self.pins.iter().find(|(of, _)| *of == kind).map(|(_, pin)| pin.as_fd())
    }
}

fn path(pin: BorrowedFd<'_>) -> PathBuf {
    format!("/proc/{}/fd/{}", std::process::id(), pin.as_raw_fd()).into()
}

/// A descriptor of the user namespace that the network namespace at `network` belongs to. `None`: it is the caller's own.
/// With users of a pod's own, CRI makes the pod's network in their namespace.
///
/// # Errors
/// `network` is no namespace.
pub fn users_of_network(network: &Path) -> Result<Option<(OwnedFd, PathBuf)>> {
    let network_namespace = namespace::open(network)?;
    let users = match owner(network_namespace.as_fd()) {
        // It is above the caller's.
        Err(Errno::EPERM) => return Ok(None),
        answer => answer.at("find the user namespace of", network.display())?,
    };
    let is_own = namespace::is_own(users.as_fd(), "user", network.display())?;
    let path = path(users.as_fd());
    Ok((!is_own).then_some((users, path)))
}

/// Pins to be: their founder is making the namespaces. Readable (as a descriptor) when there is news. Dropping it ends the
/// founder.
#[derive(Debug)]
pub struct Pinning {
    founder: Nascent,
    namespaces: Namespaces,
}

impl Pinning {
    /// Begins to make the namespaces that `spec` names, with its names and parameters. (Nothing else of it is looked at.)
    ///
    /// # Errors
    /// [`crate::error::Cause::Invalid`] for what cannot be honoured, before anything is made.
    pub fn begin(id: &str, bundle: &Path, spec: Arc<Spec>, trace: Trace) -> Result<Self> {
        let io = Io::Plain { stdin: None, stdout: None, stderr: None };
        let (id, bundle) = (id.to_owned(), bundle.to_owned());
        let request = Request { id, bundle, spec, rootfs: Vec::new(), io, role: Role::Holder };
        let plan = plan::plan(&request)?;
        let (joins, pids) = birth::open_namespaces(&plan.namespaces)?;
        let users = UserNamespaces::of(plan.user.as_ref(), &plan.view)?;
        if let Some(maps) = users.maps() {
            user::check_ids(&plan.process, maps)?;
        }
        refuse_changes_of_the_host(&plan, &joins)?;
        trace.reached(Phase::Planned);
        let (namespaces, extras) = (plan.namespaces.clone(), Extras { trace, ..Extras::default() });
        let Request { id, io, .. } = request;
        let (calling, filter, listener) = (Calling::Founder, None, None);
        let founder = Unborn { id, calling, io, plan, joins, pids, users, filter, listener, extras }.bear_beside()?;
        Ok(Self { founder, namespaces })
    }

    /// Pid of the founder.
    pub fn pid(&self) -> i32 {
        self.founder.pid()
    }

    /// Waits for the founder, takes hold of its namespaces, and ends it.
    ///
    /// # Errors
    /// What the founder could not do, or a system call of ours; nothing is left of it then.
    pub fn finish(self) -> Result<Pins> {
        match self.founder.report()? {
            Report::Ready(_) => Pins::of(self.pid(), &self.namespaces),
            Report::Failed(error) => Err(error),
            Report::Born(_) | Report::Hooks | Report::Closed => Err(self.founder.died_silently()),
        }
    }
}

impl AsFd for Pinning {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.founder.as_fd()
    }
}
