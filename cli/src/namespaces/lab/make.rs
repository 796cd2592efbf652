//! A sandbox made: its namespaces born with a founder, and pinned.

use std::fs::{self, File};
use std::io::{ErrorKind, PipeReader, PipeWriter, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use anyhow::{Context as _, anyhow};
use jiff::Timestamp;
use loment_sys::clone::{clone3, exit_now};
use loment_sys::pidfd;
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

use super::super::kind::Kind;
use super::super::look::open_namespace;
use super::founder::{self, MAPPED, READY, STAY};
use super::record::Record;
use super::wanted::{Ids, Wanted};
use super::{Lab, pinned, remove, unmount};
use crate::error::Said;

/// Exit status of a command that cannot come back from another mount namespace: `EX_OSERR` of sysexits(3).
const STRANDED: i32 = 71;

/// Makes it. What was made is removed again when something goes wrong.
pub(crate) fn make(lab: &Lab, wanted: &Wanted) -> anyhow::Result<Record> {
    let _turn = lab.lock()?;
    lab.open()?;
    let directory = lab.directory(&wanted.name);
    match fs::create_dir(&directory) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let name = &wanted.name;
            return Err(Said::one(format!(
                "error: there is a sandbox {name:?} already: loment ns rm {name} removes it"
            ))
            .into());
        }
        made => made.with_context(|| format!("make {}", directory.display()))?,
    }
    make_in(lab, &directory, wanted).inspect_err(|_| {
        // What cannot be removed now is there for `loment ns rm`.
        let _ = remove::clear(&directory).and_then(|()| lab.close());
    })
}

fn make_in(lab: &Lab, directory: &Path, wanted: &Wanted) -> anyhow::Result<Record> {
    let record = Record {
        name: wanted.name.clone(),
        created: Timestamp::now().to_string(),
        hostname: wanted.hostname.clone(),
        sysctls: wanted.sysctls.iter().map(|one| (one.name.clone(), one.value.clone())).collect(),
        ids: wanted.has(Kind::User).then(|| wanted.ids.to_string()),
        clocks: wanted
            .has(Kind::Time)
            .then(|| wanted.clocks.by_name().map(|(name, ahead)| (name.to_owned(), ahead)).into()),
        ..Record::default()
    };
    record.write(directory)?;
    let mut founder = Founder::begin(lab, wanted)?;
    match pinned_by(&mut founder, record, wanted, directory) {
        Ok(record) => founder.finish(wanted.has(Kind::Pid)).map(|()| record),
        Err(error) => {
            // It ends without an order, and what it keeps with it.
            let _ = founder.finish(false);
            Err(error)
        }
    }
}

fn pinned_by(founder: &mut Founder, mut record: Record, wanted: &Wanted, directory: &Path) -> anyhow::Result<Record> {
    founder.set_up(wanted)?;
    for kind in &wanted.kinds {
        pin(founder.pid, *kind, directory)?;
    }
    record.namespaces = pinned(directory).into_iter().map(|id| (id.kind.file().to_owned(), id.inode)).collect();
    record.holder = wanted.has(Kind::Pid).then_some(founder.pid);
    record.complete = true;
    record.write(directory)?;
    Ok(record)
}

/// Mounts a process's namespace on a file.
fn pin(pid: i32, kind: Kind, directory: &Path) -> anyhow::Result<()> {
    let (from, at) = (format!("/proc/{pid}/ns/{kind}"), directory.join(kind.file()));
    File::create(&at).with_context(|| format!("make {}", at.display()))?;
    let none: Option<&str> = None;
    mount(Some(from.as_str()), &at, none, MsFlags::MS_BIND, none)
        .with_context(|| format!("mount {from} on {}", at.display()))
}

struct Founder {
    pid: i32,
    pidfd: OwnedFd,
    report: PipeReader,
    orders: PipeWriter,
}

impl Founder {
    fn begin(lab: &Lab, wanted: &Wanted) -> anyhow::Result<Self> {
        let (report, to_report) = std::io::pipe().context("make a pipe")?;
        let (from_orders, orders) = std::io::pipe().context("make a pipe")?;
        let away = if wanted.has(Kind::Mount) { Some(Away::from(&lab.root)?) } else { None };
        let flags = wanted.flags().bits() as u32;
        let born = clone3(u64::from(flags), None, || founder::live(wanted, to_report, from_orders));
        drop(away);
        let (pid, pidfd) = born.map_err(|errno| match errno {
            Errno::EPERM => anyhow!(errno).context("make namespaces: run it as root"),
            Errno::ENOSPC | Errno::EUSERS => anyhow!(errno).context(
                "make namespaces: a limit of /proc/sys/user/max_*_namespaces is reached, which sysctl -w raises",
            ),
            _ => anyhow!(errno).context("make namespaces"),
        })?;
        Ok(Self { pid, pidfd, report, orders })
    }

    fn set_up(&mut self, wanted: &Wanted) -> anyhow::Result<()> {
        if wanted.has(Kind::User) {
            let Ids { inside, outside, count } = wanted.ids;
            for file in ["uid_map", "gid_map"] {
                let path = format!("/proc/{}/{file}", self.pid);
                fs::write(&path, format!("{inside} {outside} {count}\n")).with_context(|| format!("write {path}"))?;
            }
            self.orders.write_all(&[MAPPED]).context("tell the founder of the sandbox")?;
        }
        let mut said = String::new();
        self.report.read_to_string(&mut said).context("hear the founder of the sandbox")?;
        match said.as_str() {
            READY => Ok(()),
            "" => Err(anyhow!("the founder of the sandbox has ended before it was set up")),
            said => Err(anyhow!("{said}")),
        }
    }

    /// Leaves it alone, or lets it end and waits for that.
    fn finish(mut self, stays: bool) -> anyhow::Result<()> {
        if stays {
            return self.orders.write_all(&[STAY]).context("tell the holder of the sandbox to stay");
        }
        drop(self.orders);
        pidfd::reap(self.pidfd.as_fd()).map(drop).context("wait for the founder of the sandbox")
    }
}

/// This command in a mount namespace of its own, without the pins of this lab: a copy of it is what the sandbox gets. Were
/// they in there, they would keep each other's namespaces; and in the copy that a user namespace owns nobody can unmount
/// them, mount_namespaces(7). It comes back when this is dropped.
struct Away {
    home: OwnedFd,
}

impl Away {
    fn from(lab: &Path) -> anyhow::Result<Self> {
        let home = open_namespace(Path::new("/proc/self/ns/mnt")).context("open the own mount namespace")?;
        unshare(CloneFlags::CLONE_NEWNS).context("make a mount namespace (root is needed)")?;
        let away = Self { home };
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_SLAVE | MsFlags::MS_REC, none)
            .context("keep mounts of the sandbox from the machine")?;
        unmount(lab)?;
        Ok(away)
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        if setns(self.home.as_fd(), CloneFlags::CLONE_NEWNS).is_err() {
            // Pins that were made here nobody would ever find.
            exit_now(STRANDED);
        }
    }
}
