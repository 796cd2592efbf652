//! Readings compared, sorted, and shown as a table or as JSON.

use std::cmp::Reverse;
use std::time::Duration;

use jiff::Timestamp;
use loment_cgroups::stats::device_name;
use loment_shim::pod::api::{Pressure, Usage};
use serde_json::{Value, json};

use super::SortBy;
use crate::usage::{self, ContainerUse, PodUse, Rates};

/// A reading, with what has happened since the one before.
pub(super) struct Shown {
    pub(super) pod: PodUse,
    rates: Rates,
    pub(super) containers: Vec<(ContainerUse, Rates)>,
}

/// Pairs two readings. What was not there before has no rate yet.
pub(super) fn compared(before: &[PodUse], now: Vec<PodUse>) -> Vec<Shown> {
    let pair = |mut pod: PodUse| {
        let old = before.iter().find(|old| old.sandbox == pod.sandbox);
        let apart = old.map_or(Duration::ZERO, |old| pod.at.saturating_sub(old.at));
        let rates = old.map_or_else(Rates::default, |old| usage::rates(&old.total, &pod.total, apart));
        let containers = std::mem::take(&mut pod.containers).into_iter().map(|container| {
            let old = old.and_then(|old| old.containers.iter().find(|old| old.id == container.id));
            let rates = old.map_or_else(Rates::default, |old| usage::rates(&old.usage, &container.usage, apart));
            (container, rates)
        });
        Shown { rates, containers: containers.collect(), pod }
    };
    now.into_iter().map(pair).collect()
}

/// The largest first, and by name among equals; by name alone they are already.
pub(super) fn sort(all: &mut [Shown], by: SortBy) {
    let key = |usage: &Usage, rates: &Rates| match by {
        SortBy::Name => 0,
        SortBy::Cpu => rates.millicores as u64,
        SortBy::Memory => usage.memory_working_set_bytes,
        SortBy::Pids => usage.tasks,
        SortBy::Io => (rates.read + rates.written) as u64,
    };
    all.sort_by_key(|shown| Reverse(key(&shown.pod.total, &shown.rates)));
    for shown in all {
        shown.containers.sort_by_key(|(container, rates)| Reverse(key(&container.usage, rates)));
    }
}

/// What there is beside the figures.
#[derive(Clone, Copy, Debug)]
pub(super) struct Columns {
    /// A column with the namespace.
    pub(super) namespaces: bool,
    /// A line with the names of the columns.
    pub(super) names: bool,
}

