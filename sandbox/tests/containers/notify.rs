//! Seccomp profiles that ask an agent, or nobody.

use std::{
    fs,
    io::{ErrorKind, Read},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::PathBuf,
};

use loment_sandbox::{
    Error,
    container::{Container, Executing, Starting},
    process::Process,
};
use loment_sys::agent::{self, Answer, Notification};
use nix::{
    errno::Errno,
    libc::{SIGILL, SIGKILL},
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use serde_json::{Value, json};

use crate::support::*;

pub(crate) const TESTS: &[(&str, fn())] = tests![
    a_call_of_init_is_answered_by_the_agent,
    the_agent_may_be_asked_about_every_call_on_the_way_to_the_program,
    an_exec_has_a_listener_of_its_own,
    what_the_agent_is_told_fits_however_long_it_is,
    an_agent_that_is_missing_is_told_at_create,
    an_exec_without_its_agent_is_refused_and_harms_nobody,
    without_its_agent_no_program_runs,
    a_process_that_dies_before_its_filter_is_loaded_keeps_nobody_waiting,
    a_start_that_is_dropped_leaves_no_process_that_waits,
    a_path_that_nobody_needs_is_not_used,
    a_profile_that_asks_nobody_in_particular_is_refused,
    a_program_with_one_thread_ends_with_it,
    a_process_can_end_without_a_system_call,
];

const METADATA: &str = "opaque, \"quoted\"";

/// An agent that answers as it is told to.
struct Agent {
    socket: UnixListener,
    path: PathBuf,
    /// Who has not said anything yet.
    callers: Vec<UnixStream>,
    /// What it was told, with the listeners.
    told: Vec<(Value, OwnedFd)>,
    /// Calls that it was asked about.
    asked: Vec<Notification>,
    answer: fn(&Notification) -> Answer,
}

impl Agent {
    fn new(bundle: &mut Bundle, answer: fn(&Notification) -> Answer, calls: &[&str]) -> Self {
        let path = bundle.path.join("agent.sock");
        let socket = UnixListener::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        bundle.spec["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "listenerPath": path, "listenerMetadata": METADATA,
            "syscalls": [{"names": calls, "action": "SCMP_ACT_NOTIFY"}]
        });
        Self { socket, path, callers: Vec::new(), told: Vec::new(), asked: Vec::new(), answer }
    }

    /// Everything that can be done without waiting.
    fn work(&mut self) {
        match self.socket.accept() {
            Ok((connection, _)) => self.callers.push(connection),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        let ready = self.callers.extract_if(.., |caller| is_ready(caller.as_fd()));
        self.told.extend(ready.map(read_state));
        for (_, listener) in &self.told {
            if is_ready(listener.as_fd()) {
                match agent::receive(listener.as_fd()) {
                    Ok(asked) => {
                        self.asked.push(asked);
                        let _ = agent::answer(listener.as_fd(), &asked, (self.answer)(&asked));
                    }
                    Err(Errno::ENOENT) => {}
                    Err(errno) => panic!("{errno}"),
                }
            }
        }
    }

    /// Works until `fd` is readable.
    fn work_until(&mut self, fd: BorrowedFd<'_>) {
        loop {
            let mut all = vec![PollFd::new(fd, PollFlags::POLLIN), PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            let live = |listener: &&OwnedFd| !has_hung_up(listener.as_fd());
            let listeners: Vec<_> = self.told.iter().map(|(_, listener)| listener).filter(live).collect();
            all.extend(self.callers.iter().map(|caller| PollFd::new(caller.as_fd(), PollFlags::POLLIN)));
            all.extend(listeners.iter().map(|listener| PollFd::new(listener.as_fd(), PollFlags::POLLIN)));
            poll(&mut all, PollTimeout::NONE).unwrap();
            if all[0].any().unwrap() {
                return;
            }
            drop(all);
            drop(listeners);
            self.work();
        }
    }

    fn start(&mut self, container: &mut Container) -> Result<(), Error> {
        let mut starting: Starting = container.start()?;
        loop {
            self.work_until(starting.as_fd());
            if starting.advance()? {
                return Ok(());
            }
        }
    }

    fn exec(&mut self, mut executing: Executing) -> Result<Process, Error> {
        loop {
            self.work_until(executing.as_fd());
            if executing.advance()? {
                return Ok(executing.finish()?.0);
            }
        }
    }

    /// Runs a bundle to its end and deletes it; answers with its output.
    fn run(&mut self, bundle: &Bundle) -> (i32, String) {
        let (io, output) = output();
        let mut container = bundle.create(io).unwrap_or_else(|error| panic!("{error}"));
        let pid = container.init().pid();
        self.start(&mut container).unwrap_or_else(|error| panic!("{error}"));
        self.work_until(container.init().as_fd());
        wait(container.init_mut());
        container.delete().unwrap();
        (pid, read(output))
    }
}

/// Listens for calls and refuses them with an errno that nobody else would give.
fn refuse(_: &Notification) -> Answer {
    Answer::Error(Errno::EXDEV as i32)
}

fn allow(_: &Notification) -> Answer {
    Answer::Continue
}

/// One state and one descriptor.
fn read_state(mut connection: UnixStream) -> (Value, OwnedFd) {
    connection.set_nonblocking(false).unwrap();
    let mut text = vec![0; 16 << 10];
    let (length, listener) = loment_sys::socket::receive(connection.as_fd(), &mut text).unwrap();
    text.truncate(length);
    // What is longer than the buffer comes with the next reads, and so does the end.
    while !text.ends_with(b"}") || serde_json::from_slice::<Value>(&text).is_err() {
        let mut more = [0; 4096];
        let length = connection.read(&mut more).unwrap();
        assert_ne!(length, 0, "{}", String::from_utf8_lossy(&text));
        text.extend_from_slice(&more[..length]);
    }
    (serde_json::from_slice(&text).unwrap(), listener.expect("a listener"))
}

fn events(fd: BorrowedFd<'_>) -> PollFlags {
    let mut fd = [PollFd::new(fd, PollFlags::POLLIN)];
    poll(&mut fd, PollTimeout::ZERO).unwrap();
    fd[0].revents().unwrap()
}

fn is_ready(fd: BorrowedFd<'_>) -> bool {
    events(fd).contains(PollFlags::POLLIN)
}

fn has_hung_up(fd: BorrowedFd<'_>) -> bool {
    events(fd).contains(PollFlags::POLLHUP)
}

const MKDIR: &[&str] = &["mkdir", "mkdirat"];

fn a_call_of_init_is_answered_by_the_agent() {
    for (no_new_privileges, uid) in [(true, 0), (true, 1000), (false, 0), (false, 1000)] {
        let mut bundle = Bundle::new("mkdir /tmp/made; ls /proc/self/fd; id -u; grep Seccomp: /proc/self/status");
        bundle.spec["process"]["noNewPrivileges"] = json!(no_new_privileges);
        bundle.spec["process"]["user"]["uid"] = json!(uid);
        bundle.spec["annotations"] = json!({"a.b/c": "d"});
        let mut agent = Agent::new(&mut bundle, refuse, MKDIR);
        let (pid, text) = agent.run(&bundle);
        let expected = format!(
            "mkdir: can't create directory '/tmp/made': Invalid cross-device link\n0\n1\n2\n3\n{uid}\nSeccomp:\t2\n"
        );
        assert_eq!(text, expected);
        assert_eq!((agent.told.len(), agent.asked.len()), (1, 1));
        let state = json!({"ociVersion": "1.2.0", "id": bundle.id, "status": "created", "pid": pid,
            "bundle": bundle.path, "annotations": {"a.b/c": "d"}});
        let told = json!({"ociVersion": "1.2.0", "fds": ["seccompFd"], "pid": pid, "metadata": METADATA,
            "state": state});
        assert_eq!(agent.told[0].0, told);
    }
}

fn the_agent_may_be_asked_about_every_call_on_the_way_to_the_program() {
    let calls = [
        "execve",
        "sendmsg",
        "sendto",
        "recvmsg",
        "close",
        "close_range",
        "fcntl",
        "mmap",
        "munmap",
        "brk",
        "prctl",
        "capset",
        "setuid",
        "setresuid",
        "setgroups",
        "setresgid",
        "stat",
        "newfstatat",
        "faccessat",
        "faccessat2",
        "openat",
        "openat2",
        "read",
        "poll",
        "sched_yield",
        "nanosleep",
        "clock_nanosleep",
        "futex",
        "rt_sigprocmask",
        "umask",
        "exit_group",
    ];
    for no_new_privileges in [true, false] {
        let mut bundle = Bundle::new("echo ran");
        bundle.spec["process"]["noNewPrivileges"] = json!(no_new_privileges);
        bundle.spec["process"]["user"]["uid"] = json!(1000);
        let mut agent = Agent::new(&mut bundle, allow, &calls);
        assert_eq!(agent.run(&bundle).1, "ran\n");
        assert!(agent.asked.iter().any(|asked| i64::from(asked.call) == nix::libc::SYS_execve), "{:?}", agent.asked);
    }
}

fn an_exec_has_a_listener_of_its_own() {
    let mut bundle = Bundle::new("sleep 100");
    let mut agent = Agent::new(&mut bundle, refuse, MKDIR);
    let mut running = Running(bundle.create(no_io()).unwrap());
    agent.start(&mut running.0).unwrap();
    for turn in 1..=2 {
        let (io, output) = output();
        let process = json!({"args": ["mkdir", "/tmp/made"], "cwd": "/", "user": {}, "env": [PATH]});
        let executing = running.0.exec(&serde_json::from_value(process).unwrap(), io).unwrap();
        let mut process = agent.exec(executing).unwrap();
        agent.work_until(process.as_fd());
        assert_eq!(wait(&mut process).code, 1);
        assert!(read(output).contains("Invalid cross-device link"));
        let told = &agent.told[turn].0;
        assert_eq!((&told["pid"], &told["state"]["pid"]), (&json!(process.pid()), &json!(running.0.init().pid())));
        assert_eq!((&told["state"]["status"], &told["state"]["id"]), (&json!("running"), &json!(bundle.id)));
        assert_eq!(agent.asked.len(), turn);
    }
}

fn what_the_agent_is_told_fits_however_long_it_is() {
    let mut bundle = Bundle::new("mkdir /tmp/made");
    let long = "x".repeat(3 << 20);
    bundle.spec["annotations"] = json!({"long": long});
    let mut agent = Agent::new(&mut bundle, refuse, MKDIR);
    let (io, output) = output();
    let mut container = bundle.create(io).unwrap();
    let mut starting = container.start().unwrap();
    // It does not wait for an agent that does not read.
    for _ in 0..10 {
        assert!(!starting.advance().unwrap());
    }
    assert!(agent.told.is_empty() && container.init_mut().try_wait().unwrap().is_none());
    // Only another process can read while this one sends.
    let (connection, _) = agent.socket.accept().unwrap();
    connection.set_nonblocking(true).unwrap();
    let mut text = vec![0; 64 << 10];
    let (length, listener) = loment_sys::socket::receive(connection.as_fd(), &mut text).unwrap();
    text.truncate(length);
    while !text.ends_with(b"}") || serde_json::from_slice::<Value>(&text).is_err() {
        let mut more = [0; 64 << 10];
        match nix::unistd::read(&connection, &mut more) {
            Ok(length) => text.extend_from_slice(&more[..length]),
            Err(errno) => {
                assert_eq!(errno, Errno::EAGAIN);
                assert!(!starting.advance().unwrap());
            }
        }
    }
    let told: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(told["state"]["annotations"]["long"], json!(long));
    agent.told.push((told, listener.unwrap()));
    loop {
        agent.work_until(starting.as_fd());
        if starting.advance().unwrap() {
            break;
        }
    }
    drop(starting);
    agent.work_until(container.init().as_fd());
    container.delete().unwrap();
    assert!(read(output).contains("Invalid cross-device link"));
    assert_eq!(nix::unistd::read(&connection, &mut [0; 8]), Ok(0), "one state for each connection");
}

fn an_agent_that_is_missing_is_told_at_create() {
    let mut bundle = Bundle::new("true");
    let agent = Agent::new(&mut bundle, refuse, MKDIR);
    let path = agent.path.clone();
    drop(agent);
    let error = bundle.refused();
    let expected = format!(
        "linux.seccomp.listenerPath: connect to the seccomp agent at {}: Connection refused (is the agent running",
        path.display()
    );
    assert!(error.starts_with(&expected), "{error}");
    fs::remove_file(&path).unwrap();
    assert!(bundle.refused().contains("No such file or directory (is the agent running"));
    let datagrams = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    assert!(bundle.refused().contains("it must be a stream socket"));
    drop(datagrams);
    fs::remove_file(&path).unwrap();
    bundle.spec["linux"]["seccomp"]["listenerPath"] = json!(format!("/{}", "long/".repeat(100)));
    assert!(bundle.refused().contains("linux.seccomp.listenerPath"));
}

fn an_exec_without_its_agent_is_refused_and_harms_nobody() {
    let mut bundle = Bundle::new("sleep 100");
    let mut agent = Agent::new(&mut bundle, refuse, MKDIR);
    let mut running = Running(bundle.create(no_io()).unwrap());
    agent.start(&mut running.0).unwrap();
    drop(agent);
    let process = serde_json::from_value(json!({"args": ["true"], "cwd": "/", "user": {}, "env": [PATH]})).unwrap();
    let error = running.0.exec(&process, no_io()).unwrap_err().to_string();
    assert!(error.contains("is the agent running"), "{error}");
    assert_eq!(running.0.cgroup().pids().unwrap(), [running.0.init().pid()]);
}

fn without_its_agent_no_program_runs() {
    let mut bundle = Bundle::new("echo ran > /tmp/ran");
    let agent = Agent::new(&mut bundle, refuse, MKDIR);
    let mut container = bundle.create(no_io()).unwrap();
    // It goes between Create and Start.
    drop(agent);
    let error = container.start().unwrap().finish().unwrap_err().to_string();
    assert!(error.contains("send the seccomp listener to") && error.contains("Broken pipe"), "{error}");
    assert_eq!(wait(container.init_mut()).code, 128 + SIGKILL as u32);
    container.delete().unwrap();
    assert!(!exists(bundle.rootfs().join("tmp/ran")));
}

fn a_process_that_dies_before_its_filter_is_loaded_keeps_nobody_waiting() {
    let mut bundle = Bundle::new("true");
    let mut agent = Agent::new(&mut bundle, refuse, MKDIR);
    let mut container = bundle.create(no_io()).unwrap();
    container.init().signal(SIGKILL).unwrap();
    poll(&mut [PollFd::new(container.init().as_fd(), PollFlags::POLLIN)], PollTimeout::NONE).unwrap();
    agent.start(&mut container).unwrap();
    assert_eq!(wait(container.init_mut()).code, 128 + SIGKILL as u32);
    container.delete().unwrap();
    drop(agent);
}

fn a_start_that_is_dropped_leaves_no_process_that_waits() {
    let mut bundle = Bundle::new("true");
    let agent = Agent::new(&mut bundle, refuse, MKDIR);
    let mut container = bundle.create(no_io()).unwrap();
    drop(container.start().unwrap());
    assert_eq!(wait(container.init_mut()).code, 128 + SIGKILL as u32);
    container.delete().unwrap();
    drop(agent);
}

fn a_path_that_nobody_needs_is_not_used() {
    let mut bundle = Bundle::new("true");
    bundle.spec["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/no/agent",
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]});
    bundle.output();
}

