//! Requests and limits as the kernel counts them.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::{Container, PodSpec};
use loment_cri::v1::{HugepageLimit, LinuxContainerResources};

use super::Host;
use crate::manifest::amounts::{Side, effective, is_sidecar, of_container as own, of_pod as shared};
use crate::manifest::quantity::Amount;

/// Microseconds over which a CPU quota counts.
const PERIOD: i64 = 100_000;
/// The smallest quota that the kernel takes, in microseconds.
const MIN_QUOTA: i64 = 1000;
const MIN_SHARES: i64 = 2;
const MAX_SHARES: i64 = 262_144;

/// `status.qosClass`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Qos {
    Guaranteed,
    Burstable,
    BestEffort,
}

impl Qos {
    /// As the API spells it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Qos::Guaranteed => "Guaranteed",
            Qos::Burstable => "Burstable",
            Qos::BestEffort => "BestEffort",
        }
    }
}

/// Whether the pod has `spec.resources`, which then speak for its containers.
fn is_shared(spec: &PodSpec) -> bool {
    let resources = spec.resources.iter();
    resources
        .clone()
        .any(|resources| resources.limits.is_some() || resources.requests.iter().flatten().next().is_some())
}

fn request(container: &Container, resource: &str) -> Option<Amount> {
    own(container, Side::Requests, resource)
}

/// A container without a limit may use what the pod may use.
fn limit(spec: &PodSpec, container: &Container, resource: &str) -> Option<Amount> {
    own(container, Side::Limits, resource).or_else(|| shared(spec, Side::Limits, resource))
}

/// The class that decides who is killed first when memory runs out.
pub(crate) fn qos(spec: &PodSpec) -> Qos {
    const BOTH: [&str; 2] = ["cpu", "memory"];
    type Get<'a> = Box<dyn Fn(Side, &str) -> Option<Amount> + 'a>;
    let askers: Vec<Get<'_>> = if is_shared(spec) {
        vec![Box::new(|side, resource| shared(spec, side, resource))]
    } else {
        super::containers(spec)
            .map(|container| -> Get<'_> { Box::new(move |side, resource| own(container, side, resource)) })
            .collect()
    };
    let set = |amount: Option<Amount>| amount.filter(|amount| amount.is_positive());
    let sides = [Side::Requests, Side::Limits];
    if !askers.iter().any(|get| BOTH.iter().any(|name| sides.iter().any(|side| set(get(*side, name)).is_some()))) {
        return Qos::BestEffort;
    }
    let settled = |get: &Get<'_>, name: &str| {
        let limit = set(get(Side::Limits, name));
        limit.is_some() && limit == get(Side::Requests, name)
    };
    let guaranteed = askers.iter().all(|get| BOTH.iter().all(|name| settled(get, name)));
    if guaranteed { Qos::Guaranteed } else { Qos::Burstable }
}

/// Millicores to cpu.shares.
fn shares(milli: i64) -> i64 {
    milli.saturating_mul(1024).div_euclid(1000).clamp(MIN_SHARES, MAX_SHARES)
}

/// Millicores to microseconds of a period.
fn quota(milli: i64) -> i64 {
    (milli.saturating_mul(PERIOD) / 1000).max(MIN_QUOTA)
}

/// How likely a container of this pod is killed when the machine's memory runs out: -997 last, 1000 first.
fn oom_score_adj(qos: Qos, memory_request: i64, host_memory: i64) -> i64 {
    match qos {
        Qos::Guaranteed => -997,
        Qos::BestEffort => 1000,
        Qos::Burstable => {
            let part = i128::from(memory_request) * 1000 / i128::from(host_memory.max(1));
            (1000 - i64::try_from(part).unwrap_or(1000)).clamp(3, 999)
        }
    }
}

