//! Ending one container: its preStop hook, its turn, the stop signal, the end of its grace (the kubelet's killContainer).

use std::{fmt, time::Duration};

use super::time::Time;

/// What a container that was asked to end gets at least before it is killed (the kubelet's
/// minimumGracePeriodInSeconds).
const FINAL_WINDOW: Duration = Duration::from_secs(2);

/// Why a container is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// The pod is stopped.
    PodStopped,
    /// Its liveness probe failed.
    Liveness,
    /// Its startup probe failed.
    Startup,
    /// Its postStart hook failed.
    PostStartHook,
    /// It has another image now.
    Replaced,
    /// Every container of the pod is started again.
    RestartAll,
    /// The pod needs a new sandbox.
    SandboxChanged,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PodStopped => "the pod is stopped",
            Self::Liveness => "failed liveness probe",
            Self::Startup => "failed startup probe",
            Self::PostStartHook => "FailedPostStartHook",
            Self::Replaced => "definition changed",
            Self::RestartAll => "all containers are restarted",
            Self::SandboxChanged => "the pod needs a new sandbox",
        })
    }
}

/// A container's preStop hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hook {
    Runs,
    /// It has returned, or there is none to run.
    Done,
}

/// What is to be done about a container that is being ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// It is to get its stop signal.
    Signal,
    /// It is to be killed.
    Kill,
}

/// The end of a container under way.
#[derive(Debug, Clone)]
pub(super) struct Ending {
    why: Why,
    hook: Hook,
    /// Since when it waits for its hook or, once that has returned, for its turn.
    waits_since: Time,
    /// When it waits no longer.
    waits_until: Time,
    /// The end of its grace. Only whole seconds of waiting are taken off it.
    deadline: Time,
    signalled: Option<Time>,
    killed: bool,
}

impl Ending {
    /// Begins at `now`, to be over by `deadline`. `hook`: whether it has a preStop hook that runs from now on.
    pub(super) fn begin(why: Why, hook: bool, now: Time, deadline: Time) -> Self {
        let hook = if hook { Hook::Runs } else { Hook::Done };
        Self { why, hook, waits_since: now, waits_until: deadline, deadline, signalled: None, killed: false }
    }

    pub(super) fn why(&self) -> Why {
        self.why
    }

    pub(super) fn hook_runs(&self) -> bool {
        self.hook == Hook::Runs
    }

    /// Somebody else has asked it to end.
    pub(super) fn was_asked(&mut self, now: Time) {
        self.signalled.get_or_insert(now);
    }

    /// Somebody else has killed it.
    pub(super) fn was_killed(&mut self) {
        self.killed = true;
    }

    /// Its preStop hook has returned.
    pub(super) fn hook_done(&mut self, now: Time) {
        if self.hook == Hook::Runs {
            self.hook = Hook::Done;
            self.waited(now);
        }
    }

    /// A wait is over. The part of a second that it lasted longer is given back.
    fn waited(&mut self, now: Time) {
        let waited = now.since(self.waits_since);
        self.deadline = self.deadline + Duration::from_nanos(waited.subsec_nanos().into());
        self.waits_since = now;
    }

    /// The pod is stopped, which may take time away and never adds some.
    pub(super) fn shorten(&mut self, why: Why, deadline: Time) {
        self.why = why;
        self.waits_until = self.waits_until.min(deadline);
        self.deadline = self.deadline.min(deadline);
    }

    fn kill_at(&self, signalled: Time) -> Time {
        self.deadline.max(signalled + FINAL_WINDOW)
    }

    /// What is due at `now`, which counts as done. `turn`: whether nobody else has to end before.
    pub(super) fn due(&mut self, turn: bool, now: Time) -> Option<Due> {
        match self.signalled {
            _ if self.killed => None,
            Some(signalled) => (self.kill_at(signalled) <= now).then(|| {
                self.killed = true;
                Due::Kill
            }),
            None if now >= self.waits_until => {
                self.signalled = Some(now);
                Some(Due::Signal)
            }
            None if turn && self.hook == Hook::Done => {
                self.waited(now);
                self.signalled = Some(now);
                Some(Due::Signal)
            }
            None => None,
        }
    }

    /// When something is due that only time brings about.
    pub(super) fn next(&self) -> Option<Time> {
        match self.signalled {
            _ if self.killed => None,
            Some(signalled) => Some(self.kill_at(signalled)),
            None => Some(self.waits_until),
        }
    }
}

/// What the event says of a container that is ended.
pub(super) fn message(name: &str, why: Why, again: bool) -> String {
    match (why, again) {
        (Why::PodStopped, _) => format!("Stopping container {name}"),
        (_, true) => format!("Container {name} {why}, will be restarted"),
        (_, false) => format!("Container {name} {why}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Due, Ending, Time, Why};

    fn at(millis: u64) -> Time {
        Time::from_nanos(millis * 1_000_000)
    }

    /// Grace, when the hook returns and when its turn comes, and when it is signalled and killed. Milliseconds.
    fn life(grace: u64, hook: Option<u64>, turn: u64) -> (u64, u64) {
        let mut ending = Ending::begin(Why::PodStopped, hook.is_some(), at(0), at(0) + Duration::from_millis(grace));
        let (mut signalled, mut now) = (None, 0);
        loop {
            if hook == Some(now) {
                ending.hook_done(at(now));
            }
            match ending.due(turn <= now, at(now)) {
                Some(Due::Signal) => signalled = Some(now),
                Some(Due::Kill) => return (signalled.unwrap(), now),
                None => now += 100,
            }
        }
    }

    #[test]
    fn a4_without_a_hook_the_grace_begins_at_once_and_is_two_seconds_at_least() {
        assert_eq!(life(30_000, None, 0), (0, 30_000));
        assert_eq!(life(1_000, None, 0), (0, 2_000));
        assert_eq!(life(0, None, 0), (0, 2_000));
    }

    #[test]
    fn a3_whole_seconds_of_the_hook_are_deducted() {
        assert_eq!(life(30_000, Some(4_000), 0), (4_000, 30_000));
        assert_eq!(life(30_000, Some(4_900), 0), (4_900, 30_900));
        assert_eq!(life(30_000, Some(900), 0), (900, 30_900));
    }

    #[test]
    fn s9_a_wait_for_a_turn_is_deducted_in_whole_seconds_too_and_ends_with_the_budget() {
        assert_eq!(life(30_000, None, 5_500), (5_500, 30_500));
        assert_eq!(life(30_000, Some(1_700), 3_200), (3_200, 31_200), "1 s and 1 s are taken off");
        assert_eq!(life(30_000, Some(900), 60_000), (30_000, 32_000));
        assert_eq!(life(30_000, Some(90_000), 0), (30_000, 32_000), "a hook that does not return is not waited for");
    }
}
