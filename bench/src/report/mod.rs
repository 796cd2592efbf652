//! The outcome of a run, as data.

#[cfg(test)]
pub(crate) mod tests;

use anyhow::Result;
use serde::Serialize;

use crate::{
    cycle::Phase,
    handlers::{Driver, Handler},
    histogram::{Bucket, Durations, Figures, in_micros},
    limit,
    machine::{Machine, Tool, now},
    measured::{ByPhase, Measured},
    memory::Idle,
    samples::Samples,
    settings::Settings,
    statistics::{self, Ratio},
};

/// What a run has found beside its measurements.
#[derive(Debug)]
pub(crate) struct Found {
    /// Version that containerd gives of itself.
    pub(crate) containerd: String,
    pub(crate) handlers: Vec<Handler>,
    /// Where cpu time was read, or why it was not.
    pub(crate) cpu_source: Option<String>,
    pub(crate) no_cpu: Option<String>,
    /// Why no pods were made by hand.
    pub(crate) no_limit: Option<String>,
}

/// The outcome of a run. Displays as tables; serialises as JSON, with durations in microseconds and memory in KiB.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Seconds since 1970 at the end of the run.
    pub(crate) finished: u64,
    pub(crate) tool: Tool,
    pub(crate) machine: Machine,
    /// Version that containerd gives of itself.
    pub(crate) containerd: String,
    /// Who made the cgroups of the pods.
    pub(crate) cgroup_driver: Driver,
    /// In the order of the settings; all lists below have this order.
    pub(crate) handlers: Vec<Handler>,
    pub(crate) settings: Settings,
    pub(crate) phases: Vec<Row>,
    /// From the first request of several pods at once until all of their containers run.
    pub(crate) at_once: Vec<AtOnce>,
    pub(crate) present: Vec<Present>,
    pub(crate) cpu: Cpu,
    pub(crate) memory: Vec<Memory>,
    /// What shims have noted of the starts in their pods, in the order in which it was done.
    pub(crate) traces: Vec<Step>,
    pub(crate) limit: Limit,
}

/// The pods that were made by hand: the last measurement of each phase and of cpu time is theirs.
#[derive(Debug, Serialize)]
pub(crate) struct Limit {
    pub(crate) name: &'static str,
    pub(crate) includes: &'static str,
    /// Whether some were made.
    pub(crate) measured: bool,
    /// Why not, where they were asked for.
    pub(crate) missing: Option<String>,
}

/// One thing that was timed, under each handler.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) phase: &'static str,
    pub(crate) by_handler: Vec<Measurement>,
}

/// What was measured of one thing under one handler.
#[derive(Debug, Serialize)]
pub(crate) struct Measurement {
    pub(crate) handler: String,
    /// Absent when there are no samples.
    pub(crate) figures: Option<Figures>,
    /// To the baseline; absent for the baseline itself, and for what was not measured in turns.
    pub(crate) ratio: Option<Ratio>,
    pub(crate) histogram: Vec<Bucket>,
    /// In the order of the rounds.
    pub(crate) samples_us: Vec<f64>,
}

/// Pods that were started at once.
#[derive(Debug, Serialize)]
pub(crate) struct AtOnce {
    pub(crate) pods: u32,
    pub(crate) wall: Vec<Measurement>,
    /// Of each single pod: all of its requests.
    pub(crate) pod: Vec<Measurement>,
    /// From the first request to stop until the last pod is removed.
    pub(crate) removal: Vec<Measurement>,
}

/// One pod more beside a number of others.
#[derive(Debug, Serialize)]
pub(crate) struct Present {
    pub(crate) pods: u32,
    pub(crate) phases: Vec<Row>,
    /// Median time of a pod with its containers, by that beside the smallest number of pods; one for each handler.
    pub(crate) growth: Vec<Option<f64>>,
}

/// One thing that a shim has noted.
#[derive(Debug, Serialize)]
pub(crate) struct Step {
    pub(crate) handler: String,
    /// What was started, and the request from which time counts: `container, called`.
    pub(crate) part: String,
    /// Who did it: `shim`, or `child`, the process that was being made.
    pub(crate) lane: String,
    pub(crate) phase: String,
    /// Median time since the request came.
    pub(crate) from_us: f64,
    /// How long it took.
    pub(crate) figures: Option<Figures>,
    pub(crate) samples_us: Vec<f64>,
}

/// Cpu time of one pod's life.
#[derive(Debug, Serialize)]
pub(crate) struct Cpu {
    /// Where it was read; absent when it could not be.
    pub(crate) source: Option<String>,
    /// Why it could not be.
    pub(crate) missing: Option<String>,
    pub(crate) by_handler: Vec<Measurement>,
}

/// What an idle pod keeps.
#[derive(Debug, Serialize)]
pub(crate) struct Memory {
    pub(crate) handler: String,
    /// How many pods stood idle.
    pub(crate) pods: usize,
    /// The median pod, field by field.
    pub(crate) median: Option<Idle>,
    /// Median of shim and sandbox process together, by that of the baseline.
    pub(crate) ratio: Option<f64>,
    /// Why there are no figures.
    pub(crate) missing: Option<String>,
    pub(crate) each: Vec<Idle>,
}

