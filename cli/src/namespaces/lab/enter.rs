//! A command run in namespaces of others. setns(2)

use std::convert::Infallible;
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, anyhow};
use loment_sys::clone::clone3;
use loment_sys::credentials::{set_gid, set_groups, set_uid};
use loment_sys::pidfd::{self, Ending};
use nix::errno::Errno;
use nix::sched::setns;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::unistd::chdir;

use super::super::kind::Kind;
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
    pub(crate) fn open(mut places: Vec<(Kind, PathBuf)>, own: &Set) -> anyhow::Result<Self> {
        places.sort();
        let mut namespaces = Vec::new();
        for (kind, path) in places {
            let what = || format!("open {} (root is needed; has it ended?)", path.display());
            let namespace = open_namespace(&path).with_context(what)?;
            let id = id_of(namespace.as_fd(), kind).with_context(what)?;
            if own.get(&kind) != Some(&id.inode) {
                namespaces.push((kind, namespace));
            }
        }
        Ok(Self { namespaces })
    }

    /// Joins them and runs the command. It comes back only with how the command ended, or why it did not begin.
    pub(crate) fn run(mut self, command: &[OsString]) -> anyhow::Result<()> {
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
            join(namespace)?;
            match namespace.0 {
                Kind::User => become_root()?,
                Kind::Mount if chdir(&here).is_err() => {
                    chdir(Path::new("/")).context("go to / of the mount namespace")?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn join((kind, namespace): &(Kind, OwnedFd)) -> anyhow::Result<()> {
    setns(namespace.as_fd(), kind.flag()).with_context(|| format!("join the {kind} namespace (root is needed)"))
}

/// Who is root outside is nobody in a user namespace, until it becomes root there, if that has one.
fn become_root() -> anyhow::Result<()> {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    if map.lines().any(|line| line.split_ascii_whitespace().next() == Some("0")) {
        set_groups(&[]).context("give up additional groups")?;
        set_gid(0).context("become group 0 of the user namespace")?;
        set_uid(0).context("become user 0 of the user namespace")?;
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
