//! The parts of a container's file systems, made while the host's are still in sight and attached to nothing.
//!
//! Everything here is a detached mount that belongs to this process: nothing appears in any mount namespace, and if
//! the process dies nothing is left.

use std::{
    borrow::Cow,
    ffi::{CStr, CString},
    fmt,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use loment_cgroups::Entry;
use loment_sys::{
    loop_device,
    mount::{self, FsContext, Propagation, attr},
};
use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, OFlag, open},
    sys::stat::{Mode, SFlag, fstat},
    unistd::{chdir, fchdir},
};

use super::null;
use crate::{
    Error, Result,
    error::Context,
    plan::{
        View,
        ids::IdMaps,
        mounts::{MountPlan, Owners, Source},
        options::{Datum, Image, Recursion},
    },
    user_namespace::{UserNamespace, UserNamespaces},
};

/// The parts.
#[derive(Debug)]
pub(crate) struct Parts {
    /// What makes the root, in order.
    pub(crate) root: Vec<Part>,
    /// The spec's mounts, in order; `None` where one that is there is changed.
    pub(crate) mounts: Vec<Option<Part>>,
    /// The null device, to cover files with.
    pub(crate) null: OwnedFd,
}

/// A detached mount, ready to be attached.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) mount: OwnedFd,
    /// Whether it goes on a directory or on a file.
    pub(crate) is_directory: bool,
    /// Mounts that go below this one, by name (the cgroup v1 hierarchies).
    pub(crate) below: Vec<(PathBuf, OwnedFd)>,
}

/// Makes the parts of `view`.
pub(crate) fn gather(view: &View, cgroup: &Cgroups<'_>, users: &UserNamespaces) -> Result<Parts> {
    let context = Gathering { view, cgroup, users };
    let part = |plan: &MountPlan| context.part(plan).map_err(|error| too_many(error, view));
    Ok(Parts {
        root: view.root.iter().map(part).collect::<Result<_>>()?,
        mounts: view
            .mounts
            .iter()
            .map(|plan| match &plan.source {
                Source::Remount => Ok(None),
                _ => part(plan).map(Some),
            })
            .collect::<Result<_>>()?,
        null: null::mask()?,
    })
}

/// Says what to do where there are more mounts than descriptors: each part is one until it has come to its place.
fn too_many(error: Error, view: &View) -> Error {
    match error.errno() {
        Some(Errno::EMFILE) => {
            let count = view.mounts.len();
            error.hint(format!("it is one of {count} mounts: raise containerd's limit of open files, or mount fewer"))
        }
        _ => error,
    }
}

/// What a container sees of its cgroups.
#[derive(Debug)]
pub(crate) struct Cgroups<'a> {
    /// How the container's processes enter.
    pub(crate) entry: &'a Entry,
    /// The cgroup's path below every hierarchy.
    pub(crate) path: &'a Path,
    /// Whether the container has a cgroup namespace of its own.
    pub(crate) has_namespace: bool,
}

struct Gathering<'a> {
    view: &'a View,
    cgroup: &'a Cgroups<'a>,
    users: &'a UserNamespaces,
}

