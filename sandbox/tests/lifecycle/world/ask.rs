//! What a test asks of the world.

use loment_sandbox::lifecycle::{
    Action, ContainerId, Entry, HookKind, Moment, Phase, ProbeKind, Time, status::PodStatus,
};

use super::{Process, World, wall};

impl World {
    pub(crate) fn running(&self) -> Vec<&str> {
        let all = self.machine.spec().all().zip(&self.seen);
        all.filter(|(_, seen)| seen.process == Process::Running).map(|((_, spec), _)| spec.name.as_str()).collect()
    }

    pub(crate) fn name(&self, id: ContainerId) -> &str {
        &self.machine.spec().container(id).unwrap().name
    }

    fn at(&self, time: Time) -> u64 {
        (time - Time::from_nanos(1_000_000_000)).as_secs()
    }

    /// Every opening of a gate: second and name.
    pub(crate) fn opens(&self) -> Vec<(u64, &str)> {
        let open = |(time, action): &(Time, Action)| match action {
            Action::Open { container, .. } => Some((self.at(*time), self.name(*container))),
            _ => None,
        };
        self.trace.iter().filter_map(open).collect()
    }

    /// Every signal: second, name and number.
    pub(crate) fn signals(&self) -> Vec<(u64, &str, i32)> {
        let signal = |(time, action): &(Time, Action)| match action {
            Action::Signal { container, signal } => Some((self.at(*time), self.name(*container), *signal)),
            _ => None,
        };
        self.trace.iter().filter_map(signal).collect()
    }

    /// Every report: name and code.
    pub(crate) fn reports(&self) -> Vec<(&str, u32)> {
        let report = |(_, action): &(Time, Action)| match action {
            Action::Report { container, code } => Some((self.name(*container), *code)),
            _ => None,
        };
        self.trace.iter().filter_map(report).collect()
    }

    pub(crate) fn discarded(&self) -> Vec<&str> {
        let discard = |(_, action): &(Time, Action)| match action {
            Action::Discard { container } => Some(self.name(*container)),
            _ => None,
        };
        self.trace.iter().filter_map(discard).collect()
    }

    pub(crate) fn phase(&self) -> Phase {
        self.machine.phase()
    }

    pub(crate) fn status(&self) -> PodStatus {
        self.machine.status(&wall)
    }

    /// The status as JSON, for tests that look at single fields.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::to_value(self.status()).unwrap()
    }

    /// Every hook that was begun: second, name and which.
    pub(crate) fn hooks(&self) -> Vec<(u64, &str, HookKind)> {
        let hook = |(time, action): &(Time, Action)| match action {
            Action::RunHook { container, hook, .. } => Some((self.at(*time), self.name(*container), *hook)),
            _ => None,
        };
        self.trace.iter().filter_map(hook).collect()
    }

    /// The seconds at which a container was probed.
    pub(crate) fn probes(&self, name: &str, kind: ProbeKind) -> Vec<u64> {
        let id = self.id(name);
        let probe = |(time, action): &(Time, Action)| match action {
            Action::Probe { container, probe, .. } if (*container, *probe) == (id, kind) => Some(self.at(*time)),
            _ => None,
        };
        self.trace.iter().filter_map(probe).collect()
    }

    /// Successors that took over, and those that were thrown away.
    pub(crate) fn successors(&self) -> (Vec<&str>, Vec<&str>) {
        let of = |wanted: fn(&Action) -> Option<ContainerId>| {
            self.trace.iter().filter_map(|(_, action)| wanted(action)).map(|id| self.name(id)).collect()
        };
        let adopted = of(|action| match action {
            Action::Adopt { container, .. } => Some(*container),
            _ => None,
        });
        let dismissed = of(|action| match action {
            Action::Dismiss { container, .. } => Some(*container),
            _ => None,
        });
        (adopted, dismissed)
    }

    /// What happened, as the host was told.
    pub(crate) fn timeline(&self) -> impl Iterator<Item = &Entry> {
        self.trace.iter().filter_map(|(_, action)| match action {
            Action::Record(entry) => Some(entry),
            _ => None,
        })
    }

    /// Second, reason and message of every entry with one of these reasons.
    pub(crate) fn told(&self, reasons: &[&str]) -> Vec<(u64, String)> {
        let told = |what: &Moment| reasons.contains(&what.reason());
        let entries = self.timeline().filter(|entry| told(&entry.what));
        entries.map(|entry| (self.at(entry.at), format!("{} {}", entry.what.reason(), entry.what))).collect()
    }
}
