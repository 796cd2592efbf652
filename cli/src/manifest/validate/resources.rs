//! Rules for the resources of a container and of the pod.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::super::amounts::{self, Side};
use super::super::quantity::Amount;
use super::errors::{Errors, quoted};
use super::names::qualified_name_problem;

const STANDARD: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// How the names of huge page resources begin: `hugepages-2Mi`.
const HUGE_PAGES: &str = "hugepages-";

type List = BTreeMap<String, Quantity>;

pub(super) fn check(errors: &mut Errors, path: &str, container: &Container) {
    let Some(resources) = &container.resources else { return };
    let claims = resources.claims.iter().flatten().count() > 0;
    errors.refuse(&format!("{path}.claims"), claims, "devices are given out by a cluster's drivers");
    check_lists(errors, path, resources, check_name);
}

/// `spec.resources`: what the containers share.
pub(super) fn check_pod(errors: &mut Errors, spec: &PodSpec) {
    let Some(resources) = &spec.resources else { return };
    let path = "spec.resources";
    if resources.claims.iter().flatten().next().is_some() {
        errors.forbidden(&format!("{path}.claims"), "claims may not be set for Resources at pod-level");
    }
    check_lists(errors, path, resources, |errors, path, name| {
        if !["cpu", "memory"].contains(&name) && !name.starts_with(HUGE_PAGES) {
            errors.unsupported(path, name, &["cpu", "hugepages-", "memory"]);
        }
    });
    for (name, request) in resources.requests.iter().flatten() {
        let together = amounts::together(spec, Side::Requests, name);
        if Amount::parse(&request.0).is_some_and(|request| request < together) {
            let detail =
                format!("must be greater than or equal to aggregate container requests of {}", together.quantity().0);
            errors.invalid(&format!("{path}.requests[{name}]"), quoted(&request.0), &detail);
        }
    }
    check_containers_below(errors, spec, resources.limits.as_ref());
}

fn check_containers_below(errors: &mut Errors, spec: &PodSpec, limits: Option<&List>) {
    let inits =
        spec.init_containers.iter().flatten().enumerate().map(|(i, c)| (format!("spec.initContainers[{i}]"), c));
    let apps = spec.containers.iter().enumerate().map(|(i, c)| (format!("spec.containers[{i}]"), c));
    for (path, container) in apps.chain(inits) {
        for (name, limit) in limits.into_iter().flatten() {
            let own = amounts::of_container(container, Side::Limits, name);
            let Some(own) = own.filter(|own| Amount::parse(&limit.0).is_some_and(|limit| *own > limit)) else {
                continue;
            };
            let detail = format!("must be less than or equal to pod limits of {}", limit.0);
            errors.invalid(&format!("{path}.resources.limits[{name}]"), quoted(&own.quantity().0), &detail);
        }
    }
}

fn check_lists(
    errors: &mut Errors,
    path: &str,
    resources: &ResourceRequirements,
    name: impl Fn(&mut Errors, &str, &str),
) {
    let (limits, requests) = (resources.limits.as_ref(), resources.requests.as_ref());
    for (side, list) in [("limits", limits), ("requests", requests)] {
        for (resource, quantity) in list.into_iter().flatten() {
            let path = format!("{path}.{side}[{resource}]");
            name(errors, &path, resource);
            check_quantity(errors, &path, resource, quantity);
        }
    }
    for (resource, request) in requests.into_iter().flatten() {
        check_pair(errors, path, resource, request, limits.and_then(|limits| limits.get(resource)));
    }
    let all = || limits.into_iter().flatten().chain(requests.into_iter().flatten());
    if all().any(|(name, _)| name.starts_with(HUGE_PAGES))
        && !all().any(|(name, _)| ["cpu", "memory"].contains(&name.as_str()))
    {
        errors.forbidden(path, "HugePages require cpu or memory");
    }
}

/// A request beside the limit of the same resource. Huge pages cannot be promised twice: both must be there and equal.
fn check_pair(errors: &mut Errors, path: &str, name: &str, request: &Quantity, limit: Option<&Quantity>) {
    let Some(asked) = Amount::parse(&request.0) else { return };
    let huge = name.starts_with(HUGE_PAGES);
    match limit.map(|limit| (Amount::parse(&limit.0), limit)) {
        None if huge => {
            errors.required(&format!("{path}.limits"), "Limit must be set for non overcommitable resources");
        }
        Some((Some(allowed), limit)) if huge && asked != allowed => {
            let detail = format!("must be equal to {name} limit of {}", limit.0);
            errors.invalid(&format!("{path}.requests"), quoted(&request.0), &detail);
        }
        Some((Some(allowed), limit)) if asked > allowed => {
            let detail = format!("must be less than or equal to {name} limit of {}", limit.0);
            errors.invalid(&format!("{path}.requests"), quoted(&request.0), &detail);
        }
        _ => {}
    }
}

fn check_quantity(errors: &mut Errors, path: &str, name: &str, quantity: &Quantity) {
    match Amount::parse(&quantity.0) {
        None => errors.invalid(path, quoted(&quantity.0), NO_QUANTITY),
        Some(amount) if amount.is_negative() => {
            errors.invalid(path, quoted(&quantity.0), "must be greater than or equal to 0");
        }
        Some(amount) if name != "cpu" && STANDARD.contains(&name) && !amount.is_whole() => {
            errors.warn(format!("{path}: fractional byte value {:?} is invalid, must be an integer", quantity.0));
        }
        Some(_) => {}
    }
}

/// What is said of text that is no quantity.
pub(super) const NO_QUANTITY: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

fn check_name(errors: &mut Errors, path: &str, name: &str) {
    if STANDARD.contains(&name) {
    } else if let Some(problem) = qualified_name_problem(name) {
        errors.invalid(path, quoted(name), problem);
    } else if let Some(size) = name.strip_prefix(HUGE_PAGES) {
        if Amount::parse(size).is_none_or(|size| !size.is_positive()) {
            errors.invalid(path, quoted(name), NO_QUANTITY);
        }
    } else if name.contains('/') {
        errors.refuse(path, true, "extended resources are given out by device plugins, and there are none here");
    } else {
        errors.invalid(path, quoted(name), "must be a standard resource type or fully qualified");
    }
}
