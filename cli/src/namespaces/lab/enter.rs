//! A command run in namespaces of others. setns(2)

use std::convert::Infallible;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, anyhow, ensure};
use loment_sys::clone::clone3;
use loment_sys::credentials::{set_gid, set_groups, set_uid};
use loment_sys::namespace;
use loment_sys::pidfd::{self, Ending};
use nix::errno::Errno;
use nix::sched::setns;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::unistd::chdir;

use super::super::kind::{Id, Kind};
use super::super::look::{id_of, open_namespace};
use super::super::survey::Set;
use crate::commands::note;
use crate::error::{ExitWith, Said, lines_of, status_of};

/// Signals that are passed on. Those of the terminal's keys the command gets by itself.
const PASSED_ON: [Signal; 4] = [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2];
const OF_KEYS: [Signal; 2] = [Signal::SIGINT, Signal::SIGQUIT];

/// Namespaces to be joined, in the order in which that can be done.
#[derive(Debug)]
pub(crate) struct Way {
    namespaces: Vec<(Kind, OwnedFd)>,
}

impl Way {
    /// Opens them; those that this command is in already are left out: to join one's own user namespace is an error.
    pub(crate) fn open(places: Vec<(Id, PathBuf)>, own: &Set) -> anyhow::Result<Self> {
        let mut namespaces = Vec::new();
        for (id, path) in places.into_iter().filter(|(id, _)| own.get(&id.kind) != Some(&id.inode)) {
            let what = || format!("open {id} at {} (root is needed; has it ended?)", path.display());
            let namespace = open_namespace(&path).with_context(what)?;
            // Another process may have got the pid meanwhile, another sandbox the name.
            let found = id_of(namespace.as_fd(), id.kind).with_context(what)?;
            ensure!(found == id, "open {id}: {} is {found} by now; look again with loment ns ls", path.display());
            namespaces.push((id.kind, namespace));
        }
        sort(&mut namespaces);
        Ok(Self { namespaces })
    }

    /// Joins them and runs the command. It comes back only with how the command ended, or why it did not begin.
    pub(crate) fn run(mut self, command: &[OsString]) -> anyhow::Result<()> {
        // Whoever is in there must not take this process over while it still has descriptors of the machine
        // (CVE-2016-9962). The program that is executed can be traced again.
        prctl::set_dumpable(false).context("keep others from tracing this command")?;
        // Who joins a pid namespace stays where it is: its children are born there. And only the child joins the others,
        // so that this command is not found in what it only waits for.
        match self.namespaces.iter().position(|(kind, _)| *kind == Kind::Pid) {
            Some(at) => {
                join(&self.namespaces.remove(at))?;
                beside(self, command)
            }
            None => Err(self.replaced(command)),
        }
    }

    /// Joins them and becomes the command, or tells why not.
    fn replaced(&self, command: &[OsString]) -> anyhow::Error {
        self.joined().err().unwrap_or_else(|| executed(command))
    }

    fn joined(&self) -> anyhow::Result<()> {
        let here = std::env::current_dir().unwrap_or_else(|_| "/".into());
        for namespace in &self.namespaces {
            match namespace.0 {
                Kind::User => {
                    leave_groups()?;
                    join(namespace)?;
                    become_root()?;
                }
                Kind::Mount => {
                    join(namespace)?;
                    if chdir(&here).is_err() {
                        chdir(Path::new("/")).context("go to / of the mount namespace")?;
                    }
                }
                _ => join(namespace)?,
            }
        }
        Ok(())
    }
}

/// What belongs to the user namespace comes behind it, because who is in there may join that; all else before, because who
/// is in there no longer may: a user namespace can be younger than others of its process.
fn sort(namespaces: &mut [(Kind, OwnedFd)]) {
    let users = namespaces.iter().find(|(kind, _)| *kind == Kind::User);
    let users = users.and_then(|(_, users)| id_of(users.as_fd(), Kind::User).ok());
    let is_theirs = |of: &OwnedFd| {
        let owner = namespace::owner(of.as_fd()).and_then(|owner| id_of(owner.as_fd(), Kind::User));
        owner.is_ok_and(|owner| Some(owner) == users)
    };
    namespaces.sort_by_cached_key(|(kind, namespace)| (*kind == Kind::User || is_theirs(namespace), *kind));
}

