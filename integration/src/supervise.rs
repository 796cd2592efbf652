//! The two processes of a lab. The outer one stays on the machine, starts the inner one and, however that ends,
//! removes what is left; the inner one enters the lab's namespaces and does the work.

use std::{
    env,
    path::PathBuf,
    process::{Command, ExitCode},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    sys::{
        prctl::set_child_subreaper,
        signal::{SigSet, Signal, kill},
        signalfd::SignalFd,
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

use crate::{
    hierarchy::LabCgroups,
    isolate,
    lab::{Lab, Options},
    process, programs,
    requirements::{self, Machine},
};

/// Tells the inner process which lab it is in.
pub(crate) const ID: &str = "LOMENT_LAB_ID";

/// How long dying processes may take before the lab gives up on a clean machine.
const SWEEP_LIMIT: Duration = Duration::from_secs(20);

/// Runs `body` in a lab, and the whole program with it: call this first in `main`, with one thread. The program is run
/// once more inside, with the same arguments. Returns what `body` returns, or a failure when something was left behind.
pub fn in_lab(options: Options, body: impl FnOnce(&Arc<Lab>) -> Result<ExitCode>) -> ExitCode {
    let result = match env::var(ID) {
        Ok(id) => inside(&id, options, body),
        Err(_) => outside(&options),
    };
    result.unwrap_or_else(|error| {
        complain(&format!("error: {error:#}"));
        ExitCode::FAILURE
    })
}

fn inside(id: &str, options: Options, body: impl FnOnce(&Arc<Lab>) -> Result<ExitCode>) -> Result<ExitCode> {
    // The outer process has them blocked, and a signal mask is inherited.
    SigSet::all().thread_unblock().context("unblock signals")?;
    let machine = check(&options)?;
    let bin =
        PathBuf::from(env::var_os(programs::BIN_DIR).context("the outer process names no directory of programs")?);
    isolate::enter(id, &machine, &options)?;
    // containerd is a subreaper too; when it has ended, its shims must not leave for the outer process unseen.
    set_child_subreaper(true).context("become a subreaper")?;
    let lab = Arc::new(Lab::up(&machine, &bin, options)?);
    let result = body(&lab);
    let left = lab.down();
    let code = result?;
    left?;
    Ok(code)
}

fn check(options: &Options) -> Result<Machine> {
    let machine = requirements::check(options.choice.containerd.as_deref());
    let machine = machine.and_then(|machine| match options.choice.sandboxer.complaint(machine.containerd.version) {
        Some(complaint) => Err(vec![complaint]),
        None => Ok(machine),
    });
    machine.map_err(|missing| {
        let list: String = missing.iter().map(|one| format!("\n  - {one}")).collect();
        anyhow::anyhow!(
            "this machine lacks:{list}\n`sudo scripts/install-deps` installs the packages on Debian and Ubuntu"
        )
    })
}

fn outside(options: &Options) -> Result<ExitCode> {
    check(options)?;
    let bin = programs::directory()?;
    LabCgroups::remove_stale(SWEEP_LIMIT)?;
    let id = LabCgroups::own_id();
    set_child_subreaper(true).context("become a subreaper")?;
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT] {
        signals.add(signal);
    }
    signals.thread_block().context("block signals")?;
    let signals = SignalFd::new(&signals).context("make a signalfd")?;

    let cgroups = LabCgroups::locate(&id)?;
    let result = cgroups.create().and_then(|()| {
        let program = env::current_exe().context("find the own program")?;
        // `arg0` and arguments stay, so that the inner process decides as this one did.
        let child = Command::new(program)
            .args(env::args_os().skip(1))
            .env(ID, &id)
            .env(programs::BIN_DIR, &bin)
            .spawn()
            .context("start the lab's inner process")?;
        attend(Pid::from_raw(i32::try_from(child.id()).context("a pid that fits")?), &signals)
    });
    // Whatever happened inside, nothing may stay.
    cgroups.thaw();
    let swept = process::sweep(SWEEP_LIMIT);
    cgroups.remove(SWEEP_LIMIT)?;
    if let Ok(count) = swept
        && count > 0
        && result.as_ref().is_ok_and(|code| *code == 0)
    {
        complain(&format!("error: {count} processes outlived the lab and were killed"));
        return Ok(ExitCode::FAILURE);
    }
    swept?;
    Ok(ExitCode::from(result?))
}

/// Waits for the inner process; passes signals on to it and reaps what it leaves.
fn attend(inner: Pid, signals: &SignalFd) -> Result<u8> {
    loop {
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) if pid == inner => return Ok(u8::try_from(code).unwrap_or(1)),
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid == inner => {
                    complain(&format!("the lab ended by {signal}; removing what it made"));
                    return Ok(u8::try_from(128 + signal as i32).unwrap_or(1));
                }
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => break,
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error).context("wait for the lab's inner process"),
            }
        }
        let signal = signals.read_signal().context("read signals")?.map(|info| info.ssi_signo.cast_signed());
        match signal.map(Signal::try_from) {
            Some(Ok(Signal::SIGCHLD)) | None => {}
            // The inner process may have ended just now, which the next turn sees.
            Some(Ok(signal)) => drop(kill(inner, signal)),
            Some(Err(_)) => {}
        }
    }
}

#[expect(clippy::print_stderr, reason = "this is the last resort of a program, not of a library")]
fn complain(text: &str) {
    eprintln!("{text}");
}