fn a_profile_that_asks_nobody_in_particular_is_refused() {
    let mut bundle = Bundle::new("true");
    let asks = json!([{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]);
    bundle.spec["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": asks});
    assert!(bundle.refused().starts_with("linux.seccomp.listenerPath: is missing"), "{}", bundle.refused());
    bundle.spec["linux"]["seccomp"]["listenerPath"] = json!("agent.sock");
    assert!(bundle.refused().contains("agent.sock: is not an absolute path"));
}

fn a_program_with_one_thread_ends_with_it() {
    for action in ["SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"] {
        let mut bundle = Bundle::new("mkdir /tmp/made");
        bundle.spec["process"]["args"] = json!(["/bin/mkdir", "/tmp/made"]);
        bundle.spec["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": MKDIR, "action": action}]});
        assert_eq!(bundle.run().0, 128 + nix::libc::SIGSYS as u32, "{action}");
        assert!(!exists(bundle.rootfs().join("tmp/made")));
    }
}

/// What a child does whose parent has died, for it may not be able to exit. As pid 1 it ignores most signals.
fn a_process_can_end_without_a_system_call() {
    for namespaces in [0, nix::libc::CLONE_NEWPID as u64] {
        let (_, pidfd) = loment_sys::clone::clone3(namespaces, None, || loment_sys::shared::trap()).unwrap();
        poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE).unwrap();
        let ending = loment_sys::pidfd::try_wait(pidfd.as_fd(), true).unwrap();
        assert_eq!(ending, Some(loment_sys::pidfd::Ending::Signaled(SIGILL)));
    }
}
