//! What was measured, for people and for machines.

use std::fmt;

use serde::Serialize;

use crate::{
    cycle::{Phase, Settings, Table},
    sample::Samples,
};

/// The outcome of a run. Displays as a table; serialises as JSON with durations in microseconds.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Version that containerd gives of itself.
    containerd: String,
    /// Release of the kernel.
    kernel: String,
    /// Rounds that count.
    rounds: u32,
    /// Whether pods share the host's network.
    host_network: bool,
    /// Whether the container has the runtime's default seccomp profile.
    seccomp: bool,
    /// Runtime handlers; ratios are to the last.
    handlers: Vec<String>,
    /// One for each phase.
    phases: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    phase: &'static str,
    by_handler: Vec<Cell>,
}

#[derive(Debug, Serialize)]
struct Cell {
    p50_us: u128,
    p90_us: u128,
    max_us: u128,
    /// Median of the ratios to the last handler, round by round.
    ratio: Option<f64>,
}

impl Report {
    pub(crate) fn new(settings: &Settings, containerd: String, table: Table) -> Self {
        let none = Samples::default();
        let of = |handler: usize, phase| table.get(&(handler, phase)).unwrap_or(&none);
        let last = settings.handlers.len().saturating_sub(1);
        let row = |phase: Phase| Row {
            phase: phase.name(),
            by_handler: (0..=last).map(|handler| Cell::new(of(handler, phase), of(last, phase))).collect(),
        };
        Self {
            containerd,
            kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            rounds: settings.rounds,
            host_network: settings.host_network,
            seccomp: settings.seccomp,
            handlers: settings.handlers.clone(),
            phases: Phase::ALL.map(row).into(),
        }
    }
}

impl Cell {
    fn new(own: &Samples, other: &Samples) -> Self {
        let at = |percent| own.percentile(percent).unwrap_or_default().as_micros();
        Self { p50_us: at(50), p90_us: at(90), max_us: at(100), ratio: own.ratio_to(other) }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let network = if self.host_network { "host network" } else { "pod network by CNI" };
        let seccomp = if self.seccomp { "default seccomp profile" } else { "no seccomp profile" };
        writeln!(
            f,
            "{} rounds, interleaved; containerd {}, Linux {}, {network}, {seccomp}",
            self.rounds, self.containerd, self.kernel
        )?;
        writeln!(f, "milliseconds, p50 (p90); the ratio is the median of the rounds' ratios\n")?;
        write!(f, "{:<26}", "")?;
        for handler in &self.handlers {
            write!(f, "{handler:>20}")?;
        }
        let base = self.handlers.last().map_or("", String::as_str);
        for handler in self.handlers.iter().rev().skip(1).rev() {
            write!(f, "{:>20}", format!("{handler} / {base}"))?;
        }
        writeln!(f)?;
        for row in &self.phases {
            write!(f, "{:<26}", row.phase)?;
            for cell in &row.by_handler {
                write!(f, "{:>20}", format!("{} ({})", millis(cell.p50_us), millis(cell.p90_us)))?;
            }
            for cell in row.by_handler.iter().rev().skip(1).rev() {
                write!(f, "{:>20}", cell.ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

fn millis(micros: u128) -> String {
    format!("{}.{}", micros / 1000, micros % 1000 / 100)
}
