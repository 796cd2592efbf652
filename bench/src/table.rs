//! The outcome of a run, as tables for the terminal.

use std::fmt;

use crate::{
    histogram::Figures,
    memory::Idle,
    report::{Measurement, Report},
    settings::{Network, Seccomp},
    statistics::{self, Ratio},
};

/// A figure of an idle pod, with its name.
type Field = (&'static str, fn(&Idle) -> u64);

/// Blanks between two columns.
const GAP: usize = 3;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.header(), self.tables())
    }
}

impl Report {
    /// All figures.
    pub(crate) fn tables(&self) -> String {
        let mut text = render(&self.latencies(), 1);
        text.push_str(&format!("\nthe same in figures\n{}", render(&self.percentiles(), 2)));
        if !self.present.is_empty() {
            text.push_str(&format!("\npod + container, beside pods that are present\n{}", render(&self.crowds(), 1)));
        }
        if !self.memory.is_empty() {
            text.push_str(&format!(
                "\nan idle pod, of {} that stand; KiB\n{}",
                self.settings.idle,
                render(&self.idle(), 1)
            ));
        }
        if !self.traces.is_empty() {
            text.push_str(&format!("\nthe phases of starts, as shims note them\n{}", render(&self.steps(), 3)));
        }
        text
    }

    /// What was run on what.
    pub(crate) fn header(&self) -> String {
        let settings = &self.settings;
        let network = match settings.network {
            Network::Host => "host network",
            Network::Cni => "pod network by CNI",
        };
        let seccomp = match settings.seccomp {
            Seccomp::Default => "default seccomp profile",
            Seccomp::Unconfined => "no seccomp profile",
        };
        let containers = match settings.containers {
            1 => "one container".to_owned(),
            more => format!("{more} containers"),
        };
        let machine = &self.machine;
        let mut text = format!(
            "{} rounds in random order (seed {}); {network}, {seccomp}, {containers} in each pod\n\
             {}, {} cores, {} MiB; Linux {}, cgroups {} by {}; containerd {}\n",
            settings.rounds,
            settings.seed,
            machine.cpu,
            machine.cores,
            machine.memory_mib,
            machine.kernel,
            machine.cgroups,
            self.cgroup_driver.name(),
            self.containerd
        );
        for handler in &self.handlers {
            let version = handler.version.as_deref().unwrap_or("of unknown version");
            text.push_str(&format!("{}: {}, {version}\n", handler.name, handler.runtime_type));
        }
        match &self.limit.missing {
            None if self.limit.measured => {
                text.push_str(&format!("{}: the same made by hand, without containerd and shim\n", self.limit.name));
            }
            Some(reason) => text.push_str(&format!("{}: not measured: {reason}\n", self.limit.name)),
            None => {}
        }
        if let Some(source) = &self.cpu.source {
            text.push_str(&format!("cpu time {source}\n"));
        }
        if let Some(reason) = &self.cpu.missing {
            text.push_str(&format!("cpu time: not measured: {reason}\n"));
        }
        text.push_str(
            "milliseconds, p50 (p90); a ratio is the median of the rounds' ratios, with the interval that has the true one \
             with 95 %\n",
        );
        text
    }

    /// Medians side by side, with the ratios to the baseline.
    fn latencies(&self) -> Vec<Vec<String>> {
        let names = self.subjects();
        let ratios = names.iter().filter(|name| **name != self.settings.baseline);
        let ratios = ratios.map(|name| format!("{name} / {}", self.settings.baseline)).collect::<Vec<_>>();
        let mut rows = vec![std::iter::once(String::new()).chain(names).chain(ratios).collect()];
        rows.extend(self.phases.iter().map(|row| self.line(row.phase, &row.by_handler)));
        for at_once in &self.at_once {
            rows.push(self.line(&started(at_once.pods), &at_once.wall));
            rows.push(self.line(&format!("removal of {}", at_once.pods), &at_once.removal));
        }
        if self.cpu.source.is_some() {
            rows.push(self.line("cpu of one pod cycle", &self.cpu.by_handler));
        }
        rows
    }

