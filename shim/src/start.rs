//! `start`: answers with the address of the group's shim, and becomes that shim if there is none.
//!
//! No second exec and no runtime in this process: it forks, waits until the fork listens, answers and leaves. What stays
//! behind is the fork.

use std::{
    fs::File,
    io::{self, IsTerminal, Read, Write},
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
};

use containerd_shim::Flags;
use loment_sandbox::trace;
use loment_sys::fork::{Fork, fork};
use nix::{
    sys::prctl,
    unistd::{dup2_stderr, dup2_stdin, dup2_stdout, setsid},
};

use crate::{
    address,
    bootstrap::{self, Environment, MAX_INPUT, Start},
    failure::{Failure, Result},
    logger, server,
    socket::{self, Listening},
    traces::Began,
};

/// What the fork tells first when somebody listens: itself, or another one. Else why nobody does.
const LISTENS: u8 = b'.';

/// Runs the action of a program that has begun at `invoked` (by [`trace::now`]).
pub(crate) fn run(flags: &Flags, invoked: u64) -> Result<()> {
    let start = bootstrap::read(flags, &input()?, &Environment::current())?;
    let understood = trace::now();
    let bundle = bundle(flags)?;
    let group = address::group(&bundle, &start.id);
    let address = address::of_group(&start, &group.name);
    // Before there is a shim: what fails from here on must not leave one behind that nobody knows of.
    address::record(&bundle, &address)?;
    if !socket::is_served(&address)? {
        if group.is_anothers_sandbox {
            // One that took its place would answer for a sandbox that it does not have: containerd, started again, would
            // not have that cleaned up.
            return Err(Failure::precondition(format!(
                "start a shim for container {}: that of its sandbox {} is gone (the pod has to be made anew)",
                start.id, group.name
            )));
        }
        beget(&start, &bundle, &address, Moments { invoked, understood })?;
    }
    let reply = bootstrap::reply(start.reply, &address)?;
    io::stdout().write_all(&reply).map_err(|error| Failure::io("answer on", "standard output", &error))
}

/// What came before the fork.
#[derive(Clone, Copy)]
struct Moments {
    invoked: u64,
    understood: u64,
}

/// Makes the process that stays, and waits until it listens. That it binds the socket itself leaves none behind when either
/// of the two is killed: without this process it finds that its bundle goes, and without the other this one cleans up.
fn beget(start: &Start, bundle: &Path, address: &str, moments: Moments) -> Result<()> {
    let failed = |operation, error: &io::Error| Failure::io(operation, "the shim", error);
    server::keep_signals()?;
    let (mut hears, tells) = io::pipe().map_err(|error| failed("make a pipe to", &error))?;
    if fork().map_err(|errno| failed("fork", &errno.into()))? == Fork::Child {
        drop(hears);
        serve(start, bundle, tells, address, moments)
    }
    drop(tells);
    let mut told = Vec::new();
    hears.read_to_end(&mut told).map_err(|error| failed("hear from", &error))?;
    match told.split_first() {
        Some((&LISTENS, _)) => Ok(()),
        Some((_, reason)) => Err(Failure::unknown(String::from_utf8_lossy(reason))),
        None => {
            let _none = socket::remove_stale(address);
            Err(Failure::unknown("start the shim: it has ended before it listened (was it killed?)"))
        }
    }
}

/// The bundle: containerd runs us in it.
fn bundle(flags: &Flags) -> Result<PathBuf> {
    if flags.bundle.is_empty() {
        std::env::current_dir().map_err(|error| Failure::io("find", "the bundle", &error))
    } else {
        Ok(PathBuf::from(&flags.bundle))
    }
}

/// What containerd says on standard input. A person at a terminal says nothing.
fn input() -> Result<Vec<u8>> {
    let failed = |error: io::Error| Failure::io("read", "standard input", &error);
    let stdin = File::from(loment_sys::fd::standard_input().map_err(|errno| failed(errno.into()))?);
    let mut input = Vec::new();
    if !stdin.is_terminal() {
        stdin.take(MAX_INPUT).read_to_end(&mut input).map_err(failed)?;
    }
    Ok(input)
}

