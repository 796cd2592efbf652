//! When each phase of a start came.
//!
//! Every process that takes part in a start notes the time when it has done something, in memory that it shares with the
//! others: a store and a look at the clock, which is no system call where the kernel offers it as a function (vdso(7)).
//! So it is done for every start and not only when somebody wants to know.
//!
//! A phase has the name of what was being done until it was reached. Which one begins where is in one table.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use nix::time::{ClockId, clock_gettime};

use crate::{Result, error::Context};

/// What is reached in the course of a start, mostly in this order; no start has all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(usize)]
pub enum Phase {
    /// The shim's program has begun.
    Invoked,
    /// It knows what is wanted: flags and standard input have been read.
    Understood,
    /// The process that stays is there.
    Forked,
    /// Its socket is there.
    Bound,
    /// It answers.
    Serving,
    /// The request to make something has come.
    Asked,
    /// `config.json` has been read.
    SpecRead,
    /// The streams are open.
    StreamsOpened,
    /// The specification has been checked, its filter compiled, the namespaces that it joins opened.
    Planned,
    /// The cgroup is there, with its limits.
    CgroupMade,
    /// The maker has cloned the process, and its record is on disk.
    Cloned,
    /// The process that was cloned runs.
    Born,
    /// It has given up what it inherited, and is in the cgroup.
    CgroupEntered,
    /// It is in its namespaces, with their names and parameters.
    NamespacesJoined,
    /// The parts of its file systems are there.
    MountsGathered,
    /// They are its root.
    RootEntered,
    /// What is masked or read-only is closed, the terminal there.
    RootSealed,
    /// Limits, user and capabilities are set, the program has been found: it stands at its gate.
    Ready,
    /// Whoever has asked for it is about to be answered.
    Created,
    /// The request to let it run has come, or its turn in the pod.
    Called,
    /// Its gate has been opened.
    GateOpened,
    /// The process has seen that.
    GatePassed,
    /// Nothing is left but the seccomp filter, what must follow that, and execve(2).
    Prepared,
    /// The program runs.
    Executed,
    /// Whoever has asked for that is about to be answered. (A container whose turn in its pod it was has been asked for by
    /// nobody.)
    Started,
}

/// Who does something in a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// The maker: a shim.
    Shim,
    /// The process that is made.
    Child,
}

/// Where what ends with a phase has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begin {
    /// Nowhere: the phase is a moment.
    Here,
    /// When its process did the thing before.
    Before,
    /// When the other process did its latest thing up to this phase.
    Other(Phase),
}

/// All phases, with who reaches them, where they begin, and what is done until then.
const TABLE: [(Phase, Lane, Begin, &str); 25] = [
    (Phase::Invoked, Lane::Shim, Begin::Here, "invoked"),
    (Phase::Understood, Lane::Shim, Begin::Before, "read flags and input"),
    (Phase::Forked, Lane::Shim, Begin::Before, "fork"),
    (Phase::Bound, Lane::Shim, Begin::Before, "bind socket"),
    (Phase::Serving, Lane::Shim, Begin::Before, "begin to serve"),
    (Phase::Asked, Lane::Shim, Begin::Here, "asked"),
    (Phase::SpecRead, Lane::Shim, Begin::Before, "read spec"),
    (Phase::StreamsOpened, Lane::Shim, Begin::Before, "open streams"),
    (Phase::Planned, Lane::Shim, Begin::Before, "plan"),
    (Phase::CgroupMade, Lane::Shim, Begin::Before, "make cgroup"),
    (Phase::Cloned, Lane::Shim, Begin::Before, "clone and record"),
    (Phase::Born, Lane::Child, Begin::Other(Phase::CgroupMade), "be born"),
    (Phase::CgroupEntered, Lane::Child, Begin::Before, "enter cgroup"),
    (Phase::NamespacesJoined, Lane::Child, Begin::Before, "join namespaces"),
    (Phase::MountsGathered, Lane::Child, Begin::Before, "gather mounts"),
    (Phase::RootEntered, Lane::Child, Begin::Before, "enter root"),
    (Phase::RootSealed, Lane::Child, Begin::Before, "seal root"),
    (Phase::Ready, Lane::Child, Begin::Before, "become its user, find program"),
    (Phase::Created, Lane::Shim, Begin::Before, "wait for child"),
    (Phase::Called, Lane::Shim, Begin::Here, "called"),
    (Phase::GateOpened, Lane::Shim, Begin::Before, "open gate"),
    (Phase::GatePassed, Lane::Child, Begin::Other(Phase::GateOpened), "pass gate"),
    (Phase::Prepared, Lane::Child, Begin::Before, "close descriptors"),
    (Phase::Executed, Lane::Shim, Begin::Before, "load filter and execute"),
    (Phase::Started, Lane::Shim, Begin::Before, "tell"),
];

