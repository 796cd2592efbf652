//! User namespaces as descriptors: made for a container or a mount, or joined. user_namespaces(7)

use std::{
    io::{Read as _, Write as _},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use loment_sys::{clone, fd};
use nix::{
    errno::Errno,
    fcntl::{OFlag, open},
    sched::{CloneFlags, setns},
    sys::{prctl, stat::Mode},
};

use crate::{
    Error, Result,
    channel::{self, Report},
    error::{self, Context},
    namespace,
    plan::{
        View,
        ids::{IdMap, IdMaps},
        mounts::Owners,
        user::UserPlan,
    },
    process::Process,
};

const OWN: &str = "/proc/self/ns/user";

/// A user namespace and what its ids stand for.
#[derive(Debug)]
pub(crate) struct UserNamespace {
    namespace: OwnedFd,
    maps: IdMaps,
}

impl UserNamespace {
    /// Makes one. The descriptor keeps it: no process has to live in it.
    pub(crate) fn make(maps: &IdMaps) -> Result<Self> {
        let (parent, child) = channel::pair()?;
        let born = clone::clone3(CloneFlags::CLONE_NEWUSER.bits() as u64, None, || {
            // The parent's end too, of which this process has a copy: without it, it leaves with its parent.
            let closed = fd::close_all_except(&[child.as_fd()]);
            match closed.and_then(|()| open(OWN, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())) {
                Ok(own) => drop(child.ready(Some(own.as_fd()))),
                Err(errno) => child.failed(&Error::os("open", OWN, errno)),
            }
            i32::from(!child.wait_at_gate())
        });
        let first = Process::new(match born {
            Err(errno @ (Errno::ENOSPC | Errno::EUSERS)) => {
                let error = Error::os("make", "a user namespace", errno);
                return Err(error.hint("is user.max_user_namespaces of the host reached, or 0?"));
            }
            born => error::born(born, "make", "a user namespace")?,
        });
        drop(child);
        let answer = parent.receive();
        let written = write_maps(first.pid(), maps);
        first.end()?;
        match answer? {
            Report::Failed(error) => Err(error),
            Report::Ready(Some(namespace)) => written.map(|()| Self { namespace, maps: maps.clone() }),
            _ => Err(Error::invalid("user namespace", "", "lost its first process before it was set up")),
        }
    }

    /// Opens the one at `path`. `None`: it is the caller's own, which nobody has to join.
    pub(crate) fn open(path: &Path, expected: Option<&IdMaps>) -> Result<Option<Self>> {
        let namespace = namespace::open(path)?;
        if namespace::is_own(namespace.as_fd(), "user", path.display())? {
            return Ok(None);
        }
        let maps = read_maps(&namespace, path)?;
        match expected {
            Some(expected) if *expected != maps => {
                let reason = format!("are not those of the namespace that is joined, {}", path.display());
                Err(Error::invalid("linux.uidMappings", "and gidMappings", reason))
            }
            _ => Ok(Some(Self { namespace, maps })),
        }
    }

    pub(crate) fn maps(&self) -> &IdMaps {
        &self.maps
    }

    /// Enters it: all capabilities there, none outside any more. What was uid 0 outside is nobody inside, so the
    /// process becomes the root of the namespace, if that has one.
    pub(crate) fn enter(&self) -> Result<()> {
        setns(&self.namespace, CloneFlags::CLONE_NEWUSER).at("join", "the user namespace")?;
        become_root(&self.maps)
    }
}

impl AsFd for UserNamespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.namespace.as_fd()
    }
}

/// Becomes root of the user namespace that the process has just entered.
pub(crate) fn become_root(maps: &IdMaps) -> Result<()> {
    use loment_sys::credentials::{set_gid, set_groups, set_uid};
    if maps.outside(0, 0).is_some() {
        set_groups(&[]).at("give up", "additional groups")?;
        set_gid(0).at("become group", "0 of the user namespace")?;
        set_uid(0).at("become user", "0 of the user namespace")?;
    }
    // Another user makes a process dumpable again as fs.suid_dumpable says (CVE-2016-9962).
    prctl::set_dumpable(false).at("close to debuggers", "the setting-up process")
}