/// The fork: becomes the shim and never returns.
fn serve(start: &Start, bundle: &Path, tells: io::PipeWriter, address: &str, moments: Moments) -> ! {
    let forked = trace::now();
    logger::init(start.debug);
    log_panics();
    let Some(listener) = listen(address, tells) else { std::process::exit(0) };
    let Moments { invoked, understood } = moments;
    let began = Began { invoked, understood, forked, bound: trace::now() };
    let outcome = detach().and_then(|()| server::run(start, bundle, listener, address, began));
    if let Err(failure) = &outcome {
        log::error!("{failure}");
    }
    std::process::exit(i32::from(outcome.is_err()))
}

/// Listens where nobody else does, and tells the process that waits for that. One that does not hear it any more has been
/// killed.
fn listen(address: &str, mut tells: io::PipeWriter) -> Option<UnixListener> {
    let listening = match socket::listen(address) {
        Ok(listening) => listening,
        Err(failure) => {
            let _killed = tells.write_all(format!("!{}", failure.message).as_bytes());
            return None;
        }
    };
    let _killed = tells.write_all(&[LISTENS]);
    match listening {
        Listening::Here(listener) => Some(listener),
        Listening::Elsewhere => None,
    }
}

/// A shim that fails by a mistake of its own says so in words that containerd takes for a line of its log.
fn log_panics() {
    let shim = std::process::id();
    std::panic::set_hook(Box::new(move |panic| {
        // In a child that sets a container up, the log's descriptor has been closed or is something else by now.
        if std::process::id() == shim {
            log::error!("{panic}");
        }
    }));
}

/// Leaves containerd's session and streams, and takes charge of orphans.
fn detach() -> Result<()> {
    let failed = |step: &'static str| move |errno: nix::Error| Failure::io(step, "the shim", &errno.into());
    setsid().map_err(failed("make a session for"))?;
    prctl::set_child_subreaper(true).map_err(failed("make a subreaper of"))?;
    // A process of a container must not read the shim's memory, nor that of a child which is still being set up.
    prctl::set_dumpable(false).map_err(failed("protect"))?;
    // Transparent huge pages would make 2 MiB resident for a heap of a few hundred KiB.
    prctl::set_thp_disable(true).map_err(failed("forbid huge pages for"))?;
    raise_oom_score();
    let null = File::options().read(true).write(true).open("/dev/null");
    let null = null.map_err(|error| Failure::io("open", "/dev/null", &error))?;
    std::env::set_current_dir("/").map_err(|error| Failure::io("enter", "/", &error))?;
    // Last: containerd reads our output until every copy of these is closed.
    dup2_stdin(&null).map_err(failed("close the input of"))?;
    dup2_stdout(&null).map_err(failed("close the output of"))?;
    // A shim that has to end at once, for want of memory or of stack, must not do so in silence. What the log has no room
    // for is lost, as every line: it does not block.
    dup2_stderr(logger::fifo().unwrap_or(&null)).map_err(failed("close the error output of"))
}

/// The kernel shall prefer the shim to containerd when memory runs out, as containerd's own shims ask for.
fn raise_oom_score() {
    // Our own is still containerd's: it is inherited. The parent may have left by now, so that its parent's is another.
    const SCORE: &str = "/proc/self/oom_score_adj";
    let raised = std::fs::read_to_string(SCORE).and_then(|text| {
        let score: i32 = text.trim().parse().map_err(io::Error::other)?;
        std::fs::write(SCORE, (score + 1).min(1000).to_string())
    });
    // Only a preference: without it the shim works all the same.
    if let Err(error) = raised {
        log::debug!("oom_score_adj stays as it is: {error}");
    }
}