pub(super) fn rows(all: &[Shown], columns: Columns) -> Vec<Vec<String>> {
    let header =
        ["NAME", "CPU(m)", "THROTTLED", "MEMORY", "LIMIT", "PIDS", "READ/S", "WRITE/S", "PRESSURE(cpu,mem,io)", "OOM"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for shown in all {
        rows.push(row(&shown.pod.name, &shown.pod.total, &shown.rates));
        rows.extend(shown.containers.iter().map(|(c, rates)| row(&format!("  {}", c.name), &c.usage, rates)));
    }
    if columns.namespaces {
        let mut column = vec!["NAMESPACE".to_owned()];
        for shown in all {
            column.push(shown.pod.namespace.clone());
            column.extend(shown.containers.iter().map(|_| String::new()));
        }
        rows.iter_mut().zip(column).for_each(|(row, cell)| row.insert(0, cell));
    }
    if !columns.names {
        rows.remove(0);
    }
    rows
}

fn row(name: &str, usage: &Usage, rates: &Rates) -> Vec<String> {
    let none = || "-".to_owned();
    let some = |pressure: &Pressure| format!("{:.1}", pressure.some_10s);
    let pressure = match (usage.cpu_pressure.as_ref(), usage.memory_pressure.as_ref(), usage.io_pressure.as_ref()) {
        (Some(cpu), Some(memory), Some(io)) => format!("{} {} {}", some(cpu), some(memory), some(io)),
        _ => none(),
    };
    vec![
        name.to_owned(),
        format!("{:.0}", rates.millicores),
        rates.throttled.map_or_else(none, |share| format!("{share:.0}%")),
        bytes(usage.memory_working_set_bytes as f64),
        usage.memory_limit_bytes.map_or_else(none, |limit| bytes(limit as f64)),
        usage.tasks.to_string(),
        bytes(rates.read),
        bytes(rates.written),
        pressure,
        usage.oom_kills.to_string(),
    ]
}

/// As a quantity in a manifest: `64Mi`; two digits where the first would say too little.
pub(crate) fn bytes(value: f64) -> String {
    const UNITS: [&str; 6] = ["", "Ki", "Mi", "Gi", "Ti", "Pi"];
    let mut scaled = value;
    let mut units = UNITS.iter().copied();
    let mut unit = units.next().unwrap_or_default();
    while let Some(next) = (scaled >= 1023.5).then(|| units.next()).flatten() {
        scaled /= 1024.0;
        unit = next;
    }
    let rounded = (scaled * 10.0).round() / 10.0;
    let digits = usize::from(rounded < 10.0 && rounded.fract() != 0.0 && !unit.is_empty());
    format!("{scaled:.digits$}{unit}")
}

pub(super) fn document(all: &[Shown]) -> Value {
    let container = |(container, rates): &(ContainerUse, Rates)| {
        json!({
            "name": container.name, "id": container.id, "image": container.image, "cgroup": container.cgroup,
            "usage": described(&container.usage, rates),
        })
    };
    let pod = |shown: &Shown| {
        json!({
            "namespace": shown.pod.namespace, "name": shown.pod.name, "uid": shown.pod.uid,
            "sandbox": shown.pod.sandbox, "cgroup": shown.pod.cgroup,
            "time": Timestamp::from_nanosecond(i128::try_from(shown.pod.at.as_nanos()).unwrap_or_default())
                .unwrap_or_default().to_string(),
            "usage": described(&shown.pod.total, &shown.rates),
            "containers": shown.containers.iter().map(container).collect::<Vec<_>>(),
        })
    };
    json!({ "pods": all.iter().map(pod).collect::<Vec<_>>() })
}

/// Units are in the names; null is "not known" or "without limit".
fn described(usage: &Usage, rates: &Rates) -> Value {
    let pressure = |pressure: Option<&Pressure>| {
        pressure.map(|p| {
            json!({
                "some10sPercent": p.some_10s, "full10sPercent": p.full_10s,
                "someTotalMicroseconds": p.some_total_micros, "fullTotalMicroseconds": p.full_total_micros,
            })
        })
    };
    let device = |device: &loment_shim::pod::api::Device| {
        json!({
            "device": device_name(device.major, device.minor), "major": device.major, "minor": device.minor,
            "readBytes": device.read_bytes, "writtenBytes": device.written_bytes,
            "reads": device.reads, "writes": device.writes,
        })
    };
    json!({
        "cpu": {
            "millicores": rates.millicores, "throttledPercent": rates.throttled,
            "totalNanoseconds": usage.cpu_nanos, "userNanoseconds": usage.cpu_user_nanos,
            "systemNanoseconds": usage.cpu_system_nanos, "periods": usage.cpu_periods,
            "throttledPeriods": usage.cpu_throttled_periods, "throttledNanoseconds": usage.cpu_throttled_nanos,
            "quotaMicroseconds": usage.cpu_quota_micros, "periodMicroseconds": usage.cpu_period_micros,
        },
        "memory": {
            "usageBytes": usage.memory_bytes, "workingSetBytes": usage.memory_working_set_bytes,
            "anonymousBytes": usage.memory_anonymous_bytes, "fileBytes": usage.memory_file_bytes,
            "swapBytes": usage.memory_swap_bytes, "peakBytes": usage.memory_peak_bytes,
            "limitBytes": usage.memory_limit_bytes, "swapLimitBytes": usage.memory_swap_limit_bytes,
            "limitHits": usage.memory_limit_hits, "faults": usage.memory_faults,
            "majorFaults": usage.memory_major_faults, "oomKills": usage.oom_kills,
        },
        "pids": {
            "tasks": usage.tasks, "processes": usage.processes,
            "limit": Some(usage.tasks_limit).filter(|limit| *limit > 0),
        },
        "io": {
            "readBytesPerSecond": rates.read, "writtenBytesPerSecond": rates.written,
            "devices": usage.io.iter().map(device).collect::<Vec<_>>(),
        },
        "pressure": {
            "cpu": pressure(usage.cpu_pressure.as_ref()), "memory": pressure(usage.memory_pressure.as_ref()),
            "io": pressure(usage.io_pressure.as_ref()),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, nanos: u64, memory: u64) -> PodUse {
        let usage = Usage { cpu_nanos: nanos, memory_working_set_bytes: memory, ..Usage::default() };
        let container =
            ContainerUse { name: "app".into(), id: name.into(), usage: usage.clone(), ..Default::default() };
        PodUse {
            name: name.into(),
            namespace: "default".into(),
            sandbox: name.into(),
            at: Duration::from_nanos(nanos),
            total: usage,
            containers: vec![container],
            ..PodUse::default()
        }
    }

    #[test]
    fn bytes_are_written_as_in_a_manifest() {
        for (value, expected) in [
            (0.0, "0"),
            (1023.0, "1023"),
            (1024.0, "1Ki"),
            (1536.0, "1.5Ki"),
            (67_108_864.0, "64Mi"),
            (1023.9 * 1024.0, "1Mi"),
            (5.5 * 1024.0 * 1024.0 * 1024.0, "5.5Gi"),
        ] {
            assert_eq!(bytes(value), expected, "{value}");
        }
    }

    #[test]
    fn containers_stand_below_their_pod_and_the_largest_first() {
        let before = [pod("small", 0, 0), pod("large", 0, 0)];
        let mut shown =
            compared(&before, vec![pod("small", 1_000_000_000, 1 << 20), pod("large", 2_000_000_000, 4 << 20)]);
        sort(&mut shown, SortBy::Memory);
        let rows = rows(&shown, Columns { namespaces: true, names: true });
        let names: Vec<[&str; 2]> = rows.iter().map(|row| [row[0].as_str(), row[1].as_str()]).collect();
        assert_eq!(
            names,
            [["NAMESPACE", "NAME"], ["default", "large"], ["", "  app"], ["default", "small"], ["", "  app"]]
        );
        let bare = super::rows(&shown, Columns { namespaces: true, names: false });
        assert_eq!(bare, rows[1..]);
        assert_eq!((rows[1][2].as_str(), rows[1][4].as_str(), rows[2][4].as_str()), ("1000", "4Mi", "4Mi"));
    }

    #[test]
    fn what_was_not_there_before_has_no_rate_yet() {
        let shown = compared(&[], vec![pod("new", 5_000_000_000, 0)]);
        assert_eq!((shown[0].rates, shown[0].containers[0].1), (Rates::default(), Rates::default()));
    }
}
