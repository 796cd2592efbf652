//! What a container sees: its parts put together in a mount namespace of its own, and the host's mounts gone.

use std::{
    fmt,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use loment_sys::mount::{self, FsContext, Propagation, attr};
use nix::{
    errno::Errno,
    fcntl::{OFlag, open},
    mount::{MntFlags, umount2},
    sched::{CloneFlags, setns, unshare},
    sys::{
        stat::{Mode, SFlag, fstat},
        statfs::{PROC_SUPER_MAGIC, TMPFS_MAGIC, fstatfs},
        statvfs::FsFlags,
    },
    unistd::{chdir, chroot, fchdir, pivot_root},
};

use super::{
    devices,
    gather::{Part, Parts},
    hierarchy,
    root::{Links, Root},
};
use crate::{
    Error, Result,
    error::Context,
    plan::{View, ids::IdMaps, mounts::MountPlan, options::Recursion},
};

/// Files of procfs that may be covered by a mount: what lxcfs and the like provide. A mount anywhere else in procfs
/// could catch what the runtime writes there (CVE-2019-16884).
const COVERABLE: &[&str] = &[
    "proc/cpuinfo",
    "proc/diskstats",
    "proc/loadavg",
    "proc/meminfo",
    "proc/net/dev",
    "proc/slabinfo",
    "proc/stat",
    "proc/swaps",
    "proc/sys/crypto/fips_enabled",
    "proc/sys/kernel/ns_last_pid",
    "proc/uptime",
];

/// Puts the parts together and makes them this process's root. What it answers with is that root, writable still if
/// the spec wants it read-only: see [`seal`]. Others have a say, `hooks`, when it stands and the host's mounts are still
/// in sight; what is covered is covered after them.
///
/// `maps` are those of the container's user namespace: what is made in the root belongs to its root. `stub` is an empty
/// root, where the host's mounts need not be in sight any more.
pub(crate) fn enter(
    view: &View,
    parts: Parts,
    cwd: &Path,
    maps: Option<&IdMaps>,
    stub: Option<Stub<'_>>,
    hooks: impl FnOnce(BorrowedFd<'_>) -> Result<()>,
) -> Result<Root> {
    let (host, is_stub) = leave_host(stub)?;
    let place = view.root_stands_at.as_deref().map(stand).transpose()?;
    let root = make_root(view, parts.root, place.as_ref().unwrap_or(&host))?;
    let root = match maps.and_then(|maps| maps.outside(0, 0)) {
        Some(owner) => root.owned_by(owner),
        None => root,
    };
    for (plan, part) in view.mounts.iter().zip(parts.mounts) {
        match part {
            Some(part) => attach(&root, plan, part)?,
            None => change(&root, plan)?,
        }
    }
    if let Some(list) = &view.devices {
        devices::make(&root, list, maps)?;
    }
    hooks(root.as_fd())?;
    cover(&root, view, parts.null)?;
    // The specification leaves a missing working directory open; engines expect it to be made.
    root.make_directory(cwd, Links::Follow)
        .map_err(|error| error.hint("process.cwd must lead to a directory inside the container"))?;
    match is_stub {
        true => stand_on(&root)?,
        false => pivot(&root, &host)?,
    }
    Ok(root)
}

/// Puts this process over an empty root on which nothing can be written: it needs no files, and whoever looks at its
/// `/proc/PID/root` finds none of the host's. With that root; `hooks` are as for [`enter`].
pub(crate) fn enter_nothing(hooks: impl FnOnce() -> Result<()>) -> Result<Root> {
    let (host, _) = leave_host(None)?;
    hooks()?;
    let root = empty(attr::NOSUID | attr::NODEV).at("make an", "empty root")?;
    mount::attach(root.as_fd(), host.as_fd()).at("attach", "the empty root")?;
    let root = Root::new(root);
    pivot(&root, &host)?;
    // Only now, when there is nothing of the host's below it any more: by this a stub is known.
    mount::set_attributes(root.as_fd(), false, attr::RDONLY | attr::NOEXEC, 0, None).at("close", "the empty root")?;
    Ok(root)
}

/// A mount namespace of our own. Its copy of the host's mounts neither sends nor receives anything, and it goes away
/// as soon as the container's root has taken its place. Making and dropping a copy takes time for each mount: a copy of a
/// namespace with hardly any, that of `stub`, takes less. With its root, and whether that is the stub's.
fn leave_host(stub: Option<Stub<'_>>) -> Result<(OwnedFd, bool)> {
    let is_stub = stub.map_or(Ok(false), Stub::join)?;
    unshare(CloneFlags::CLONE_NEWNS).at("make", "a mount namespace")?;
    let host = open_root()?;
    mount::set_attributes(host.as_fd(), true, 0, 0, Some(Propagation::Private))
        .at("make private", "the container's copy of the host's mounts")?;
    Ok((host, is_stub))
}

/// A mount namespace with an empty root.
pub(crate) struct Stub<'a> {
    /// The namespace, or a process in it by its pidfd (Linux 5.8).
    pub(crate) place: BorrowedFd<'a>,
    /// The mount namespace of this process, to come back to.
    pub(crate) own: OwnedFd,
}

impl Stub<'_> {
    /// Joins its mount namespace. False when it is no stub: it may have ended, or a restricted machine may not let us, and
    /// all takes as long as it takes then. setns(2)
    fn join(self) -> Result<bool> {
        if setns(self.place, CloneFlags::CLONE_NEWNS).is_err() {
            return Ok(false);
        }
        if is_stub(&open_root()?).at("examine", "/")? {
            return Ok(true);
        }
        // It has not left the host, or is about to: the host's mounts would stay below whoever stands there.
        setns(self.own, CloneFlags::CLONE_NEWNS).at("come back to", "the host's mounts").map(|()| false)
    }
}