fn write_maps(pid: i32, maps: &IdMaps) -> Result<()> {
    for (name, map) in [("uid_map", &maps.users), ("gid_map", &maps.groups)] {
        let path = format!("/proc/{pid}/{name}");
        std::fs::write(&path, map.to_kernel())
            .map_err(|error| Error::io("write", &path, &error).hint("CAP_SETUID and CAP_SETGID are needed"))?;
    }
    Ok(())
}

/// The maps of a namespace, which only a process in it is shown as they are.
fn read_maps(namespace: &OwnedFd, path: &Path) -> Result<IdMaps> {
    let (mut reader, writer) = std::io::pipe().at("make", "a pipe")?;
    let born = clone::clone3(0, None, || {
        // In there others may have the right to look into this copy of the runtime (CVE-2016-9962).
        let shown = fd::close_all_except(&[namespace.as_fd(), writer.as_fd()]).is_ok()
            && prctl::set_dumpable(false).is_ok()
            && setns(namespace, CloneFlags::CLONE_NEWUSER).is_ok()
            && prctl::set_dumpable(false).is_ok()
            && ["uid_map", "gid_map"].iter().all(|name| {
                let map = std::fs::read(format!("/proc/self/{name}"));
                map.is_ok_and(|map| (&writer).write_all(&[map.as_slice(), b"\0"].concat()).is_ok())
            });
        i32::from(!shown)
    });
    let born = Process::new(error::born(born, "look into", path.display())?);
    drop(writer);
    let mut text = String::new();
    let read = reader.read_to_string(&mut text);
    born.end()?;
    read.at("read the maps of", path.display())?;
    let mut maps = text.split('\0').map(IdMap::of_kernel);
    match (maps.next().flatten(), maps.next().flatten()) {
        (Some(users), Some(groups)) if !users.is_empty() => Ok(IdMaps { users, groups }),
        _ => Err(Error::invalid("linux.namespaces", path.display(), "is not a user namespace with maps")),
    }
}

/// Every user namespace that making a container takes: its own, and those that only say how mounts are shown.
#[derive(Debug, Default)]
pub(crate) struct UserNamespaces {
    container: Option<UserNamespace>,
    of_mounts: Vec<UserNamespace>,
}

impl UserNamespaces {
    /// Those that the plans name.
    pub(crate) fn of(user: Option<&UserPlan>, view: &View) -> Result<Self> {
        let container = match user {
            None => None,
            Some(UserPlan::New(maps)) => Some(UserNamespace::make(maps)?),
            Some(UserPlan::Join { path, maps }) => UserNamespace::open(path, maps.as_ref())?,
        };
        let mut all = Self { container, of_mounts: Vec::new() };
        for owners in view.root.iter().chain(&view.mounts).filter_map(|plan| plan.owners.as_ref()) {
            if let Some(maps) = owners.maps.as_ref().filter(|maps| all.with(maps).is_none()) {
                all.of_mounts.push(UserNamespace::make(maps)?);
            }
        }
        Ok(all)
    }

    /// The container's own, if it has one.
    pub(crate) fn container(&self) -> Option<&UserNamespace> {
        self.container.as_ref()
    }

    /// The maps of the container's own.
    pub(crate) fn maps(&self) -> Option<&IdMaps> {
        self.container.as_ref().map(UserNamespace::maps)
    }

    /// The one that says how a mount is shown; `None` when nothing has to be changed.
    pub(crate) fn of_mount(&self, owners: &Owners) -> Option<&UserNamespace> {
        owners.maps.as_ref().map_or(self.container.as_ref(), |maps| self.with(maps))
    }

    /// All of them.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.all().map(AsFd::as_fd)
    }

    fn all(&self) -> impl Iterator<Item = &UserNamespace> {
        self.container.iter().chain(&self.of_mounts)
    }

    fn with(&self, maps: &IdMaps) -> Option<&UserNamespace> {
        self.all().find(|one| one.maps == *maps)
    }
}
