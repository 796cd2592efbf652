//! One hook, from its start to its end.

use std::{
    convert::Infallible,
    fs::File,
    io::{Read, Seek, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use loment_sys::{fd, pidfd, signal};
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        memfd::{MFdFlags, memfd_create},
        prctl,
        signal::{Signal, killpg},
        stat::{Mode, umask},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, dup2_stderr, dup2_stdin, dup2_stdout, execve, getpid, getppid, pipe2, setsid},
};

use crate::{
    Error, Result,
    error::{self, Context},
    plan::hooks::Hook,
    process::wait_for_end,
};

/// How much of what a hook has said is told if it fails: the end, which says most.
const TOLD: usize = 2 << 10;
/// How much it may say while nobody listens any more: what a pipe holds.
const LAST_WORDS: usize = 64 << 10;
/// How long what was killed is waited for, and how often it is looked at.
const ENDING: (u32, Duration) = (300, Duration::from_millis(10));

/// What became of a hook.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It has ended, well or not; after its time it was killed.
    Ended(Result<()>),
    /// Whoever waited for it is gone, and it was killed.
    Abandoned,
}

/// Runs `hook` with `state` on its standard input. Its process does `prepare` last before it becomes the hook's program.
/// `until` is a channel: when its other end is closed the hook is stopped.
pub(super) fn run(
    hook: &Hook,
    state: &[u8],
    until: BorrowedFd<'_>,
    prepare: &dyn Fn() -> Result<()>,
) -> Result<Outcome> {
    let stdin = to_read(state).at("hand the state to", &hook.name)?;
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).at("make a pipe for", &hook.name)?;
    fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).at("make a pipe for", &hook.name)?;
    let parent = getpid();
    let born = loment_sys::clone::clone3(0, None, || match become_hook(hook, &stdin, &writer, parent, prepare) {
        Ok(never) => match never {},
        Err(error) => {
            // To whoever reads the hook's output; without a reader there is nothing left to be done.
            let _ = write!(std::io::stderr(), "{error}");
            127
        }
    });
    let (pid, process) = error::born(born, "clone a process for", &hook.name)?;
    drop(writer);
    let mut output = Output { pipe: Some(File::from(reader)), tail: Vec::new() };
    let waited = wait(hook, &process, &mut output, until);
    if !matches!(waited, Ok(Waited::Ended)) {
        // It leads a session, and so a group. An error means that it is gone.
        let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        let _ = pidfd::send_signal(process.as_fd(), Signal::SIGKILL as i32);
        wait_for_end(process.as_fd()).at("wait for the end of", &hook.name)?;
    }
    let ending = pidfd::try_wait(process.as_fd(), true).at("wait for", &hook.name)?;
    output.take(LAST_WORDS);
    Ok(match (waited.at("wait for", &hook.name)?, ending) {
        (Waited::Ended, Some(pidfd::Ending::Exited(0))) => Outcome::Ended(Ok(())),
        (Waited::Ended, Some(pidfd::Ending::Exited(status))) => {
            Outcome::Ended(Err(failure(hook, &format!("ended with status {status}"), &output)))
        }
        (Waited::Ended, Some(pidfd::Ending::Signaled(signal))) => {
            Outcome::Ended(Err(failure(hook, &format!("was ended by signal {signal}"), &output)))
        }
        (Waited::Late(timeout), _) => {
            let seconds = timeout.as_secs();
            Outcome::Ended(Err(failure(hook, &format!("had not ended after its timeout of {seconds} s"), &output)))
        }
        (Waited::Ended, None) => Outcome::Ended(Err(failure(hook, "is still ending", &output))),
        (Waited::Abandoned, _) => Outcome::Abandoned,
    })
}

/// Ends processes as long as `left` finds some: children of what was ended are found next. For a bounded time.
pub(super) fn end_each(left: impl Fn() -> Vec<i32>, end: impl Fn(i32)) {
    for _ in 0..ENDING.0 {
        let pids = left();
        if pids.is_empty() {
            return;
        }
        for pid in pids {
            end(pid);
            let flags = Some(WaitPidFlag::WNOHANG);
            if waitpid(Pid::from_raw(pid), flags) == Ok(WaitStatus::StillAlive) {
                std::thread::sleep(ENDING.1);
            }
        }
    }
}

/// Why nobody waits for a hook any longer.
enum Waited {
    Ended,
    Late(Duration),
    Abandoned,
}