fn open_root() -> Result<OwnedFd> {
    open("/", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()).at("open", "/")
}

/// A place in this namespace's copy of the host's mounts.
fn stand(path: &Path) -> Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(path, flags, Mode::empty()).at("open", path.display())
}

/// The root goes on top of the host's in this namespace: no stub directory is needed, and mounts onto it work on
/// kernels that cannot mount onto detached trees (before 6.15).
pub(crate) fn make_root(view: &View, parts: Vec<Part>, host: &OwnedFd) -> Result<Root> {
    let mut root: Option<Root> = None;
    for (plan, part) in view.root.iter().zip(parts) {
        if !part.is_directory {
            return Err(Errno::ENOTDIR).at("make a root of", format!("{:?}", plan.source));
        }
        match &root {
            Some(root) if !plan.target.as_os_str().is_empty() => attach(root, plan, part)?,
            below => {
                let place = below.as_ref().map_or(host.as_fd(), Root::as_fd);
                mount::attach(part.mount.as_fd(), place).at("attach", "the root file system")?;
                root = Some(Root::new(part.mount));
            }
        }
    }
    root.ok_or_else(|| Error::invalid("root", "", "is missing"))
}

fn attach(root: &Root, plan: &MountPlan, part: Part) -> Result<()> {
    let links = if plan.needs_a_real_directory() { Links::Refuse } else { Links::Follow };
    let place = match part.is_directory {
        true => root.make_directory(&plan.target, links),
        false => root.make_file(&plan.target, links),
    };
    let place = place.map_err(|error| match error.errno() {
        Some(Errno::ELOOP | Errno::ENOTDIR) if links == Links::Refuse => {
            error.hint(format!("/{} of the image must be a real directory", plan.target.display()))
        }
        _ => error,
    })?;
    check_place(plan, &place, &part)?;
    if plan.copy_up {
        super::copy_up::copy_up(&place, &part.mount).at("copy what is covered by the tmpfs on", place_name(plan))?;
    }
    mount::attach(part.mount.as_fd(), place.as_fd()).at("mount on", place_name(plan))?;
    if part.below.is_empty() {
        return Ok(());
    }
    // A tmpfs of our own, which may be a read-only mount by now: that is lifted while its directories are made.
    let attributes = |set, clear| mount::set_attributes(part.mount.as_fd(), false, set, clear, None);
    attributes(0, attr::RDONLY).at("make writable", place_name(plan))?;
    for (name, mount) in &part.below {
        hierarchy::attach(&part.mount, name, mount)
            .at("mount on", format_args!("{}/{}", place_name(plan), name.display()))?;
    }
    attributes(plan.mount.set & attr::RDONLY, 0).at("make read-only", place_name(plan))
}

