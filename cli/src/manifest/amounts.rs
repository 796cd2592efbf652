//! What containers ask for, one by one and together.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::quantity::Amount;

/// Requests or limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Requests,
    Limits,
}

/// One side of a list of resources.
pub(crate) fn list(resources: Option<&ResourceRequirements>, side: Side) -> Option<&BTreeMap<String, Quantity>> {
    let resources = resources?;
    match side {
        Side::Requests => resources.requests.as_ref(),
        Side::Limits => resources.limits.as_ref(),
    }
}

/// What a container asks for of one resource.
pub(crate) fn of_container(container: &Container, side: Side, resource: &str) -> Option<Amount> {
    list(container.resources.as_ref(), side)?.get(resource).map(Amount::of)
}

/// What the pod as a whole asks for of one resource: `spec.resources`.
pub(crate) fn of_pod(spec: &PodSpec, side: Side, resource: &str) -> Option<Amount> {
    list(spec.resources.as_ref(), side)?.get(resource).map(Amount::of)
}

/// Whether an init container is a sidecar: one that runs beside the others.
pub(crate) fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// The largest sum that the containers need at one time: an init container runs beside the sidecars before it, the apps
/// beside all sidecars.
pub(crate) fn together(spec: &PodSpec, side: Side, resource: &str) -> Amount {
    let amount = |container| of_container(container, side, resource).unwrap_or_default();
    let mut sidecars = Amount::default();
    let mut most = Amount::default();
    for container in spec.init_containers.iter().flatten() {
        if is_sidecar(container) {
            sidecars = sidecars + amount(container);
            most = most.max(sidecars);
        } else {
            most = most.max(sidecars + amount(container));
        }
    }
    let apps = spec.containers.iter().map(amount).fold(sidecars, |sum, app| sum + app);
    most.max(apps)
}

/// What the pod needs of a resource: what it says itself, or what its containers need together, and the overhead.
pub(crate) fn effective(spec: &PodSpec, side: Side, resource: &str) -> Amount {
    let own = of_pod(spec, side, resource).unwrap_or_else(|| together(spec, side, resource));
    let overhead = spec.overhead.as_ref().and_then(|overhead| overhead.get(resource)).map(Amount::of);
    // A limit that nobody has set is not made one by the overhead.
    match overhead {
        Some(overhead) if side == Side::Requests || own.is_positive() => own + overhead,
        _ => own,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A list of resources.
    pub(crate) fn resources(requests: &[(&str, &str)], limits: &[(&str, &str)]) -> ResourceRequirements {
        let list = |pairs: &[(&str, &str)]| -> BTreeMap<String, Quantity> {
            pairs.iter().map(|(name, amount)| ((*name).to_owned(), Quantity((*amount).to_owned()))).collect()
        };
        ResourceRequirements { requests: Some(list(requests)), limits: Some(list(limits)), claims: None }
    }

    fn cpu(amount: &str, sidecar: bool) -> Container {
        Container {
            restart_policy: sidecar.then(|| "Always".to_owned()),
            resources: Some(resources(&[("cpu", amount)], &[])),
            ..Container::default()
        }
    }

    #[test]
    fn i17_init_containers_count_beside_the_sidecars_before_them() {
        let spec = PodSpec {
            init_containers: Some(vec![cpu("500m", false), cpu("100m", true), cpu("300m", false)]),
            containers: vec![cpu("200m", false), cpu("100m", false)],
            ..PodSpec::default()
        };
        assert_eq!(effective(&spec, Side::Requests, "cpu").milli(), 500);
        let more = PodSpec { init_containers: Some(vec![cpu("100m", true), cpu("500m", false)]), ..spec.clone() };
        assert_eq!(effective(&more, Side::Requests, "cpu").milli(), 600, "a sidecar before it counts");
        let overhead = BTreeMap::from([("cpu".to_owned(), Quantity("50m".into()))]);
        let with = PodSpec { overhead: Some(overhead), ..spec };
        assert_eq!(effective(&with, Side::Requests, "cpu").milli(), 550);
        assert!(!effective(&with, Side::Limits, "cpu").is_positive());
    }
}