impl Report {
    pub(crate) fn new(settings: &Settings, found: Found, measured: &Measured) -> Result<Self> {
        let by_hand = measured.phases.last().is_some_and(|phases| !phases.is_empty());
        let at_once = settings.parallel.iter().zip(&measured.at_once).map(|(pods, bursts)| {
            Ok(AtOnce {
                pods: *pods,
                wall: compare(settings, &bursts.wall)?,
                pod: alone(settings, &bursts.pods)?,
                removal: compare(settings, &bursts.removal)?,
            })
        });
        Ok(Self {
            finished: now(),
            tool: Tool::this(),
            machine: Machine::read(),
            containerd: found.containerd,
            cgroup_driver: Driver::of(&found.handlers),
            handlers: found.handlers,
            settings: settings.clone(),
            phases: rows(settings, &measured.phases, compare)?,
            at_once: at_once.collect::<Result<_>>()?,
            present: present(settings, measured)?,
            cpu: Cpu { source: found.cpu_source, missing: found.no_cpu, by_handler: compare(settings, &measured.cpu)? },
            memory: memory(settings, measured),
            traces: traces(settings, measured)?,
            limit: Limit { name: limit::NAME, includes: limit::INCLUDES, measured: by_hand, missing: found.no_limit },
        })
    }

    /// Whose phases are there: handlers, and what was made by hand.
    pub(crate) fn subjects(&self) -> Vec<String> {
        let handlers = self.handlers.iter().map(|handler| handler.name.clone());
        handlers.chain(self.limit.measured.then(|| limit::NAME.to_owned())).collect()
    }

    /// The baseline's place among the handlers.
    pub(crate) fn baseline(&self) -> usize {
        self.settings.baseline_index()
    }
}

/// How samples become measurements: [`compare`] or [`alone`].
type Measure = fn(&Settings, &[Samples]) -> Result<Vec<Measurement>>;

fn rows(settings: &Settings, phases: &[ByPhase], measure: Measure) -> Result<Vec<Row>> {
    let row = |phase: Phase| {
        let samples: Vec<Samples> = phases.iter().map(|by| by.get(&phase).cloned().unwrap_or_default()).collect();
        Ok(Row { phase: phase.name(), by_handler: measure(settings, &samples)? })
    };
    Phase::timed(settings).map(row).collect()
}

/// One measurement for each handler, with the ratio to the baseline's: for handlers that took turns in each round.
fn compare(settings: &Settings, samples: &[Samples]) -> Result<Vec<Measurement>> {
    let mut found = alone(settings, samples)?;
    let baseline = settings.baseline_index();
    if let Some(base) = samples.get(baseline) {
        let others = found.iter_mut().zip(samples).enumerate().filter(|(number, _)| *number != baseline);
        others.for_each(|(_, (one, own))| one.ratio = statistics::ratio(own.ratios_to(base)));
    }
    Ok(found)
}

/// One measurement for each handler, without ratios: for what was not measured in turns, or several times in a round.
fn alone(settings: &Settings, samples: &[Samples]) -> Result<Vec<Measurement>> {
    let measurement = |(handler, own): (&String, &Samples)| {
        let durations = Durations::of(own.iter())?;
        Ok(Measurement {
            handler: handler.clone(),
            figures: durations.figures(),
            ratio: None,
            histogram: durations.buckets(),
            samples_us: own.iter().map(in_micros).collect(),
        })
    };
    // What was made by hand comes last, and is left out where there is none.
    let by_hand = limit::NAME.to_owned();
    let subjects = settings.handlers.iter().chain([&by_hand]).zip(samples).enumerate();
    let there =
        subjects.filter(|(number, (_, samples))| *number < settings.handlers.len() || samples.iter().next().is_some());
    there.map(|(_, subject)| measurement(subject)).collect()
}

fn present(settings: &Settings, measured: &Measured) -> Result<Vec<Present>> {
    let median = |place: usize, handler: usize| {
        let samples = measured.present.get(place)?.phases.get(handler)?.get(&Phase::PodAndContainers)?;
        statistics::median(samples.iter().map(|took| took.as_secs_f64()).collect())
    };
    let fewest = (0..settings.present.len()).min_by_key(|place| settings.present.get(*place));
    let growth = |place, handler| Some(median(place, handler)? / median(fewest?, handler)?);
    let step = |(place, (pods, found)): (usize, (&u32, &crate::measured::Present))| {
        Ok(Present {
            pods: *pods,
            phases: rows(settings, &found.phases, alone)?,
            growth: (0..settings.handlers.len()).map(|handler| growth(place, handler)).collect(),
        })
    };
    settings.present.iter().zip(&measured.present).enumerate().map(step).collect()
}

fn traces(settings: &Settings, measured: &Measured) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    for (handler, noted) in settings.handlers.iter().zip(&measured.traces) {
        for (key, from, took) in &noted.0 {
            steps.push(Step {
                handler: handler.clone(),
                part: key.part.clone(),
                lane: key.lane.clone(),
                phase: key.phase.clone(),
                from_us: statistics::median(from.iter().map(in_micros).collect()).unwrap_or_default(),
                figures: Durations::of(took.iter())?.figures(),
                samples_us: took.iter().map(in_micros).collect(),
            });
        }
    }
    Ok(steps)
}

fn memory(settings: &Settings, measured: &Measured) -> Vec<Memory> {
    let medians: Vec<Option<Idle>> = measured.memory.iter().map(|pods| Idle::median(pods)).collect();
    let baseline = settings.baseline_index();
    let base = medians.get(baseline).copied().flatten();
    let memory = |(number, handler): (usize, &String)| {
        let median = medians.get(number).copied().flatten();
        let ratio = || statistics::quotient(median?.pss_kib(), base?.pss_kib());
        Memory {
            handler: handler.clone(),
            pods: measured.memory.get(number).map_or(0, Vec::len),
            median,
            ratio: if number == baseline { None } else { ratio() },
            missing: measured.no_memory.get(number).cloned().flatten(),
            each: measured.memory.get(number).cloned().unwrap_or_default(),
        }
    };
    if settings.idle == 0 { Vec::new() } else { settings.handlers.iter().enumerate().map(memory).collect() }
}
