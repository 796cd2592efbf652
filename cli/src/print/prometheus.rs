//! What pods use, in Prometheus' text format (version 0.0.4), under the names that cAdvisor has given it.

use std::fmt::Write as _;

use loment_cgroups::stats::device_name;
use loment_shim::pod::api::{Device, Pressure, Usage};

use crate::usage::{ContainerUse, PodUse};

/// Name, type, help, and what a cgroup has of it: values with labels of their own.
struct Family {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    values: fn(&Usage) -> Vec<(String, f64)>,
}

/// One value without further labels.
fn one(value: impl Into<Option<f64>>) -> Vec<(String, f64)> {
    value.into().map(|value| (String::new(), value)).into_iter().collect()
}

fn count(value: u64) -> Vec<(String, f64)> {
    one(value as f64)
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

/// Only of cgroups with a quota.
fn with_quota(usage: &Usage, value: f64) -> Vec<(String, f64)> {
    one(usage.cpu_quota_micros.map(|_| value))
}

fn stalled(pressure: Option<&Pressure>, micros: fn(&Pressure) -> u64) -> Vec<(String, f64)> {
    one(pressure.map(|pressure| micros(pressure) as f64 / 1e6))
}

fn by_device(usage: &Usage, value: fn(&Device) -> u64) -> Vec<(String, f64)> {
    let labelled = |device: &Device| {
        let (major, minor) = (device.major, device.minor);
        let name = device_name(major, minor).unwrap_or_else(|| format!("{major}:{minor}"));
        (format!("device=\"{}\"", escaped(&name)), value(device) as f64)
    };
    usage.io.iter().map(labelled).collect()
}

macro_rules! families {
    ($($kind:ident $name:ident $help:literal $usage:ident => $values:expr;)*) => {
        &[$(Family {
            name: concat!("container_", stringify!($name)),
            kind: stringify!($kind),
            help: $help,
            values: |$usage| $values,
        }),*]
    };
}

const FAMILIES: &[Family] = families! {
    counter cpu_usage_seconds_total "Processor time." u => vec![("cpu=\"total\"".to_owned(), seconds(u.cpu_nanos))];
    counter cpu_user_seconds_total "Processor time in user mode." u => one(seconds(u.cpu_user_nanos));
    counter cpu_system_seconds_total "Processor time in the kernel." u => one(seconds(u.cpu_system_nanos));
    counter cpu_cfs_periods_total "Enforcement periods of the quota." u => with_quota(u, u.cpu_periods as f64);
    counter cpu_cfs_throttled_periods_total "Enforcement periods in which the quota ran out."
        u => with_quota(u, u.cpu_throttled_periods as f64);
    counter cpu_cfs_throttled_seconds_total "Time that tasks were held back."
        u => with_quota(u, seconds(u.cpu_throttled_nanos));
    gauge memory_usage_bytes "Memory, all of it." u => count(u.memory_bytes);
    gauge memory_working_set_bytes "Memory without file cache that can be had back at once."
        u => count(u.memory_working_set_bytes);
    gauge memory_rss "Anonymous memory in bytes." u => count(u.memory_anonymous_bytes);
    gauge memory_cache "File cache in bytes." u => count(u.memory_file_bytes);
    gauge memory_mapped_file "Mapped files in bytes." u => count(u.memory_mapped_bytes);
    gauge memory_swap "Swap in bytes." u => count(u.memory_swap_bytes);
    gauge memory_max_usage_bytes "The most memory that was in use at once." u => count(u.memory_peak_bytes);
    counter memory_failcnt "How often the limit on memory was hit." u => count(u.memory_limit_hits);
    counter memory_failures_total "Page faults." u => [("pgfault", u.memory_faults), ("pgmajfault", u.memory_major_faults)]
        .map(|(kind, value)| (format!("failure_type=\"{kind}\",scope=\"hierarchy\""), value as f64)).into();
    counter oom_events_total "Processes that were killed for want of memory." u => count(u.oom_kills);
    gauge processes "Processes." u => count(u.processes);
    gauge threads "Processes and threads." u => count(u.tasks);
    gauge threads_max "How many processes and threads there may be; 0 is without limit." u => count(u.tasks_limit);
    counter fs_reads_bytes_total "Bytes read." u => by_device(u, |device| device.read_bytes);
    counter fs_writes_bytes_total "Bytes written." u => by_device(u, |device| device.written_bytes);
    counter fs_reads_total "Reads." u => by_device(u, |device| device.reads);
    counter fs_writes_total "Writes." u => by_device(u, |device| device.writes);
    counter pressure_cpu_waiting_seconds_total "Time in which some tasks waited for a processor."
        u => stalled(u.cpu_pressure.as_ref(), |pressure| pressure.some_total_micros);
    counter pressure_cpu_stalled_seconds_total "Time in which all tasks waited for a processor."
        u => stalled(u.cpu_pressure.as_ref(), |pressure| pressure.full_total_micros);
    counter pressure_memory_waiting_seconds_total "Time in which some tasks waited for memory."
        u => stalled(u.memory_pressure.as_ref(), |pressure| pressure.some_total_micros);
    counter pressure_memory_stalled_seconds_total "Time in which all tasks waited for memory."
        u => stalled(u.memory_pressure.as_ref(), |pressure| pressure.full_total_micros);
    counter pressure_io_waiting_seconds_total "Time in which some tasks waited for a disk."
        u => stalled(u.io_pressure.as_ref(), |pressure| pressure.some_total_micros);
    counter pressure_io_stalled_seconds_total "Time in which all tasks waited for a disk."
        u => stalled(u.io_pressure.as_ref(), |pressure| pressure.full_total_micros);
    gauge spec_cpu_period "Length of an enforcement period in microseconds." u => count(u.cpu_period_micros);
    gauge spec_cpu_quota "Microseconds of a period that may be used." u => one(u.cpu_quota_micros.map(|quota| quota as f64));
    gauge spec_memory_limit_bytes "How much memory may be used; 0 is without limit."
        u => count(u.memory_limit_bytes.unwrap_or(0));
    gauge spec_memory_swap_limit_bytes "How much memory may be swapped; 0 is without limit or none."
        u => count(u.memory_swap_limit_bytes.unwrap_or(0));
    gauge spec_memory_reservation_limit_bytes "How much memory is left alone as long as others have more to give."
        u => count(u.memory_reservation_bytes);
};

/// The page: every family with the values of every pod and container.
pub(crate) fn page(pods: &[PodUse]) -> String {
    let cgroups: Vec<(String, &Usage)> = pods.iter().flat_map(labelled).collect();
    let mut text = String::new();
    for family in FAMILIES {
        // A String takes all that is written.
        let _ = writeln!(text, "# HELP {0} {1}\n# TYPE {0} {2}", family.name, family.help, family.kind);
        for (labels, usage) in &cgroups {
            for (own, value) in (family.values)(usage) {
                let separator = if own.is_empty() { "" } else { "," };
                let _ = writeln!(text, "{}{{{labels}{separator}{own}}} {value}", family.name);
            }
        }
    }
    text
}

/// The cgroups of a pod with their labels: the pod's own has no container's name, the sandbox is `POD`.
fn labelled(pod: &PodUse) -> Vec<(String, &Usage)> {
    let labels = |container: &str, id: &str, cgroup: &str, image: &str| {
        let id = if cgroup.is_empty() { id.to_owned() } else { format!("/{}", cgroup.trim_start_matches('/')) };
        let all = [
            ("namespace", pod.namespace.as_str()),
            ("pod", &pod.name),
            ("container", container),
            ("id", &id),
            ("image", image),
        ];
        all.map(|(key, value)| format!("{key}=\"{}\"", escaped(value))).join(",")
    };
    let of = |name: &str, container: &ContainerUse| labels(name, &container.id, &container.cgroup, &container.image);
    // The sum of a pod without a cgroup has the sandbox's id, the sandbox has its cgroup.
    let total = (labels("", &pod.sandbox, &pod.cgroup, ""), &pod.total);
    let sandbox = pod.own.iter().map(|own| (of("POD", own), &own.usage));
    let containers = pod.containers.iter().map(|container| (of(&container.name, container), &container.usage));
    std::iter::once(total).chain(sandbox).chain(containers).collect()
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_each_family_once_and_a_line_for_each_cgroup() {
        let usage = Usage { cpu_nanos: 1_500_000_000, memory_limit_bytes: Some(4096), ..Usage::default() };
        let container =
            ContainerUse { name: "a\"b".into(), id: "1".into(), image: "busybox".into(), usage, ..Default::default() };
        let pod = PodUse {
            namespace: "default".into(),
            name: "web".into(),
            sandbox: "0".into(),
            cgroup: "loment/podx".into(),
            containers: vec![container],
            ..Default::default()
        };
        let page = page(&[pod]);
        let lines: Vec<&str> = page.lines().filter(|line| line.contains("cpu_usage_seconds_total")).collect();
        let expected = [
            "# HELP container_cpu_usage_seconds_total Processor time.",
            "# TYPE container_cpu_usage_seconds_total counter",
            r#"container_cpu_usage_seconds_total{namespace="default",pod="web",container="",id="/loment/podx",image="",cpu="total"} 0"#,
            r#"container_cpu_usage_seconds_total{namespace="default",pod="web",container="a\"b",id="1",image="busybox",cpu="total"} 1.5"#,
        ];
        assert_eq!(lines, expected);
        assert!(!page.contains("\ncontainer_pressure_"), "what is not accounted is not said");
        assert!(!page.contains("\ncontainer_cpu_cfs_"), "nor what there is no quota for");
        assert!(page.contains("container_spec_memory_limit_bytes{namespace=\"default\",pod=\"web\",container=\"\""));
    }
}