impl Gathering<'_> {
    fn part(&self, plan: &MountPlan) -> Result<Part> {
        let (mount, below) = match &plan.source {
            Source::Bind { path, recursion } => (self.bind(path, *recursion, plan.owners.as_ref())?, Vec::new()),
            Source::Filesystem { kind, source, data, image: None } => {
                (self.filesystem(kind, source, data, plan.mount.set)?, Vec::new())
            }
            Source::Filesystem { kind, source, data, image: Some(image) } => {
                // Held until the mount holds it.
                let (disk, _held) = disk(source, *image, plan.mount.set & attr::RDONLY != 0)?;
                (self.filesystem(kind, &disk, data, plan.mount.set)?, Vec::new())
            }
            Source::Overlay { source, lower, data } => {
                let lower =
                    Layers { lower, owners: plan.owners.as_ref().and_then(|owners| self.users.of_mount(owners)) };
                (overlay(source, &lower, data, plan.mount.set)?, Vec::new())
            }
            Source::Cgroup => self.cgroups(plan.mount.set)?,
            // It has no part: see `gather`.
            Source::Remount => return Err(Errno::EINVAL).at("make a part of", format!("{:?}", plan.source)),
        };
        // Written only when something fails.
        let name = fmt::from_fn(|f| write!(f, "mount for /{}", plan.target.display()));
        let fd = mount.as_fd();
        if matches!(plan.source, Source::Bind { .. }) && !plan.mount.is_none() {
            mount::set_attributes(fd, false, plan.mount.set, plan.mount.clear, None).at("set attributes of", &name)?;
        }
        if !plan.tree.is_none() {
            mount::set_attributes(fd, true, plan.tree.set, plan.tree.clear, None)
                .at("set attributes of everything in", &name)?;
        }
        for (propagation, recursion) in self.propagation(plan) {
            let recursive = recursion == Recursion::All;
            mount::set_attributes(fd, recursive, 0, 0, Some(propagation)).at("set propagation of", &name)?;
        }
        let kind = fstat(&mount).at("examine", &name)?.st_mode & SFlag::S_IFMT.bits();
        Ok(Part { is_directory: kind == SFlag::S_IFDIR.bits(), mount, below })
    }

    /// A copy of a shared mount is its peer. Only a root that is to be shared asks for that, as with every other runtime:
    /// a mount that alone is shared is so inside the container, which sees what the host mounts and not the other way
    /// round. The root is no peer in any case: everything is mounted into it, and pivot_root(2) refuses one that is
    /// shared. What it is to be it becomes in the end.
    fn propagation(&self, plan: &MountPlan) -> Vec<(Propagation, Recursion)> {
        let is_root = plan.target.as_os_str().is_empty();
        let may_be_peer = !is_root && matches!(self.view.root_propagation, Some((Propagation::Shared, _)));
        let leaves_its_peers =
            plan.propagation.first().is_some_and(|first| *first != (Propagation::Shared, Recursion::All))
                && plan.propagation.iter().all(|(_, recursion)| *recursion == Recursion::All);
        let leave = !may_be_peer && !leaves_its_peers && plan.is_bind();
        let first = leave.then_some((Propagation::Slave, Recursion::All));
        first.into_iter().chain(plan.propagation.iter().copied()).collect()
    }

    fn bind(&self, path: &CStr, recursion: Recursion, owners: Option<&Owners>) -> Result<OwnedFd> {
        let copy = bind(path, recursion)?;
        if let Some(owners) = owners
            && let Some(user) = self.users.of_mount(owners)
        {
            map_owners(&copy, owners.recursion, user).map_err(|errno| unmappable(path, errno))?;
        }
        Ok(copy)
    }

    fn filesystem(&self, kind: &CStr, source: &CStr, data: &[Datum], attributes: u64) -> Result<OwnedFd> {
        let name = kind.to_string_lossy();
        let context = FsContext::open(kind).map_err(|errno| {
            Error::os("mount a file system of type", &name, errno).hint("this kernel does not know it")
        })?;
        let label = self.view.mount_label.iter().filter(|_| takes_a_label(kind));
        let label = label.map(|label| (c"context".to_owned(), Some(label.clone())));
        let mut data: Vec<_> = data.iter().cloned().chain(label).collect();
        if let Some(maps) = self.users.maps().filter(|_| HAS_OWNER.contains(&kind)) {
            give(&mut data, maps, kind)?;
        }
        let result = configure(&context, source, &data)
            .and_then(|()| read_only(&context, kind, attributes))
            .and_then(|()| context.create())
            .and_then(|()| context.mount(attributes));
        result.map_err(|errno| explained(context, &format!("mount {name} from"), source, errno))
    }

    /// The cgroup file systems as the container may see them: on v2 its own cgroup, on v1 one directory for each
    /// hierarchy in a tmpfs.
    fn cgroups(&self, attributes: u64) -> Result<(OwnedFd, Vec<(PathBuf, OwnedFd)>)> {
        let tasks = match self.cgroup.entry {
            Entry::Into(directory) => return Ok((self.cgroup2(directory, attributes)?, Vec::new())),
            Entry::Tasks(tasks) | Entry::Both(_, tasks) => tasks,
        };
        let data = [(c"mode".to_owned(), Some(c"755".to_owned())), (c"size".to_owned(), Some(c"64k".to_owned()))];
        let tmpfs = self.filesystem(c"tmpfs", c"cgroup", &data, attributes)?;
        let mut hierarchies = Vec::new();
        for file in tasks {
            let own = file.path.parent().unwrap_or(Path::new("/"));
            // The mount point is the directory without the cgroup's own path.
            let depth = self.cgroup.path.components().count();
            let Some(name) = own.ancestors().nth(depth).and_then(Path::file_name) else { continue };
            let clone = mount::clone_tree(AT_FDCWD, &c_path(own)?, true).at("open cgroup", own.display())?;
            mount::set_attributes(clone.as_fd(), true, attributes, 0, Some(Propagation::Private))
                .at("set attributes of cgroup", own.display())?;
            hierarchies.push((PathBuf::from(name), clone));
        }
        if let Entry::Both(directory, _) = self.cgroup.entry {
            hierarchies.push((PathBuf::from("unified"), self.cgroup2(directory, attributes)?));
        }
        Ok((tmpfs, hierarchies))
    }

    fn cgroup2(&self, directory: &OwnedFd, attributes: u64) -> Result<OwnedFd> {
        if self.cgroup.has_namespace {
            return self.filesystem(c"cgroup2", c"cgroup", &[], attributes);
        }
        let clone = mount::clone_tree(directory.as_fd(), c"", true).at("open cgroup", self.cgroup.path.display())?;
        mount::set_attributes(clone.as_fd(), true, attributes, 0, Some(Propagation::Private))
            .at("set attributes of cgroup", self.cgroup.path.display())?;
        Ok(clone)
    }
}

