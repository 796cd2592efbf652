//! Requests and limits as the kernel counts them.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::{Container, PodSpec};
use loment_cri::v1::LinuxContainerResources;

use super::Host;
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

fn request(container: &Container, resource: &str) -> Option<Amount> {
    container.resources.as_ref()?.requests.as_ref()?.get(resource).map(Amount::of)
}

fn limit(container: &Container, resource: &str) -> Option<Amount> {
    container.resources.as_ref()?.limits.as_ref()?.get(resource).map(Amount::of)
}

/// The class that decides who is killed first when memory runs out.
pub(crate) fn qos(spec: &PodSpec) -> Qos {
    let set = |amount: Option<Amount>| amount.filter(|amount| amount.is_positive());
    let both = ["cpu", "memory"];
    let all = || super::containers(spec);
    if !all().any(|c| both.iter().any(|r| set(request(c, r)).is_some() || set(limit(c, r)).is_some())) {
        return Qos::BestEffort;
    }
    let guaranteed = all().all(|c| both.iter().all(|r| set(limit(c, r)).is_some() && request(c, r) == limit(c, r)));
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

/// The limits of one container.
pub(crate) fn of_container(spec: &PodSpec, container: &Container, host: &Host) -> LinuxContainerResources {
    let cpu = request(container, "cpu").map_or(0, Amount::milli);
    let memory = request(container, "memory").map_or(0, Amount::units);
    // With all controllers on v2, a container that runs out of memory dies as a whole, as under a kubelet.
    let unified = match host.unified {
        true => HashMap::from([("memory.oom.group".to_owned(), "1".to_owned())]),
        false => HashMap::new(),
    };
    LinuxContainerResources {
        cpu_period: PERIOD,
        cpu_quota: limit(container, "cpu").filter(|cpu| cpu.is_positive()).map_or(0, |cpu| quota(cpu.milli())),
        cpu_shares: shares(cpu),
        memory_limit_in_bytes: limit(container, "memory").map_or(0, Amount::units),
        oom_score_adj: oom_score_adj(qos(spec), memory, host.memory),
        unified,
        ..LinuxContainerResources::default()
    }
}

/// The limits of the pod as a whole: what its containers need at the time when they need most together.
pub(crate) fn of_pod(spec: &PodSpec) -> LinuxContainerResources {
    let every = |resource| super::containers(spec).all(|c| limit(c, resource).is_some_and(Amount::is_positive));
    let mut total = LinuxContainerResources {
        cpu_period: PERIOD,
        cpu_shares: shares(effective(spec, |c| request(c, "cpu")).milli()),
        ..LinuxContainerResources::default()
    };
    if every("cpu") {
        total.cpu_quota = quota(effective(spec, |c| limit(c, "cpu")).milli());
    }
    if every("memory") {
        total.memory_limit_in_bytes = effective(spec, |c| limit(c, "memory")).units();
    }
    total
}

/// The largest sum that is needed at one time: an init container runs beside the sidecars before it, the apps beside all.
fn effective(spec: &PodSpec, amount: impl Fn(&Container) -> Option<Amount>) -> Amount {
    let amount = |container| amount(container).unwrap_or_default();
    let mut sidecars = Amount::default();
    let mut most = Amount::default();
    for container in spec.init_containers.iter().flatten() {
        if container.restart_policy.as_deref() == Some("Always") {
            sidecars = sidecars + amount(container);
            most = most.max(sidecars);
        } else {
            most = most.max(sidecars + amount(container));
        }
    }
    let apps = spec.containers.iter().map(amount).fold(sidecars, |sum, app| sum + app);
    most.max(apps)
}

/// What `resourceFieldRef` yields: a limit that is not set is what the machine has, a request that is not set is 0.
pub(crate) fn field(container: &Container, resource: &str, divisor: Amount, host: &Host) -> Option<i64> {
    let (kind, name) = resource.split_once('.')?;
    let amount = match kind {
        "requests" => request(container, name).unwrap_or_default(),
        "limits" => match limit(container, name) {
            Some(limit) => limit,
            None => Amount::parse(&match name {
                "cpu" => host.processors.to_string(),
                "memory" => host.memory.to_string(),
                _ => "0".to_owned(),
            })?,
        },
        _ => return None,
    };
    Some(amount.divided_by(divisor))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::api::core::v1::ResourceRequirements;
    use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

    use super::*;

    fn container(requests: &[(&str, &str)], limits: &[(&str, &str)]) -> Container {
        let list = |pairs: &[(&str, &str)]| -> BTreeMap<String, Quantity> {
            pairs.iter().map(|(name, amount)| ((*name).to_owned(), Quantity((*amount).to_owned()))).collect()
        };
        let resources =
            ResourceRequirements { requests: Some(list(requests)), limits: Some(list(limits)), claims: None };
        Container { resources: Some(resources), ..Container::default() }
    }

    fn cpu(amount: &str, sidecar: bool) -> Container {
        Container { restart_policy: sidecar.then(|| "Always".to_owned()), ..container(&[("cpu", amount)], &[]) }
    }

    #[test]
    fn shares_and_quota_follow_the_kubelet() {
        for (milli, expected) in [(0, 2), (10, 10), (100, 102), (250, 256), (500, 512), (1000, 1024), (4000, 4096)] {
            assert_eq!(shares(milli), expected, "{milli}m");
        }
        assert_eq!(shares(i64::MAX), MAX_SHARES);
        for (milli, expected) in [(1, 1000), (10, 1000), (100, 10_000), (1000, 100_000), (4000, 400_000)] {
            assert_eq!(quota(milli), expected, "{milli}m");
        }
    }

    #[test]
    fn the_quality_of_service_follows_requests_and_limits() {
        let pod = |containers| PodSpec { containers, ..PodSpec::default() };
        let both = [("cpu", "1"), ("memory", "1Mi")];
        assert_eq!(qos(&pod(vec![Container::default()])), Qos::BestEffort);
        assert_eq!(qos(&pod(vec![container(&both, &both)])), Qos::Guaranteed);
        assert_eq!(qos(&pod(vec![container(&both, &both), Container::default()])), Qos::Burstable);
        assert_eq!(qos(&pod(vec![container(&[("cpu", "1m")], &[])])), Qos::Burstable);
    }

    #[test]
    fn who_asks_for_much_memory_is_killed_late() {
        assert_eq!(oom_score_adj(Qos::Burstable, 0, 1000), 999);
        assert_eq!(oom_score_adj(Qos::Burstable, 500, 1000), 500);
        assert_eq!(oom_score_adj(Qos::Burstable, 1000, 1000), 3);
    }

    #[test]
    fn init_containers_count_beside_the_sidecars_before_them() {
        let spec = PodSpec {
            init_containers: Some(vec![cpu("500m", false), cpu("100m", true), cpu("300m", false)]),
            containers: vec![cpu("200m", false), cpu("100m", false)],
            ..PodSpec::default()
        };
        assert_eq!(effective(&spec, |c| request(c, "cpu")).milli(), 500);
    }

    #[test]
    fn a_pod_is_limited_only_if_all_its_containers_are() {
        let limited = container(&[], &[("cpu", "500m"), ("memory", "10Mi")]);
        let pod = |containers| of_pod(&PodSpec { containers, ..PodSpec::default() });
        let both = pod(vec![limited.clone(), limited.clone()]);
        assert_eq!((both.cpu_quota, both.memory_limit_in_bytes), (100_000, 20 << 20));
        let one = pod(vec![limited, Container::default()]);
        assert_eq!((one.cpu_quota, one.memory_limit_in_bytes), (0, 0));
    }

    #[test]
    fn an_unset_limit_reads_as_what_the_machine_has() {
        let host = Host { processors: 2, memory: 64 << 20, ..Host::default() };
        let divisor = |text| Amount::parse(text).unwrap();
        let given = container(&[("memory", "1Mi")], &[("cpu", "250m")]);
        assert_eq!(field(&given, "limits.cpu", divisor("1"), &host), Some(1));
        assert_eq!(field(&given, "limits.memory", divisor("1Mi"), &host), Some(64));
        assert_eq!(field(&given, "requests.memory", divisor("1"), &host), Some(1 << 20));
        assert_eq!(field(&given, "requests.cpu", divisor("1"), &host), Some(0));
    }
}
