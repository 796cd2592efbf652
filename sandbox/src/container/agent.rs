//! Who answers for the system calls that a seccomp profile notifies: the agent behind `linux.seccomp.listenerPath`.
//!
//! Every process with the profile has a filter, and so a listener, of its own, and for each one connection is made, one
//! message sent (the specification's container process state) and the connection closed. The connection is made before
//! the process is, so that an agent that is missing is an error of Create; the message follows when the filter has been
//! loaded. Nothing here waits: what is not ready is looked for again when a timer says so.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use loment_sys::{pidfd, socket};
use nix::{
    errno::Errno,
    libc::SIGKILL,
    poll::PollTimeout,
    sys::{
        socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket as open_socket},
        time::TimeSpec,
        timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
    },
};
use oci_spec::runtime::{
    ContainerProcessState, ContainerProcessStateBuilder, ContainerState, LinuxSeccomp, SECCOMP_FD_NAME, Spec,
};

use crate::{
    Error, OCI_VERSION, Result,
    channel::ParentEnd,
    error::Context,
    listener::Place,
    ready::{self, is_ready},
    seccomp::Filter,
    state::Known,
};

const FIELD: &str = "linux.seccomp.listenerPath";
/// First and longest pause between two looks.
const PAUSE: (Duration, Duration) = (Duration::from_micros(100), Duration::from_millis(20));
/// How long an agent may read nothing of its message, if that is longer than what the kernel keeps for it.
const PATIENCE: Duration = Duration::from_secs(5);

/// An agent, and what it is told about the container.
#[derive(Debug)]
pub(super) struct Agent {
    path: PathBuf,
    metadata: Option<String>,
    known: Known,
}

/// A connection to an agent that has not been told anything yet.
#[derive(Debug)]
pub(super) struct Call {
    socket: OwnedFd,
    /// Where the child says its listener's number.
    pub(super) place: Arc<Place>,
}

impl Agent {
    /// The agent that a profile needs: none if its filter has no listener. Then a path says nothing, as the
    /// specification has it.
    pub(super) fn of(spec: &Spec, filter: Option<&Filter>, id: &str, bundle: &Path) -> Result<Option<Arc<Self>>> {
        let profile = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
        let Some(profile) = profile else { return Ok(None) };
        let path = path(profile)?;
        match path {
            _ if !filter.is_some_and(Filter::wants_listener) => Ok(None),
            None => {
                Err(Error::invalid(FIELD, "", "is missing: the profile has SCMP_ACT_NOTIFY, and nobody would answer"))
            }
            Some(path) => Ok(Some(Arc::new(Self {
                path: path.to_owned(),
                metadata: profile.listener_metadata().clone(),
                known: Known::of(spec, id, bundle),
            }))),
        }
    }

    /// Connects. The path is the host's, so this is for the parent.
    pub(super) fn call(&self) -> Result<Call> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = open_socket(AddressFamily::Unix, SockType::Stream, flags, None).at("make", "a socket")?;
        let connected = UnixAddr::new(&self.path).and_then(|to| connect(std::os::fd::AsRawFd::as_raw_fd(&socket), &to));
        connected.map_err(|errno| {
            let error = Error::os(format!("{FIELD}: connect to the seccomp agent at"), self.path.display(), errno);
            match errno {
                Errno::ENOENT | Errno::ECONNREFUSED => error.hint("is the agent running on this machine?"),
                Errno::EAGAIN => error.hint("it accepts no connections; try again"),
                Errno::EPROTOTYPE => error.hint("it must be a stream socket"),
                _ => error,
            }
        })?;
        Ok(Call { socket, place: Arc::new(Place::new()?) })
    }

    /// What the agent is told of a process: `pid` of the process and `init` of its container, as the runtime sees them.
    fn message(&self, pid: i32, init: i32) -> Result<Vec<u8>> {
        let cannot = || Error::invalid("the state for", self.path.display(), "cannot be written as JSON");
        let status = if pid == init { ContainerState::Created } else { ContainerState::Running };
        let state = self.known.state(status, Some(init));
        let told = ContainerProcessStateBuilder::default().version(OCI_VERSION).pid(pid).state(state);
        let mut told: ContainerProcessState = told.fds([SECCOMP_FD_NAME.to_owned()]).build().map_err(|_| cannot())?;
        told.set_metadata(self.metadata.clone());
        serde_json::to_vec(&told).map_err(|_| cannot())
    }
}

/// `listenerPath`, checked.
fn path(profile: &LinuxSeccomp) -> Result<Option<&Path>> {
    let path = profile.listener_path().as_deref().filter(|path| !path.as_os_str().is_empty());
    match path {
        Some(path) if !path.is_absolute() => Err(Error::invalid(FIELD, path.display(), "is not an absolute path")),
        None if profile.listener_metadata().as_ref().is_some_and(|metadata| !metadata.is_empty()) => {
            Err(Error::invalid("linux.seccomp.listenerMetadata", "", "is for an agent, and listenerPath names none"))
        }
        path => Ok(path),
    }
}

/// The listener of one process on its way to the agent. Readable (as a descriptor) when it is time to look again.
/// Dropping it before its end kills the process: its calls would wait for nobody.
#[derive(Debug)]
pub(super) struct HandOver {
    call: Call,
    /// For messages.
    agent: Arc<Agent>,
    process: OwnedFd,
    message: Vec<u8>,
    sent: usize,
    listener: Option<OwnedFd>,
    timer: TimerFd,
    pause: Duration,
    deadline: Option<Instant>,
    over: bool,
}