impl Phase {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|(phase, ..)| *phase)
    }

    /// What is done until it is reached, or for a moment its name.
    pub fn name(self) -> &'static str {
        self.row().3
    }

    /// Whether it is the moment in which somebody asks for something, and not the end of something that is done.
    pub fn is_moment(self) -> bool {
        self.row().2 == Begin::Here
    }

    /// The one with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|phase| phase.name() == name)
    }

    /// Who reaches it.
    pub fn lane(self) -> Lane {
        self.row().1
    }

    fn row(self) -> &'static (Self, Lane, Begin, &'static str) {
        &TABLE[self as usize]
    }
}

impl Lane {
    /// As it is shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Shim => "shim",
            Self::Child => "child",
        }
    }
}

/// The present time of the clock that traces go by: nanoseconds of `CLOCK_MONOTONIC`.
pub fn now() -> u64 {
    // The clock is always there.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| Duration::from(time).as_nanos() as u64)
}

/// Numbers for one start: its turn, and the time of each phase, 0 as long as it was not reached.
const WORDS: usize = TABLE.len() + 1;

/// Memory for the traces of the last starts.
#[derive(Debug)]
pub struct Traces {
    words: &'static [AtomicU64],
    /// Places of each group, and how many starts of it there have been.
    groups: [(usize, Mutex<u64>); 2],
}

/// What displaces each other when there is no more room: further processes do not displace containers, of which there
/// are few and whose starts are what one wants to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Containers and what belongs to all of them.
    Containers,
    /// Further processes in them.
    Execs,
}

/// The trace of one start. Copies are the same trace; without memory, the default, it keeps nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Trace(Option<Place>);

#[derive(Debug, Clone, Copy)]
struct Place {
    words: &'static [AtomicU64],
    turn: u64,
}

impl Traces {
    /// Memory for the last `containers` and `execs` starts.
    ///
    /// Errors: no memory.
    pub fn new(containers: usize, execs: usize) -> Result<Self> {
        let words = loment_sys::shared::numbers((containers + execs) * WORDS).at("map", "memory for traces")?;
        Ok(Self { words, groups: [(containers, Mutex::default()), (execs, Mutex::default())] })
    }

    /// A trace for a start, in the place of the oldest of its group, and that place.
    pub fn begin(&self, group: Group) -> (Trace, usize) {
        let (before, index) = match group {
            Group::Containers => (0, 0),
            Group::Execs => (self.groups[0].0, 1),
        };
        let (places, turns) = &self.groups[index];
        let mut turn = turns.lock().unwrap_or_else(PoisonError::into_inner);
        let place = before + usize::try_from(*turn).unwrap_or(0) % (*places).max(1);
        *turn += 1;
        let Some(words) = self.words.get(place * WORDS..(place + 1) * WORDS).filter(|_| *places > 0) else {
            return (Trace::default(), place);
        };
        words.iter().skip(1).for_each(|word| word.store(0, Ordering::Relaxed));
        words[0].store(*turn, Ordering::Release);
        (Trace(Some(Place { words, turn: *turn })), place)
    }
}

impl Trace {
    /// Notes that `phase` is reached now.
    pub fn reached(self, phase: Phase) {
        if self.0.is_some() {
            self.reached_at(phase, now());
        }
    }

    /// Notes that `phase` was reached when [`now`] said `at`.
    pub fn reached_at(self, phase: Phase, at: u64) {
        if let Some(words) = self.words() {
            words[phase as usize + 1].store(at, Ordering::Relaxed);
        }
    }

