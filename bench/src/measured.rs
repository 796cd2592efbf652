//! What a run has measured, before anything is said of it.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    cycle::{Cycle, Phase},
    memory::Idle,
    samples::Samples,
    settings::Settings,
    traces::Steps,
};

/// Samples by phase.
pub(crate) type ByPhase = BTreeMap<Phase, Samples>;

/// All samples. Each list has one entry for each handler, in the order of the settings; those of phases and cpu time have
/// one more, for the pods that were made by hand.
#[derive(Debug)]
pub(crate) struct Measured {
    /// One pod after the other.
    pub(crate) phases: Vec<ByPhase>,
    /// Cpu time of one pod's life.
    pub(crate) cpu: Vec<Samples>,
    /// What shims have noted themselves.
    pub(crate) traces: Vec<Steps>,
    /// One for each number of pods at once.
    pub(crate) at_once: Vec<Bursts>,
    /// One for each number of pods present.
    pub(crate) present: Vec<Present>,
    /// One for each idle pod.
    pub(crate) memory: Vec<Vec<Idle>>,
    /// Why there is no such figure.
    pub(crate) no_memory: Vec<Option<String>>,
}

/// Pods that were started at once.
#[derive(Debug)]
pub(crate) struct AtOnce {
    /// From the first request until all containers run.
    pub(crate) wall: Duration,
    /// Each pod's own.
    pub(crate) pods: Vec<Duration>,
    /// Until all are removed again.
    pub(crate) removal: Duration,
}

/// The same of all rounds, by handler.
#[derive(Debug, Clone)]
pub(crate) struct Bursts {
    pub(crate) wall: Vec<Samples>,
    pub(crate) pods: Vec<Samples>,
    pub(crate) removal: Vec<Samples>,
}

/// One pod more beside a number of pods, by handler.
#[derive(Debug, Clone)]
pub(crate) struct Present {
    pub(crate) phases: Vec<ByPhase>,
}

impl Measured {
    pub(crate) fn new(handlers: usize, settings: &Settings) -> Self {
        let samples = || vec![Samples::default(); handlers];
        let bursts = Bursts { wall: samples(), pods: samples(), removal: samples() };
        let present = Present { phases: vec![ByPhase::new(); handlers] };
        Self {
            phases: vec![ByPhase::new(); handlers + 1],
            cpu: vec![Samples::default(); handlers + 1],
            traces: vec![Steps::default(); handlers],
            at_once: vec![bursts; settings.parallel.len()],
            present: vec![present; settings.present.len()],
            memory: vec![Vec::new(); handlers],
            no_memory: vec![None; handlers],
        }
    }

    pub(crate) fn add(&mut self, handler: usize, round: u32, cycle: Cycle) {
        add(&mut self.phases[handler], round, &cycle);
        if let Some(cpu) = cycle.cpu {
            self.cpu[handler].push(round, cpu);
        }
        cycle.trace.into_iter().for_each(|step| self.traces[handler].add(round, step));
    }

    /// Forgets the pods that were made by hand.
    pub(crate) fn forget_limit(&mut self) {
        if let Some(phases) = self.phases.last_mut() {
            phases.clear();
        }
        if let Some(cpu) = self.cpu.last_mut() {
            *cpu = Samples::default();
        }
    }
}

impl Bursts {
    pub(crate) fn add(&mut self, handler: usize, round: u32, found: AtOnce) {
        self.wall[handler].push(round, found.wall);
        found.pods.into_iter().for_each(|took| self.pods[handler].push(round, took));
        self.removal[handler].push(round, found.removal);
    }
}

impl Present {
    pub(crate) fn add(&mut self, handler: usize, round: u32, cycle: &Cycle) {
        add(&mut self.phases[handler], round, cycle);
    }
}

fn add(phases: &mut ByPhase, round: u32, cycle: &Cycle) {
    for (phase, took) in &cycle.phases {
        phases.entry(*phase).or_default().push(round, *took);
    }
}