impl HandOver {
    /// Of the process with this pid and pidfd, which has been let go.
    pub(super) fn begin(call: Call, agent: &Arc<Agent>, (pid, process): (i32, OwnedFd), init: i32) -> Result<Self> {
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags).at("make", "a timer")?;
        let handover = Self {
            call,
            agent: Arc::clone(agent),
            process,
            message: agent.message(pid, init)?,
            sent: 0,
            listener: None,
            timer,
            pause: PAUSE.0,
            deadline: None,
            over: false,
        };
        handover.look_again()?;
        Ok(handover)
    }

    /// Takes a look; true when there is nothing left to do, because the agent has the listener or because `channel` has
    /// news of another end. Waits until it is time to look.
    pub(super) fn advance(&mut self, channel: &ParentEnd) -> Result<bool> {
        ready::wait([self.as_fd()], PollTimeout::NONE).at("wait for", "a timer")?;
        if self.listener.is_none() {
            self.take()?;
        }
        if self.listener.is_some() && self.send()? {
            self.call.place.taken();
            self.over = true;
        } else if self.listener.is_none() && is_ready(channel.as_fd()) {
            // It has failed before its filter was loaded, or it was killed.
            self.over = true;
        } else {
            self.pause = (self.pause * 2).min(PAUSE.1);
            self.look_again()?;
        }
        Ok(self.over)
    }

    /// A copy of the child's listener, as soon as it has one.
    fn take(&mut self) -> Result<()> {
        let Some(number) = self.call.place.offered() else { return Ok(()) };
        match pidfd::get_fd(self.process.as_fd(), number) {
            Ok(listener) => {
                self.listener = Some(listener);
                self.deadline = Some(Instant::now() + PATIENCE);
                self.pause = PAUSE.0;
                Ok(())
            }
            // It was killed at this very moment.
            Err(Errno::ESRCH | Errno::EBADF) => Ok(()),
            Err(errno) => Err(Error::os("take the seccomp listener of", "the container's process", errno)
                .hint("the runtime needs CAP_SYS_PTRACE for it")),
        }
    }

    /// Sends as much as the agent takes; whether that was all.
    fn send(&mut self) -> Result<bool> {
        while let Some(rest) = self.message.get(self.sent..).filter(|rest| !rest.is_empty()) {
            // With its first byte goes the descriptor.
            let listener = self.listener.as_ref().filter(|_| self.sent == 0).map(AsFd::as_fd);
            match socket::send(self.call.socket.as_fd(), rest, listener) {
                Ok(count) => {
                    self.sent += count;
                    self.deadline = Some(Instant::now() + PATIENCE);
                }
                Err(Errno::EAGAIN) if self.deadline.is_none_or(|deadline| Instant::now() < deadline) => {
                    return Ok(false);
                }
                Err(errno) => {
                    return Err(Error::os("send the seccomp listener to", self.agent.path.display(), errno)
                        .hint("without its agent the process cannot run"));
                }
            }
        }
        Ok(true)
    }

    fn look_again(&self) -> Result<()> {
        let next = Expiration::OneShot(TimeSpec::from_duration(self.pause));
        self.timer.set(next, TimerSetTimeFlags::empty()).at("set", "a timer")
    }
}

impl AsFd for HandOver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

impl Drop for HandOver {
    fn drop(&mut self) {
        if !self.over {
            // An error means that it is gone.
            let _ = pidfd::send_signal(self.process.as_fd(), SIGKILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(seccomp: serde_json::Value) -> Result<Option<PathBuf>> {
        let profile: LinuxSeccomp = serde_json::from_value(seccomp).unwrap();
        path(&profile).map(|path| path.map(Path::to_owned))
    }

    #[test]
    fn the_path_of_an_agent_is_absolute_and_nobody_else_is_told_anything() {
        let profile = |path: &str, metadata: &str| {
            check(json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path, "listenerMetadata": metadata}))
        };
        assert_eq!(profile("/run/agent.sock", "x").unwrap(), Some("/run/agent.sock".into()));
        assert_eq!(profile("", "").unwrap(), None);
        assert!(profile("agent.sock", "").unwrap_err().to_string().contains("linux.seccomp.listenerPath agent.sock"));
        assert!(profile("", "x").unwrap_err().to_string().contains("linux.seccomp.listenerMetadata"));
    }

    #[test]
    fn an_agent_is_told_the_process_and_the_state_of_its_container() {
        let spec = serde_json::from_value(json!({"ociVersion": OCI_VERSION, "annotations": {"k": "v"}})).unwrap();
        let agent =
            Agent { path: "/a".into(), metadata: Some("m".into()), known: Known::of(&spec, "web", Path::new("/b")) };
        let told: serde_json::Value = serde_json::from_slice(&agent.message(8, 7).unwrap()).unwrap();
        let state = json!({"ociVersion": OCI_VERSION, "id": "web", "status": "running", "pid": 7, "bundle": "/b",
            "annotations": {"k": "v"}});
        let expected =
            json!({"ociVersion": OCI_VERSION, "fds": ["seccompFd"], "pid": 8, "metadata": "m", "state": state});
        assert_eq!(told, expected);
    }
}
