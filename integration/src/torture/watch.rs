//! Watches every system call of a shim and of what it starts, and strikes at one of them: ptrace(2).
//!
//! A thread of its own is the tracer. When it ends, the kernel lets go of everybody whom it has watched.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use loment_sandbox::trace::Phase;
use nix::{
    errno::Errno,
    libc,
    sys::{
        ptrace::{self, Event, Options},
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use tokio::sync::Notify;

use super::{
    calls,
    phases::Phases,
    plan::{Course, Deed, Moment, Round, Victim},
};
use crate::gate::Gate;

/// Between two looks when nobody has stopped. ptrace has no descriptor that could be waited for together with a socket.
const PAUSE: Duration = Duration::from_micros(20);

/// Who is there beside those that are watched.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Others {
    pub(super) shim: Option<Pid>,
    pub(super) holder: Option<Pid>,
    pub(super) init: Option<Pid>,
    pub(super) containerd: Option<Pid>,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Struck {
    /// Who made the call, as in `shim 17`.
    pub(super) caller: String,
    /// The call.
    pub(super) call: String,
    /// The latest phase before it.
    pub(super) phase: Option<Phase>,
    /// Who was killed, or with what the call failed.
    pub(super) with: String,
    /// Those who were there to be killed.
    pub(super) killed: Vec<Pid>,
}

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) course: Course,
    pub(super) struck: Option<Struck>,
}

/// A watch that is kept.
#[derive(Debug)]
pub(super) struct Watch {
    thread: JoinHandle<Result<Seen>>,
    over: Arc<AtomicBool>,
    /// Told when the client is the victim.
    pub(super) hang_up: Arc<Notify>,
}

impl Watch {
    /// Begins to watch the shim that is there, and whoever comes to the gate. Without a round nothing is done.
    pub(super) fn begin(round: Option<Round>, others: Others) -> Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        let hang_up = Arc::new(Notify::new());
        let (ready, begun) = std::sync::mpsc::channel();
        let (end, hung_up) = (Arc::clone(&over), Arc::clone(&hang_up));
        let thread = thread::Builder::new().name("watch".to_owned());
        let thread = thread.spawn(move || {
            let mut watcher = Watcher::new(round, others, hung_up)?;
            // The other side has gone only with everything else.
            let _gone = ready.send(());
            watcher.run(&end)?;
            Ok(watcher.seen)
        });
        let thread = thread.context("start a thread that watches")?;
        // It ends without a word only with an error, which is told at the end.
        let _failed = begun.recv();
        Ok(Self { thread, over, hang_up })
    }

    /// Ends it.
    pub(super) fn end(self) -> Result<Seen> {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the thread that watches has panicked"))?
    }
}

/// What one of those that are watched is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// The shim's program on its way: `start`, `delete`, or another action.
    Action,
    /// A shim.
    Shim,
    /// What a shim or `delete` has made.
    Child,
}

impl Role {
    fn of_child(self) -> Self {
        match self {
            Self::Action => Self::Shim,
            Self::Shim | Self::Child => Self::Child,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Action => "start or delete",
            Self::Shim => "shim",
            Self::Child => "child",
        }
    }
}

#[derive(Debug)]
struct Watched {
    role: Role,
    /// What the call that it is in is to fail with.
    fails: Option<Errno>,
    is_inside: bool,
}

struct Watcher {
    round: Option<Round>,
    others: Others,
    hang_up: Arc<Notify>,
    gate: Gate,
    watched: BTreeMap<Pid, Watched>,
    phases: Option<Phases>,
    latest: Option<Phase>,
    /// A phase that is waited for was reached.
    is_due: bool,
    seen: Seen,
    is_done: bool,
}

impl Watcher {
    fn new(round: Option<Round>, others: Others, hang_up: Arc<Notify>) -> Result<Self> {
        let mut watcher = Self {
            round,
            others,
            hang_up,
            gate: Gate::open()?,
            watched: BTreeMap::new(),
            phases: others.shim.and_then(Phases::of),
            latest: None,
            is_due: false,
            seen: Seen::default(),
            is_done: false,
        };
        if let Some(shim) = others.shim {
            watcher.seize(shim, Role::Shim).context("watch the shim")?;
            // Its next call would go unseen until it is told to stop at it.
            ptrace::interrupt(shim).context("interrupt the shim")?;
        }
        Ok(watcher)
    }