    /// When `phase` was reached, if it was.
    pub fn at(self, phase: Phase) -> Option<u64> {
        self.words().map(|words| words[phase as usize + 1].load(Ordering::Relaxed)).filter(|at| *at != 0)
    }

    /// Its phases in the order in which they were reached; `None` when the place has gone to another start.
    pub fn spans(self) -> Option<Vec<Span>> {
        self.words()?;
        let reached: Vec<(Phase, u64)> = Phase::all().filter_map(|phase| Some((phase, self.at(phase)?))).collect();
        Some(spans(&reached))
    }

    /// Its memory, as long as that is its own. A process that was overtaken by as many starts as there are places
    /// between this look and what follows would write into another one's trace, which harms nobody.
    fn words(self) -> Option<&'static [AtomicU64]> {
        self.0.filter(|place| place.words[0].load(Ordering::Acquire) == place.turn).map(|place| place.words)
    }
}

/// What was done in a start, from when to when by [`now`]. A moment ends where it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// What was reached in the end.
    pub phase: Phase,
    /// Nanoseconds.
    pub from: u64,
    /// Nanoseconds.
    pub to: u64,
}

fn spans(reached: &[(Phase, u64)]) -> Vec<Span> {
    let mut reached = reached.to_vec();
    // Phases of the same moment are in the order of the table.
    reached.sort_by_key(|(_, at)| *at);
    let last = |lane: Lane, up_to: Phase| {
        let done = reached.iter().filter(|(phase, _)| phase.lane() == lane && *phase <= up_to);
        done.map(|(_, at)| *at).max()
    };
    let span = |(index, &(phase, to)): (usize, &(Phase, u64))| {
        let before = reached[..index].iter().rev().find(|(other, _)| other.lane() == phase.lane());
        let from = match phase.row().2 {
            Begin::Here => None,
            Begin::Before => before.map(|(_, at)| *at),
            Begin::Other(other) => last(other.lane(), other),
        };
        Span { phase, from: from.unwrap_or(to).min(to), to }
    };
    reached.iter().enumerate().map(span).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_every_phase_in_its_place_and_no_name_twice() {
        let mut names: Vec<&str> = Phase::all().map(Phase::name).collect();
        assert!(TABLE.iter().enumerate().all(|(index, (phase, ..))| *phase as usize == index));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), TABLE.len());
    }

    #[test]
    fn a_span_begins_where_its_process_or_the_other_one_was_before() {
        let reached =
            [(Phase::Asked, 10), (Phase::CgroupMade, 20), (Phase::Cloned, 35), (Phase::Born, 30), (Phase::Ready, 40)];
        let found: Vec<(Phase, u64, u64)> =
            spans(&reached).into_iter().map(|span| (span.phase, span.from, span.to)).collect();
        let expected = [
            (Phase::Asked, 10, 10),
            (Phase::CgroupMade, 10, 20),
            (Phase::Born, 20, 30),
            (Phase::Cloned, 20, 35),
            (Phase::Ready, 30, 40),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn the_oldest_makes_room_within_its_group_and_notes_nothing_any_more() {
        let traces = Traces::new(2, 1).unwrap();
        let all: Vec<(Trace, usize)> =
            [Group::Containers, Group::Execs, Group::Containers, Group::Containers, Group::Execs]
                .map(|group| traces.begin(group))
                .into();
        assert_eq!(all.iter().map(|(_, place)| *place).collect::<Vec<_>>(), [0, 2, 1, 0, 2]);
        for (trace, _) in &all {
            trace.reached(Phase::Asked);
        }
        let kept: Vec<bool> = all.iter().map(|(trace, _)| trace.spans().is_some()).collect();
        assert_eq!(kept, [false, false, true, true, true]);
        assert!(all[3].0.spans().unwrap().iter().all(|span| span.phase == Phase::Asked));
    }

    #[test]
    fn without_memory_nothing_is_kept() {
        let trace = Trace::default();
        trace.reached(Phase::Asked);
        assert_eq!(trace.at(Phase::Asked), None);
        assert!(trace.spans().is_none());
        let (trace, _) = Traces::new(1, 0).unwrap().begin(Group::Execs);
        assert!(trace.spans().is_none());
    }
}