    fn line(&self, name: &str, measurements: &[Measurement]) -> Vec<String> {
        // Handlers do more than what is made by hand.
        let subjects = self.subjects();
        let found = |subject: &String| measurements.iter().find(|one| one.handler == *subject);
        let figures = |one: &Measurement| one.figures.map(|figures| short(&figures));
        let figures = subjects.iter().map(|subject| found(subject).and_then(figures).unwrap_or_else(nothing));
        let others = subjects.iter().filter(|subject| **subject != self.settings.baseline);
        let ratio = |one: &Measurement| one.ratio.map(|ratio| with_interval(&ratio));
        let ratios = others.map(|subject| found(subject).and_then(ratio).unwrap_or_else(nothing));
        std::iter::once(name.to_owned()).chain(figures).chain(ratios).collect()
    }

    /// All that is said of each phase under each handler.
    fn percentiles(&self) -> Vec<Vec<String>> {
        let heads = ["", "", "min", "p50", "p90", "p99", "max", "samples"];
        let mut rows = vec![heads.map(str::to_owned).to_vec()];
        let at_once = self.at_once.iter().map(|at_once| (started(at_once.pods), &at_once.wall));
        let phases = self.phases.iter().map(|row| (row.phase.to_owned(), &row.by_handler));
        let cpu = (!self.cpu.by_handler.is_empty()).then(|| ("cpu of one pod cycle".to_owned(), &self.cpu.by_handler));
        for (name, measurements) in phases.chain(at_once).chain(cpu) {
            let measured = measurements.iter().filter_map(|one| Some((&one.handler, one.figures?)));
            for (number, (handler, figures)) in measured.enumerate() {
                let name = if number == 0 { name.clone() } else { String::new() };
                rows.push(vec![
                    name,
                    handler.clone(),
                    millis(figures.min_us),
                    millis(figures.p50_us),
                    millis(figures.p90_us),
                    millis(figures.p99_us),
                    millis(figures.max_us),
                    figures.count.to_string(),
                ]);
            }
        }
        rows
    }

    fn crowds(&self) -> Vec<Vec<String>> {
        let fewest = self.present.iter().map(|step| step.pods).min().unwrap_or_default();
        let heads = self.handlers.iter().flat_map(|handler| [handler.name.clone(), format!("by {fewest} present")]);
        let mut rows = vec![std::iter::once("pods present".to_owned()).chain(heads).collect::<Vec<_>>()];
        for step in &self.present {
            let mut row = vec![step.pods.to_string()];
            let whole = step.phases.iter().find(|row| row.phase == crate::cycle::Phase::PodAndContainers.name());
            for (number, growth) in step.growth.iter().enumerate() {
                let figures = whole.and_then(|row| row.by_handler.get(number)?.figures);
                row.push(figures.map_or_else(nothing, |figures| short(&figures)));
                row.push(growth.map_or_else(nothing, |growth| format!("{growth:.2}")));
            }
            rows.push(row);
        }
        rows
    }

    /// What shims have noted, each behind the request that it is a part of.
    fn steps(&self) -> Vec<Vec<String>> {
        let mut rows = vec![["", "", "by", "from", "p50", "p90"].map(str::to_owned).to_vec()];
        let mut part = (String::new(), String::new());
        for step in &self.traces {
            let own = (step.handler.clone(), step.part.clone());
            let name = if own == part { String::new() } else { format!("{}: {}", own.0, own.1) };
            part = own;
            let at =
                |figure: fn(&Figures) -> f64| step.figures.map_or_else(nothing, |figures| millis(figure(&figures)));
            let (p50, p90) = (at(|figures| figures.p50_us), at(|figures| figures.p90_us));
            rows.push(vec![name, step.phase.clone(), step.lane.clone(), millis(step.from_us), p50, p90]);
        }
        rows
    }