fn join((kind, namespace): &(Kind, OwnedFd)) -> anyhow::Result<()> {
    setns(namespace.as_fd(), kind.flag()).with_context(|| format!("join the {kind} namespace (root is needed)"))
}

/// The machine's additional groups are given up before the user namespace is joined, where that may be forbidden for ever
/// (`deny` in `/proc/PID/setgroups`). Who may not give them up is no root, and has no more by them than before.
fn leave_groups() -> anyhow::Result<()> {
    match set_groups(&[]) {
        Ok(()) | Err(Errno::EPERM) => Ok(()),
        Err(error) => Err(error).context("give up additional groups"),
    }
}

/// Who is root outside is nobody in a user namespace, until it becomes root there. Where no id of the machine stands for
/// root, which is `EINVAL`, it stays nobody.
fn become_root() -> anyhow::Result<()> {
    for (become_it, what) in [(set_gid as fn(u32) -> nix::Result<()>, "group"), (set_uid, "user")] {
        match become_it(0) {
            Ok(()) | Err(Errno::EINVAL) => {}
            Err(error) => return Err(error).with_context(|| format!("become {what} 0 of the user namespace")),
        }
    }
    Ok(())
}

/// Becomes the command, or tells why not.
fn executed(command: &[OsString]) -> anyhow::Error {
    let Some((program, arguments)) = command.split_first() else {
        return Said::one("error: there is no command to run: say it behind --, as in -- sh").into();
    };
    let error = Command::new(program).args(arguments).exec();
    let program = Path::new(program).display();
    let (status, reason) = match error.kind() {
        ErrorKind::NotFound => {
            (127, "it is not there: say the path of a program that the mount namespace has".to_owned())
        }
        ErrorKind::PermissionDenied => {
            (126, "this user must not execute it, or must not look for it: see ls -l, and id in there".to_owned())
        }
        _ => (126, error.to_string()),
    };
    note(&format!("error: run {program}: {reason}"));
    ExitWith(status).into()
}

/// Runs the command as a child, passes signals on, and ends as it ends.
fn beside(way: Way, command: &[OsString]) -> anyhow::Result<()> {
    let awaited: SigSet = PASSED_ON.into_iter().chain(OF_KEYS).chain([Signal::SIGCHLD]).collect();
    let before = awaited.thread_swap_mask(SigmaskHow::SIG_BLOCK).context("block signals")?;
    let born = clone3(0, None, || {
        // A program begins with the signals blocked that were when it was executed.
        let unblocked = before.thread_set_mask().context("unblock signals");
        let error = unblocked.err().unwrap_or_else(|| way.replaced(command));
        if !error.is::<ExitWith>() {
            note(&lines_of(&error));
        }
        i32::from(status_of(&error))
    });
    drop(way);
    let (_, child) = born.map_err(|errno| match errno {
        Errno::ENOMEM => anyhow!("run a command in the pid namespace: its first process has ended; make a new one"),
        _ => anyhow!(errno).context("run a command in the pid namespace"),
    })?;
    loop {
        if let Some(ending) = pidfd::try_wait(child.as_fd(), true).context("wait for the command")? {
            return ended(ending).map(|never| match never {});
        }
        let signal = awaited.wait().context("wait for a signal")?;
        if PASSED_ON.contains(&signal) {
            // It may have ended.
            let _ = pidfd::send_signal(child.as_fd(), signal as i32);
        }
    }
}

fn ended(ending: Ending) -> anyhow::Result<Infallible> {
    let status = match ending {
        Ending::Exited(status) => status,
        Ending::Signaled(signal) => 128 + signal,
    };
    Err(ExitWith(u8::try_from(status).unwrap_or(u8::MAX)).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_another_namespace_by_now_is_not_joined() {
        let path = PathBuf::from("/proc/self/ns/net");
        let found = id_of(open_namespace(&path).unwrap().as_fd(), Kind::Net).unwrap();
        let gone = Id { inode: found.inode + 1, ..found };
        let said = format!("{:#}", Way::open(vec![(gone, path.clone())], &Set::new()).unwrap_err());
        assert!(said.contains(&format!("open {gone}")) && said.contains(&format!("is {found} by now")), "{said}");
        assert_eq!(Way::open(vec![(found, path.clone())], &Set::new()).unwrap().namespaces.len(), 1);
        // One's own is left out.
        let own = Set::from([(Kind::Net, found.inode)]);
        assert_eq!(Way::open(vec![(found, path)], &own).unwrap().namespaces.len(), 0);
    }
}