/// File systems that belong to whoever their options say, to the container's root by default.
const HAS_OWNER: [&CStr; 2] = [c"tmpfs", c"devpts"];

/// Names owners as the host knows them: the file system is the host's, its options are the container's.
fn give(data: &mut Vec<Datum>, maps: &IdMaps, kind: &CStr) -> Result<()> {
    for (key, map) in [(c"uid", &maps.users), (c"gid", &maps.groups)] {
        let given = data.iter_mut().find(|(name, _)| name.as_c_str() == key);
        let inside = match &given {
            Some((_, Some(value))) => value.to_str().ok().and_then(|text| text.parse().ok()),
            _ => Some(0),
        };
        let outside = inside.and_then(|id| map.outside(id)).and_then(|id| CString::new(id.to_string()).ok());
        match (given, outside) {
            (Some((_, value)), Some(id)) => *value = Some(id),
            (None, Some(id)) => data.push((key.to_owned(), Some(id))),
            // A namespace without a root: the file system stays the host's.
            (None, None) => {}
            (Some((_, value)), None) => {
                let shown = value.as_deref().unwrap_or_default().to_string_lossy().into_owned();
                let field = format!("mounts: option {} of {}", key.to_string_lossy(), kind.to_string_lossy());
                return Err(Error::invalid(field, shown, "is no id of the user namespace"));
            }
        }
    }
    Ok(())
}

fn map_owners(mount: &OwnedFd, recursion: Recursion, user: &UserNamespace) -> nix::Result<()> {
    mount::map_owners(mount.as_fd(), recursion == Recursion::All, user.as_fd())
}

fn unmappable(path: &CStr, errno: Errno) -> Error {
    let error = Error::os("map the owners of", path.to_string_lossy(), errno);
    match errno {
        Errno::EINVAL => error.hint("its file system knows no idmapped mounts, or it is one already"),
        _ => error,
    }
}

/// SELinux labels go to file systems whose files the container owns.
fn takes_a_label(kind: &CStr) -> bool {
    ![c"proc", c"sysfs", c"mqueue", c"cgroup2"].contains(&kind)
}

fn bind(path: &CStr, recursion: Recursion) -> Result<OwnedFd> {
    mount::clone_tree(AT_FDCWD, path, recursion == Recursion::All).map_err(|errno| {
        let error = Error::os("bind mount", path.to_string_lossy(), errno);
        match errno {
            Errno::ENOENT => error.hint("the source of a bind mount must exist"),
            Errno::EINVAL => error.hint("is the source an unbindable mount?"),
            _ => error,
        }
    })
}

/// An image file as a disk, which goes with its last user.
fn disk(image: &CStr, how: Image, read_only: bool) -> Result<(CString, OwnedFd)> {
    let name = image.to_string_lossy();
    // O_NONBLOCK: it may be anything.
    let access = if read_only { OFlag::O_RDONLY } else { OFlag::O_RDWR } | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = open(image, access, Mode::empty()).at("open image file", &name)?;
    let (path, disk) =
        loop_device::attach(file.as_fd(), Path::new(&*name), read_only, how.direct).map_err(|errno| {
            let error = Error::os("make a disk of image file", &name, errno);
            match errno {
                Errno::ENOENT | Errno::ENXIO => {
                    error.hint("this kernel has no loop devices, or /dev does not show them")
                }
                Errno::EBUSY => error.hint("others take every free loop device; try again"),
                _ => error,
            }
        })?;
    Ok((c_path(&path)?, disk))
}

fn configure(context: &FsContext, source: &CStr, data: &[Datum]) -> nix::Result<()> {
    if !source.is_empty() {
        context.set_string(c"source", source)?;
    }
    for (key, value) in data {
        match value {
            Some(value) => context.set_string(key, value)?,
            None => context.set_flag(key)?,
        }
    }
    Ok(())
}

/// A disk must not be written to by a read-only mount (a journal would be replayed), so the file system itself is
/// told. The kernel's own views are one instance for many mounts, of which others may be writable.
fn read_only(context: &FsContext, kind: &CStr, attributes: u64) -> nix::Result<()> {
    let views = [c"proc", c"sysfs", c"tmpfs", c"devpts", c"mqueue", c"cgroup2"];
    match attributes & attr::RDONLY != 0 && !views.contains(&kind) {
        true => context.set_flag(c"ro"),
        false => Ok(()),
    }
}