/// Changes the attributes of what is mounted on a place already.
fn change(root: &Root, plan: &MountPlan) -> Result<()> {
    let failed = |errno| {
        let error = Error::os("change the mount on", place_name(plan), errno);
        if errno == Errno::EINVAL { error.hint("is anything mounted there?") } else { error }
    };
    let place = root.open(&plan.target, Links::Follow, OFlag::O_PATH).map_err(failed)?;
    let change = |recursive, set, clear, propagation| {
        mount::set_attributes(place.as_fd(), recursive, set, clear, propagation).map_err(failed)
    };
    change(false, plan.mount.set, plan.mount.clear, None)?;
    if !plan.tree.is_none() {
        change(true, plan.tree.set, plan.tree.clear, None)?;
    }
    for (propagation, recursion) in &plan.propagation {
        change(*recursion == Recursion::All, 0, 0, Some(*propagation))?;
    }
    Ok(())
}

/// Written only when something fails.
fn place_name(plan: &MountPlan) -> impl fmt::Display {
    fmt::from_fn(|f| write!(f, "/{}", plan.target.display()))
}

/// Nothing covers procfs but a procfs and a few files that are known.
fn check_place(plan: &MountPlan, place: &OwnedFd, part: &Part) -> Result<()> {
    let is_procfs = |fd: &OwnedFd| fstatfs(fd).map(|fs| fs.filesystem_type() == PROC_SUPER_MAGIC);
    let refuse = || Err(Error::invalid("mounts", place_name(plan), "may not cover a part of procfs"));
    if plan.target == Path::new("proc") {
        return match is_procfs(&part.mount).at("examine", place_name(plan))? {
            true => Ok(()),
            false => refuse(),
        };
    }
    let covers = is_procfs(place).at("examine", place_name(plan))?;
    let is_known = || COVERABLE.iter().any(|known| plan.target == Path::new(known));
    if covers && !is_known() { refuse() } else { Ok(()) }
}

/// Covers what the container must not read, and makes read-only what it must not write. A path that does not exist
/// hides nothing.
fn cover(root: &Root, view: &View, null: OwnedFd) -> Result<()> {
    let mut nulls = Copies::new(null);
    let mut empties: Option<Copies> = None;
    for path in &view.masked {
        let Some(place) = existing(root, path)? else { continue };
        let kind = fstat(&place).at("examine", path.display())?.st_mode & SFlag::S_IFMT.bits();
        let copies = match kind == SFlag::S_IFDIR.bits() {
            false => &mut nulls,
            true => match &mut empties {
                Some(empties) => empties,
                none => none.insert(Copies::new(empty(attr::RDONLY).at("make an empty", "tmpfs")?)),
            },
        };
        copies.attach(&place).at("mask", path.display())?;
    }
    for path in &view.readonly {
        let Some(place) = existing(root, path)? else { continue };
        mount::clone_tree(place.as_fd(), c"", true)
            .and_then(|copy| {
                mount::set_attributes(copy.as_fd(), true, attr::RDONLY, 0, None)?;
                mount::attach(copy.as_fd(), place.as_fd())
            })
            .at("make read-only", path.display())?;
    }
    Ok(())
}