    fn seize(&mut self, pid: Pid, role: Role) -> nix::Result<()> {
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEEXEC;
        ptrace::seize(pid, options)?;
        self.watched.insert(pid, Watched { role, fails: None, is_inside: false });
        Ok(())
    }

    fn run(&mut self, over: &AtomicBool) -> Result<()> {
        // Of other threads' children this one is not to hear.
        let wanted = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD | WaitPidFlag::WNOHANG;
        while !self.is_done && !over.load(Ordering::Relaxed) {
            match waitpid(None, Some(wanted)) {
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => {
                    self.admit();
                    thread::sleep(PAUSE);
                }
                Ok(status) => self.see(status),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error).context("wait for a stop"),
            }
        }
        Ok(())
    }

    /// Takes in who waits at the gate.
    fn admit(&mut self) {
        while let Some(waiting) = self.gate.waiting() {
            // One that is gone already is not there to be watched.
            if self.seize(waiting.pid, Role::Action).is_ok() && ptrace::interrupt(waiting.pid).is_ok() {
                // It stops first, and comes to the calls of the shim's program after that.
                let _gone = waitpid(waiting.pid, Some(WaitPidFlag::__WALL));
                let _gone = ptrace::syscall(waiting.pid, None);
            }
            waiting.pass();
        }
    }

    fn see(&mut self, status: WaitStatus) {
        let resumed = match status {
            WaitStatus::PtraceSyscall(pid) => {
                self.at_call(pid);
                if self.is_done {
                    return;
                }
                ptrace::syscall(pid, None)
            }
            WaitStatus::PtraceEvent(pid, _, event) => self.at_event(pid, event),
            WaitStatus::Stopped(pid, signal) => ptrace::syscall(pid, passed_on(signal)),
            WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..) => {
                self.watched.remove(&pid);
                Ok(())
            }
            _ => Ok(()),
        };
        // Who was killed meanwhile is reported by its end.
        let _gone = resumed;
    }

    fn at_event(&mut self, pid: Pid, event: i32) -> nix::Result<()> {
        let role = self.watched.get(&pid).map(|one| one.role);
        let is = |wanted: Event| event == wanted as i32;
        if is(Event::PTRACE_EVENT_FORK) || is(Event::PTRACE_EVENT_VFORK) || is(Event::PTRACE_EVENT_CLONE) {
            let child = Pid::from_raw(i32::try_from(ptrace::getevent(pid)?).unwrap_or_default());
            self.register(child, role.map_or(Role::Child, Role::of_child));
            if role == Some(Role::Action) {
                self.reach(Phase::Forked);
            }
        }
        if is(Event::PTRACE_EVENT_EXEC) {
            match role {
                Some(Role::Action) => self.reach(Phase::Invoked),
                // A program of the container's, or a helper's, is nobody to be watched.
                _ => {
                    self.watched.remove(&pid);
                    return ptrace::detach(pid, None);
                }
            }
        }
        ptrace::syscall(pid, None)
    }

    fn register(&mut self, child: Pid, role: Role) {
        self.watched.entry(child).or_insert(Watched { role, fails: None, is_inside: false }).role = role;
        if role == Role::Shim {
            self.others.shim = Some(child);
        }
    }

    fn at_call(&mut self, pid: Pid) {
        let Ok(registers) = ptrace::getregs(pid) else { return };
        // A child may stop for the first time before its parent tells of it.
        let one = self.watched.entry(pid).or_insert(Watched { role: Role::Child, fails: None, is_inside: false });
        one.is_inside = !one.is_inside;
        let (role, is_inside, fails) = (one.role, one.is_inside, one.fails.take());
        if let Some(error) = fails {
            self.answer(pid, registers, error);
            return;
        }
        self.look(pid, role);
        if !is_inside {
            // A socket that listens is there; the memory for phases is not.
            if role == Role::Shim && registers.orig_rax == libc::SYS_listen as u64 {
                self.reach(Phase::Bound);
            }
            return;
        }
        // The pipe to the process that is to stay is the first thing that is made of what was understood.
        if role == Role::Action && registers.orig_rax == libc::SYS_pipe2 as u64 {
            self.reach(Phase::Understood);
        }
        self.seen.course.calls += 1;
        let want = calls::want(pid, registers.orig_rax, [registers.rdi, registers.rsi]);
        self.seen.course.fallible += u64::from(want.is_some());
        if let Some(deed) = self.due(want.is_some()) {
            self.strike(pid, role, registers, deed, want);
        }
    }

    /// Learns which phases have been reached.
    fn look(&mut self, pid: Pid, role: Role) {
        if self.phases.is_none() && role == Role::Shim {
            self.phases = Phases::of(pid);
            // What was reached before there was memory has been seen; that it serves has not.
            if self.phases.is_some() {
                self.reach(Phase::Serving);
            }
        }
        let reached = self.phases.as_mut().map(Phases::look).unwrap_or_default();
        reached.into_iter().for_each(|phase| self.reach(phase));
    }

    fn reach(&mut self, phase: Phase) {
        self.latest = Some(phase);
        if !self.seen.course.phases.contains(&phase) {
            self.seen.course.phases.push(phase);
        }
        self.is_due |= self.round.is_some_and(|round| round.moment == Moment::Phase(phase));
    }

    /// What is to be done at this call.
    fn due(&self, may_fail: bool) -> Option<Deed> {
        let round = self.round?;
        let course = &self.seen.course;
        let is_now = match (round.moment, round.deed) {
            (Moment::Phase(_), _) => self.is_due,
            (Moment::Call(number), Deed::Fail) => may_fail && course.fallible == number,
            (Moment::Call(number), _) => course.calls == number,
        };
        is_now.then_some(round.deed)
    }

    fn strike(&mut self, pid: Pid, role: Role, mut registers: libc::user_regs_struct, deed: Deed, want: Option<Errno>) {
        let call = calls::name(registers.orig_rax);
        let (with, killed) = match (deed, want) {
            (Deed::Kill(victim), _) => {
                self.is_done = true;
                self.kill(victim, pid)
            }
            (Deed::Fail, Some(error)) => {
                // No call has this number: the kernel does nothing.
                registers.orig_rax = u64::MAX;
                let _gone = ptrace::setregs(pid, registers);
                if let Some(one) = self.watched.get_mut(&pid) {
                    one.fails = Some(error);
                }
                (error.to_string(), Vec::new())
            }
            (Deed::Fail, None) => return,
        };
        let caller = format!("{} {pid}", role.name());
        self.seen.struck = Some(Struck { caller, call, phase: self.latest, with, killed });
    }

    /// Gives the answer of a call that was not made, and ends the watch.
    fn answer(&mut self, pid: Pid, mut registers: libc::user_regs_struct, error: Errno) {
        registers.rax = (-i64::from(error as i32)).cast_unsigned();
        let _gone = ptrace::setregs(pid, registers);
        self.is_done = true;
    }

    /// Kills whoever is meant, or the caller where there is no such process yet. Says whom, and who of them
    /// was there.
    fn kill(&self, victim: Victim, caller: Pid) -> (String, Vec<Pid>) {
        let others = self.others;
        let youngest = self.watched.iter().filter(|(_, one)| one.role == Role::Child).map(|(pid, _)| *pid).max();
        let meant = match victim {
            Victim::Caller => vec![Some(caller)],
            Victim::Shim => vec![others.shim],
            Victim::Holder => vec![others.holder],
            Victim::Child => vec![youngest.or(others.init)],
            Victim::Containerd => vec![others.containerd],
            Victim::Both => vec![others.containerd, others.shim.or(Some(caller))],
            Victim::Client => {
                self.hang_up.notify_one();
                return ("the client".to_owned(), Vec::new());
            }
        };
        let (mut killed, mut words) = (Vec::new(), Vec::new());
        for pid in meant.into_iter().map(|pid| pid.unwrap_or(caller)) {
            match kill(pid, Signal::SIGKILL) {
                Ok(()) => {
                    killed.push(pid);
                    words.push(pid.to_string());
                }
                Err(error) => words.push(format!("{pid} ({error})")),
            }
        }
        (format!("{victim}: {}", words.join(", ")), killed)
    }
}

/// A signal of somebody's, not of the watch itself.
fn passed_on(signal: Signal) -> Option<Signal> {
    (signal != Signal::SIGTRAP).then_some(signal)
}