fn wait(hook: &Hook, process: &OwnedFd, output: &mut Output, until: BorrowedFd<'_>) -> nix::Result<Waited> {
    let deadline = hook.timeout.map(|timeout| (timeout, Instant::now().checked_add(timeout)));
    loop {
        let timeout = match deadline {
            Some((timeout, Some(deadline))) => match deadline.saturating_duration_since(Instant::now()) {
                Duration::ZERO => return Ok(Waited::Late(timeout)),
                // Rounded up, so that nobody asks again too early; as long as the kernel can wait at most.
                left => PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX),
            },
            _ => PollTimeout::NONE,
        };
        let mut awaited = vec![
            PollFd::new(process.as_fd(), PollFlags::POLLIN),
            // Of interest is only that it is closed, which is always told.
            PollFd::new(until, PollFlags::empty()),
        ];
        awaited.extend(output.pipe.as_ref().map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)));
        match poll(&mut awaited, timeout) {
            Err(Errno::EINTR) => continue,
            answer => answer?,
        };
        let news: Vec<bool> = awaited.iter().map(|one| one.any().unwrap_or(true)).collect();
        match news.as_slice() {
            [true, ..] => return Ok(Waited::Ended),
            [_, true, ..] => return Ok(Waited::Abandoned),
            [_, _, true] => output.take(TOLD),
            _ => {}
        }
    }
}

/// What a hook says, the end of it.
struct Output {
    pipe: Option<File>,
    tail: Vec<u8>,
}

impl Output {
    /// Reads what there is, about as much as `most`, without waiting.
    fn take(&mut self, most: usize) {
        let Some(pipe) = &mut self.pipe else { return };
        let mut part = [0; TOLD];
        for _ in 0..=most / TOLD {
            match pipe.read(&mut part) {
                Ok(length @ 1..) => {
                    self.tail.extend_from_slice(part.get(..length).unwrap_or_default());
                    self.tail.drain(..self.tail.len().saturating_sub(TOLD));
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                _ => {
                    self.pipe = None;
                    return;
                }
            }
        }
    }
}

fn failure(hook: &Hook, how: &str, output: &Output) -> Error {
    // A report is text, and so are logs.
    let is_text = |character: char| !character.is_control() || "\n\t".contains(character);
    let said = String::from_utf8_lossy(&output.tail);
    let said = said.replace(|character| !is_text(character), "\u{fffd}");
    let reason = match said.trim() {
        "" => how.to_owned(),
        said => format!("{how}; it said: {said}"),
    };
    Error::failed(&hook.name, hook.path.to_string_lossy(), reason)
}

/// A file in memory: whatever its length, nobody waits for it to be read, and it may be opened again as /dev/stdin.
fn to_read(text: &[u8]) -> nix::Result<OwnedFd> {
    // linux/memfd.h. Linux 6.3, where the system may insist on it.
    const MFD_NOEXEC_SEAL: u32 = 0x8;
    let sealed = MFdFlags::MFD_CLOEXEC | MFdFlags::from_bits_retain(MFD_NOEXEC_SEAL);
    let file = match memfd_create(c"state", sealed) {
        Err(Errno::EINVAL) => memfd_create(c"state", MFdFlags::MFD_CLOEXEC),
        answer => answer,
    };
    let mut file = File::from(file?);
    let written = file.write_all(text).and_then(|()| file.rewind());
    written.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(Errno::EIO as i32)))?;
    Ok(file.into())
}

/// In the hook's process.
fn become_hook(
    hook: &Hook,
    stdin: &OwnedFd,
    output: &OwnedFd,
    parent: Pid,
    prepare: &dyn Fn() -> Result<()>,
) -> Result<Infallible> {
    let name = "standard streams";
    dup2_stdin(stdin).at("connect", name)?;
    dup2_stdout(output).at("connect", name)?;
    dup2_stderr(output).at("connect", name)?;
    signal::reset().at("reset", "signals")?;
    umask(Mode::from_bits_truncate(0o022));
    setsid().at("begin", "a session")?;
    // It does not outlive who waits for it, who may have been killed already.
    prctl::set_pdeathsig(Signal::SIGKILL).at("tie to its parent", &hook.name)?;
    if getppid() != parent {
        loment_sys::clone::exit_now(127);
    }
    fd::cloexec_from(3).at("mark for closing", "all descriptors")?;
    prepare()?;
    execve(&hook.path, &hook.args, &hook.env).at("execute", hook.path.to_string_lossy())
}