/// The score of one container. A sidecar is never killed before the app with the smallest request.
fn oom_score(spec: &PodSpec, container: &Container, host: &Host) -> i64 {
    let qos = qos(spec);
    let memory = |container: &Container| request(container, "memory").map_or(0, Amount::units);
    // What the pod asks for beyond its containers' requests belongs to all of them in equal parts.
    let all: i64 = super::containers(spec).map(memory).sum();
    let count = i64::try_from(super::containers(spec).count().max(1)).unwrap_or(i64::MAX);
    let rest = shared(spec, Side::Requests, "memory").map_or(0, |pod| (pod.units() - all).max(0) / count);
    let score = |container: &Container| oom_score_adj(qos, memory(container).saturating_add(rest), host.memory);
    match spec.containers.iter().map(score).max() {
        Some(app) if is_sidecar(container) => score(container).min(app),
        _ => score(container),
    }
}

/// The limits of one container.
pub(crate) fn of_container(spec: &PodSpec, container: &Container, host: &Host) -> LinuxContainerResources {
    let quota_of = limit(spec, container, "cpu").filter(|cpu| cpu.is_positive());
    let cpu = request(container, "cpu").or(quota_of).map_or(0, Amount::milli);
    let memory = limit(spec, container, "memory").map_or(0, Amount::units);
    let mut unified = HashMap::new();
    if host.unified {
        // With all controllers on v2, a container that runs out of memory dies as a whole, as under a kubelet.
        unified.insert("memory.oom.group".to_owned(), "1".to_owned());
        if host.swap {
            unified.insert("memory.swap.max".to_owned(), "0".to_owned());
        }
    }
    LinuxContainerResources {
        cpu_period: PERIOD,
        cpu_quota: quota_of.map_or(0, |cpu| quota(cpu.milli())),
        cpu_shares: shares(cpu),
        memory_limit_in_bytes: memory,
        // On v1 the limit is that of memory and swap together.
        memory_swap_limit_in_bytes: if host.swap && !host.unified { memory } else { 0 },
        oom_score_adj: oom_score(spec, container, host),
        hugepage_limits: huge_pages(host, |resource| limit(spec, container, resource)),
        unified,
        ..LinuxContainerResources::default()
    }
}

/// The limits of the pod as a whole: what its containers need at the time when they need most together.
pub(crate) fn of_pod(spec: &PodSpec, host: &Host) -> LinuxContainerResources {
    let limited = |resource: &str| {
        let own = |container| own(container, Side::Limits, resource).is_some_and(Amount::is_positive);
        shared(spec, Side::Limits, resource).is_some_and(Amount::is_positive) || super::containers(spec).all(own)
    };
    let mut total = LinuxContainerResources {
        cpu_period: PERIOD,
        cpu_shares: shares(effective(spec, Side::Requests, "cpu").milli()),
        hugepage_limits: huge_pages(host, |resource| {
            Some(effective(spec, Side::Limits, resource)).filter(|amount| amount.is_positive())
        }),
        ..LinuxContainerResources::default()
    };
    if limited("cpu") {
        total.cpu_quota = quota(effective(spec, Side::Limits, "cpu").milli());
    }
    if limited("memory") {
        total.memory_limit_in_bytes = effective(spec, Side::Limits, "memory").units();
    }
    total
}

/// A limit for every size of huge page that this machine has pages of: nobody takes what was not asked for.
fn huge_pages(host: &Host, limit: impl Fn(&str) -> Option<Amount>) -> Vec<HugepageLimit> {
    let of_size = |bytes: &i64| HugepageLimit {
        page_size: page_size(*bytes),
        limit: limit(&format!("hugepages-{}", binary(*bytes)))
            .map_or(0, |amount| u64::try_from(amount.units()).unwrap_or_default()),
    };
    host.huge_pages.iter().map(of_size).collect()
}

/// 2097152 as `2Mi`, the way resources are called.
pub(crate) fn binary(bytes: i64) -> String {
    match bytes {
        bytes if bytes % (1 << 30) == 0 => format!("{}Gi", bytes >> 30),
        bytes if bytes % (1 << 20) == 0 => format!("{}Mi", bytes >> 20),
        bytes => format!("{}Ki", bytes >> 10),
    }
}

/// 2097152 as `2MB`, the way the kernel's controller calls it.
fn page_size(bytes: i64) -> String {
    binary(bytes).replace('i', "B")
}