fn existing(root: &Root, path: &Path) -> Result<Option<OwnedFd>> {
    match root.find(path, Links::Follow) {
        // A container without access to a path needs no mask for it.
        Err(Errno::EACCES) => Ok(None),
        answer => answer.at("look in the root for", path.display()),
    }
}

/// One mount, attached any number of times. Before Linux 6.15 only an attached mount can be copied, so the original
/// goes first.
struct Copies {
    original: OwnedFd,
    attached: bool,
}

impl Copies {
    fn new(original: OwnedFd) -> Self {
        Self { original, attached: false }
    }

    fn attach(&mut self, place: &OwnedFd) -> nix::Result<()> {
        if self.attached {
            let copy = mount::clone_tree(self.original.as_fd(), c"", false)?;
            return mount::attach(copy.as_fd(), place.as_fd());
        }
        self.attached = true;
        mount::attach(self.original.as_fd(), place.as_fd())
    }
}

/// A tmpfs with nothing in it and no room for anything.
fn empty(attributes: u64) -> nix::Result<OwnedFd> {
    let context = FsContext::open(c"tmpfs")?;
    context.set_string(c"nr_inodes", c"1")?;
    context.set_string(c"size", c"4k")?;
    context.set_string(c"mode", c"555")?;
    context.create()?;
    context.mount(attributes)
}

/// Makes `root`, which stands on the stub's root, the root. pivot_root(2) would take time for each process of the machine,
/// to see whether it is in the old root. Nothing is gained by getting out of it as out of a chroot(2): below is the stub, an
/// empty directory. (Who may mount can open that again, for the containers of its own pod that do the same.) And who joins the namespace begins at `root`, because the kernel climbs to
/// what is mounted on top; so it does not take the container for one that was put into a part of its namespace either
/// (user_namespaces(7): those may not make user namespaces).
fn stand_on(root: &Root) -> Result<()> {
    fchdir(root).at("enter", "the root file system")?;
    chroot(".").at("switch to", "the root file system")?;
    chdir("/").at("enter", "the root directory")
}

/// Whether this is the root of a process that has [entered nothing](enter_nothing) and is done with it: a tmpfs that has
/// room for nothing but its root directory, closed. Before it is closed the host's mounts are below it, or on top of it.
fn is_stub(root: &OwnedFd) -> nix::Result<bool> {
    let found = fstatfs(root)?;
    let is_empty = found.filesystem_type() == TMPFS_MAGIC && (found.files(), found.files_free()) == (1, 0);
    Ok(is_empty && found.flags().contains(FsFlags::ST_RDONLY | FsFlags::ST_NOEXEC))
}

/// Makes `root` the root, and drops the host's mounts.
fn pivot(root: &Root, host: &OwnedFd) -> Result<()> {
    fchdir(root).at("enter", "the root file system")?;
    // With both names ".", the old root ends up on top of the new one: no directory has to be made for it.
    // pivot_root(2), "pivot_root(".", ".")"
    pivot_root(".", ".").map_err(|errno| {
        Error::os("switch to", "the root file system", errno).hint("is the host's root an initramfs?")
    })?;
    fchdir(host).at("enter", "the host's root to drop it")?;
    umount2(".", MntFlags::MNT_DETACH).at("drop", "the container's copy of the host's mounts")?;
    chdir("/").at("enter", "the root directory")
}

/// Last touch of the view, when nothing needs to be made in it any more.
pub(crate) fn seal(root: &Root, view: &View) -> Result<()> {
    if view.root_is_readonly {
        mount::set_attributes(root.as_fd(), false, attr::RDONLY, 0, None).at("make read-only", "the root")?;
    }
    // Of the root alone, recursive or not: what is below it has a propagation of its own.
    if let Some((propagation, _)) = view.root_propagation {
        mount::set_attributes(root.as_fd(), false, 0, 0, Some(propagation)).at("set propagation of", "the root")?;
    }
    Ok(())
}