    fn idle(&self) -> Vec<Vec<String>> {
        let names = self.memory.iter().map(|memory| memory.handler.clone());
        let others = || self.memory.iter().filter(|memory| memory.handler != self.settings.baseline);
        let ratios = others().map(|memory| format!("{} / {}", memory.handler, self.settings.baseline));
        let mut rows = vec![std::iter::once(String::new()).chain(names).chain(ratios).collect::<Vec<_>>()];
        let fields: [Field; 6] = [
            ("PSS, shim + sandbox", Idle::pss_kib),
            ("private, shim + sandbox", Idle::uss_kib),
            ("PSS of the shim", |idle| idle.shim_pss_kib),
            ("PSS of the sandbox", |idle| idle.sandbox_pss_kib),
            ("threads of the shim", |idle| idle.shim_threads),
            ("descriptors of the shim", |idle| idle.shim_descriptors),
        ];
        let base = self.memory.get(self.baseline()).and_then(|memory| memory.median);
        for (name, field) in fields {
            let values =
                self.memory.iter().map(|memory| memory.median.map_or_else(nothing, |idle| field(&idle).to_string()));
            let ratio = |idle: Option<Idle>| statistics::quotient(field(&idle?), field(&base?));
            let ratios =
                others().map(|memory| ratio(memory.median).map_or_else(nothing, |ratio| format!("{ratio:.2}")));
            rows.push(std::iter::once(name.to_owned()).chain(values).chain(ratios).collect());
        }
        rows.extend(
            self.memory
                .iter()
                .filter_map(|memory| Some(vec![format!("{}: {}", memory.handler, memory.missing.as_ref()?)])),
        );
        rows
    }
}

fn started(pods: u32) -> String {
    format!("{pods} {} at once", if pods == 1 { "pod" } else { "pods" })
}

fn nothing() -> String {
    "-".to_owned()
}

fn short(figures: &Figures) -> String {
    format!("{} ({})", millis(figures.p50_us), millis(figures.p90_us))
}

/// `0.15 [0.14, 0.17]`.
pub(crate) fn with_interval(ratio: &Ratio) -> String {
    let interval = ratio.interval.map(|interval| format!(" [{:.2}, {:.2}]", interval.low, interval.high));
    format!("{:.2}{}", ratio.median, interval.unwrap_or_default())
}

/// Microseconds as milliseconds: three digits, as far as there are some.
pub(crate) fn millis(micros: f64) -> String {
    let millis = micros / 1000.0;
    match millis {
        _ if millis < 0.9995 => format!("{millis:.3}"),
        _ if millis < 9.995 => format!("{millis:.2}"),
        _ if millis < 99.95 => format!("{millis:.1}"),
        _ => format!("{millis:.0}"),
    }
}

/// Columns, each as wide as its widest cell: so many names to the left, figures to the right.
fn render(rows: &[Vec<String>], names: usize) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    // A line of one cell is a sentence and no column.
    let cells = |column: usize| rows.iter().filter(|row| row.len() > 1).filter_map(move |row| row.get(column));
    let widths: Vec<usize> =
        (0..columns).map(|column| cells(column).map(|cell| cell.chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
            0 => format!("{cell:<width$}"),
            _ if column < names => format!("{:GAP$}{cell:<width$}", ""),
            _ => format!("{:GAP$}{cell:>width$}", ""),
        });
        text.push_str(cells.collect::<String>().trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_at_every_size() {
        assert_eq!([123.4, 4_321.0, 54_321.0, 654_321.0].map(millis), ["0.123", "4.32", "54.3", "654"]);
        assert_eq!([999.6, 9_996.0, 99_960.0].map(millis), ["1.00", "10.0", "100"]);
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["long".to_owned(), "100".to_owned()]];
        assert_eq!(render(&rows, 1), "a        1\nlong   100\n");
    }
}