/// What `resourceFieldRef` yields: a limit that is not set is what the machine has, a request that is not set is 0.
pub(crate) fn field(
    spec: &PodSpec,
    container: &Container,
    resource: &str,
    divisor: Amount,
    host: &Host,
) -> Option<i64> {
    let (kind, name) = resource.split_once('.')?;
    let amount = match kind {
        "requests" => request(container, name).unwrap_or_default(),
        "limits" => match limit(spec, container, name) {
            Some(limit) => limit,
            None => Amount::parse(&match name {
                "cpu" => host.processors.to_string(),
                "memory" => host.memory.to_string(),
                "ephemeral-storage" => host.storage.to_string(),
                _ => "0".to_owned(),
            })?,
        },
        _ => return None,
    };
    Some(amount.divided_by(divisor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::amounts::tests::resources;

    fn container(requests: &[(&str, &str)], limits: &[(&str, &str)]) -> Container {
        Container { resources: Some(resources(requests, limits)), ..Container::default() }
    }

    fn pod(containers: Vec<Container>) -> PodSpec {
        PodSpec { containers, ..PodSpec::default() }
    }

    const BOTH: [(&str, &str); 2] = [("cpu", "1"), ("memory", "1Mi")];

    #[test]
    fn c6_shares_and_quota_follow_the_kubelet() {
        for (milli, expected) in [(0, 2), (10, 10), (100, 102), (250, 256), (500, 512), (1000, 1024), (4000, 4096)] {
            assert_eq!(shares(milli), expected, "{milli}m");
        }
        assert_eq!(shares(i64::MAX), MAX_SHARES);
        for (milli, expected) in [(1, 1000), (10, 1000), (100, 10_000), (1000, 100_000), (4000, 400_000)] {
            assert_eq!(quota(milli), expected, "{milli}m");
        }
    }

    #[test]
    fn qos_5_3_follows_requests_and_limits() {
        assert_eq!(qos(&pod(vec![Container::default()])), Qos::BestEffort);
        assert_eq!(qos(&pod(vec![container(&BOTH, &BOTH)])), Qos::Guaranteed);
        assert_eq!(qos(&pod(vec![container(&BOTH, &BOTH), Container::default()])), Qos::Burstable);
        assert_eq!(qos(&pod(vec![container(&[("cpu", "1m")], &[])])), Qos::Burstable);
        let shared = |of| PodSpec { resources: Some(of), ..pod(vec![Container::default()]) };
        assert_eq!(qos(&shared(resources(&BOTH, &BOTH))), Qos::Guaranteed, "the pod's own resources decide");
        assert_eq!(qos(&shared(resources(&BOTH, &[]))), Qos::Burstable);
    }

    #[test]
    fn c10_who_asks_for_much_memory_is_killed_late() {
        assert_eq!(oom_score_adj(Qos::Burstable, 0, 1000), 999);
        assert_eq!(oom_score_adj(Qos::Burstable, 500, 1000), 500);
        assert_eq!(oom_score_adj(Qos::Burstable, 1000, 1000), 3);
    }

    #[test]
    fn s11_a_sidecar_is_not_killed_before_the_app_with_the_smallest_request() {
        let host = Host { memory: 1000, ..Host::default() };
        let memory = |amount| container(&[("memory", amount)], &[]);
        let sidecar = Container { restart_policy: Some("Always".into()), ..Container::default() };
        let spec = PodSpec {
            init_containers: Some(vec![sidecar.clone()]),
            containers: vec![memory("400"), memory("200")],
            ..PodSpec::default()
        };
        assert_eq!(oom_score(&spec, &spec.containers[0], &host), 600);
        assert_eq!(oom_score(&spec, &spec.containers[1], &host), 800);
        assert_eq!(oom_score(&spec, &sidecar, &host), 800);
    }

    #[test]
    fn c8_a_pod_is_limited_only_if_all_its_containers_are() {
        let limited = container(&[], &[("cpu", "500m"), ("memory", "10Mi")]);
        let of = |containers| of_pod(&pod(containers), &Host::default());
        let both = of(vec![limited.clone(), limited.clone()]);
        assert_eq!((both.cpu_quota, both.memory_limit_in_bytes), (100_000, 20 << 20));
        let one = of(vec![limited, Container::default()]);
        assert_eq!((one.cpu_quota, one.memory_limit_in_bytes), (0, 0));
    }

    #[test]
    fn c9_containers_without_a_limit_have_the_pods() {
        let spec = PodSpec {
            resources: Some(resources(&[("cpu", "1"), ("memory", "8Mi")], &[("cpu", "2"), ("memory", "16Mi")])),
            ..pod(vec![Container::default(), container(&[("cpu", "250m")], &[("cpu", "500m"), ("memory", "4Mi")])])
        };
        let host = Host::default();
        let total = of_pod(&spec, &host);
        assert_eq!((total.cpu_shares, total.cpu_quota, total.memory_limit_in_bytes), (1024, 200_000, 16 << 20));
        let free = of_container(&spec, &spec.containers[0], &host);
        assert_eq!((free.cpu_shares, free.cpu_quota, free.memory_limit_in_bytes), (2048, 200_000, 16 << 20));
        let own = of_container(&spec, &spec.containers[1], &host);
        assert_eq!((own.cpu_shares, own.cpu_quota, own.memory_limit_in_bytes), (256, 50_000, 4 << 20));
    }

    #[test]
    fn c10_huge_pages_that_nobody_asked_for_are_not_to_be_had() {
        let host = Host { huge_pages: vec![2 << 20, 1 << 30], ..Host::default() };
        let spec = pod(vec![container(&BOTH, &[("hugepages-2Mi", "4Mi"), ("cpu", "1")]), Container::default()]);
        let limits = |container| -> Vec<(String, u64)> {
            let limits = of_container(&spec, container, &host).hugepage_limits;
            limits.into_iter().map(|limit| (limit.page_size, limit.limit)).collect()
        };
        assert_eq!(limits(&spec.containers[0]), [("2MB".to_owned(), 4 << 20), ("1GB".to_owned(), 0)]);
        assert_eq!(limits(&spec.containers[1]), [("2MB".to_owned(), 0), ("1GB".to_owned(), 0)]);
        assert_eq!(of_pod(&spec, &host).hugepage_limits[0].limit, 4 << 20);
        assert!(of_container(&spec, &spec.containers[0], &Host::default()).hugepage_limits.is_empty());
    }

    #[test]
    fn c10_swap_is_not_used_where_the_machine_has_some() {
        let spec = pod(vec![container(&[], &BOTH)]);
        let of = |host: Host| of_container(&spec, &spec.containers[0], &host);
        assert_eq!(of(Host { swap: true, ..Host::default() }).memory_swap_limit_in_bytes, 1 << 20);
        assert_eq!(of(Host::default()).memory_swap_limit_in_bytes, 0);
        let unified = of(Host { swap: true, unified: true, ..Host::default() });
        assert_eq!((unified.memory_swap_limit_in_bytes, unified.unified["memory.swap.max"].as_str()), (0, "0"));
    }

    #[test]
    fn c3_an_unset_limit_reads_as_what_the_machine_has() {
        let host = Host { processors: 2, memory: 64 << 20, storage: 5 << 30, ..Host::default() };
        let divisor = |text| Amount::parse(text).unwrap();
        let spec = pod(vec![container(&[("memory", "1Mi")], &[("cpu", "250m")])]);
        let read = |resource, by| field(&spec, &spec.containers[0], resource, divisor(by), &host);
        assert_eq!(read("limits.cpu", "1"), Some(1));
        assert_eq!(read("limits.cpu", "1m"), Some(250));
        assert_eq!(read("limits.memory", "1Mi"), Some(64));
        assert_eq!(read("limits.ephemeral-storage", "1Gi"), Some(5));
        assert_eq!(read("requests.memory", "1"), Some(1 << 20));
        assert_eq!(read("requests.cpu", "0"), Some(0));
    }
}
