//! Rules for the resources of a container.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Container;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::super::quantity::Amount;
use super::errors::{Errors, quoted};
use super::names::qualified_name_problem;

const STANDARD: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

pub(super) fn check(errors: &mut Errors, path: &str, container: &Container) {
    let Some(resources) = &container.resources else { return };
    errors.not_yet(&format!("{path}.claims"), resources.claims.iter().flatten().count() > 0);
    let limits = resources.limits.as_ref();
    let requests = resources.requests.as_ref();
    check_list(errors, &format!("{path}.limits"), limits);
    check_list(errors, &format!("{path}.requests"), requests);
    for (name, request) in requests.into_iter().flatten() {
        let Some(limit) = limits.and_then(|limits| limits.get(name)) else { continue };
        let (Some(asked), Some(allowed)) = (Amount::parse(&request.0), Amount::parse(&limit.0)) else { continue };
        if asked > allowed {
            let detail = format!("must be less than or equal to {name} limit of {}", limit.0);
            errors.invalid(&format!("{path}.requests"), quoted(&request.0), &detail);
        }
    }
}

fn check_list(errors: &mut Errors, path: &str, list: Option<&BTreeMap<String, Quantity>>) {
    for (name, quantity) in list.into_iter().flatten() {
        let path = format!("{path}[{name}]");
        check_resource_name(errors, &path, name);
        match Amount::parse(&quantity.0) {
            None => errors.invalid(
                &path,
                quoted(&quantity.0),
                "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
            ),
            Some(amount) if amount.is_negative() => {
                errors.invalid(&path, quoted(&quantity.0), "must be greater than or equal to 0");
            }
            Some(amount) if name != "cpu" && STANDARD.contains(&name.as_str()) && !amount.is_whole() => {
                errors.warn(format!("{path}: fractional byte value {:?} is invalid, must be an integer", quantity.0));
            }
            Some(_) => {}
        }
    }
}

fn check_resource_name(errors: &mut Errors, path: &str, name: &str) {
    if STANDARD.contains(&name) {
        // A limit on disk use is enforced by evicting the pod, and nobody here does.
        return errors.not_yet(path, name == "ephemeral-storage" && path.contains(".limits["));
    }
    if let Some(problem) = qualified_name_problem(name) {
        errors.invalid(path, quoted(name), problem);
    } else if name.starts_with("hugepages-") || name.contains('/') {
        errors.not_yet(path, true);
    } else {
        errors.invalid(path, quoted(name), "must be a standard resource type or fully qualified");
    }
}