/// The lower layers of an overlay.
struct Layers<'a> {
    lower: &'a [CString],
    /// Shows each as belonging to this namespace.
    owners: Option<&'a UserNamespace>,
}

fn overlay(source: &CStr, lower: &Layers<'_>, data: &[Datum], attributes: u64) -> Result<OwnedFd> {
    // Held until the overlay has been made: layers may be named through them.
    let mut layers = Vec::new();
    let owners = lower.owners;
    let lower = lower.names(&mut layers)?;
    let make = |one_by_one: bool| -> Result<std::result::Result<OwnedFd, (FsContext, Errno)>> {
        let context = FsContext::open(c"overlay").at("mount a file system of type", "overlay")?;
        let made = Numbered::new(&lower, one_by_one).and_then(|numbered| {
            match &numbered {
                None => lower.iter().try_for_each(|layer| context.set_string(c"lowerdir+", layer)),
                Some(numbered) => context.set_string(c"lowerdir", &numbered.names),
            }?;
            configure(&context, source, data)?;
            read_only(&context, c"overlay", attributes)?;
            context.create()?;
            context.mount(attributes)
        });
        Ok(made.map_err(|errno| (context, errno)))
    };
    let made = match make(true)? {
        // Linux 6.5 and 6.6 do not know `lowerdir+`. Older ones take any option and find out when all are together.
        Err((_, Errno::EINVAL)) => make(false)?,
        made => made,
    };
    made.map_err(|(context, errno)| {
        let first = lower.first().map(CString::as_c_str).unwrap_or_default();
        let error = explained(context, "mount overlay of", first, errno);
        match errno {
            Errno::ENOENT if error.hint.is_none() => error.hint("was the snapshot removed?"),
            Errno::EINVAL if owners.is_some() => error.hint("layers with mapped owners need Linux 6.15"),
            Errno::EINVAL if lower.len() > 80 => error.hint("a kernel before 6.7 takes about 80 layers"),
            _ => error,
        }
    })
}

impl<'a> Layers<'a> {
    /// The layers by name; those that are mapped are detached mounts, which `held` keeps and whose names lead to them.
    /// An overlay takes a detached layer since Linux 6.15.
    fn names(&self, held: &mut Vec<OwnedFd>) -> Result<Cow<'a, [CString]>> {
        let Some(user) = self.owners else { return Ok(Cow::Borrowed(self.lower)) };
        let mut names = Vec::new();
        for layer in self.lower {
            let copy = bind(layer, Recursion::One)?;
            map_owners(&copy, Recursion::One, user).map_err(|errno| unmappable(layer, errno))?;
            names.push(c_path(Path::new(&format!("/proc/self/fd/{}", copy.as_raw_fd())))?);
            held.push(copy);
        }
        Ok(Cow::Owned(names))
    }
}

/// Layers for a kernel that takes all of them in one option (before Linux 6.7). Its value is at most 255 bytes long,
/// which three of containerd's paths exceed, so each is named by the number of a descriptor, relative to the directory
/// of all descriptors: that is the working directory for as long as this lives.
struct Numbered {
    names: CString,
    before: OwnedFd,
    _layers: Vec<OwnedFd>,
}

impl Numbered {
    /// `None` where layers are given one by one.
    fn new(lower: &[CString], one_by_one: bool) -> nix::Result<Option<Self>> {
        if one_by_one {
            return Ok(None);
        }
        let directory = |name: &CStr| open(name, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty());
        let layers = lower.iter().map(|layer| directory(layer)).collect::<nix::Result<Vec<_>>>()?;
        let names: Vec<_> = layers.iter().map(|layer| layer.as_raw_fd().to_string()).collect();
        let names = CString::new(names.join(":")).map_err(|_| Errno::EINVAL)?;
        let before = directory(c".")?;
        chdir(c"/proc/self/fd")?;
        Ok(Some(Self { names, before, _layers: layers }))
    }
}

impl Drop for Numbered {
    fn drop(&mut self) {
        // The container's own working directory is set later, whatever this one is.
        let _ = fchdir(&self.before);
    }
}

fn explained(context: FsContext, step: &str, object: &CStr, errno: Errno) -> Error {
    let error = Error::os(step, object.to_string_lossy(), errno);
    match context.messages() {
        messages if messages.is_empty() => error,
        messages => error.hint(messages),
    }
}

fn c_path(path: &Path) -> Result<CString> {
    use std::os::unix::ffi::OsStrExt;
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Error::invalid("path", path.display(), "contains a NUL"))
}
