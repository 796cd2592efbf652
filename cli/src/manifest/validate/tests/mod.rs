//! Every row of the validation table by its number in the specification of the pod's lifecycle (section 9), and the
//! refusal of what is not supported.

mod containers;
mod pods;
mod refused;
mod volumes;

use super::super::{defaults, load};
use super::*;

/// What `create` says about a pod with this metadata and spec.
fn said(metadata: &str, spec: &str) -> Vec<String> {
    match outcome(metadata, spec, &[]) {
        Ok(_) => Vec::new(),
        Err(said) => said.0,
    }
}

fn outcome(metadata: &str, spec: &str, unsafe_sysctls: &[String]) -> Result<Vec<String>, Said> {
    let text = format!("apiVersion: v1\nkind: Pod\nmetadata: {metadata}\nspec: {spec}\n");
    let mut pod = load("f", &text).unwrap_or_else(|said| panic!("{said}\n{text}")).pods.remove(0);
    defaults::complete(&mut pod, "default");
    validate_at(&pod, Rules { runtime_handler: "loment", unsafe_sysctls }, None)
}

/// The problems of a spec, without the header.
fn problems(spec: &str) -> Vec<String> {
    let said = said("{name: n}", spec);
    if let [one] = said.as_slice() {
        return vec![one.strip_prefix("The Pod \"n\" is invalid: ").unwrap().to_owned()];
    }
    said.iter().skip(1).map(|line| line.strip_prefix("* ").unwrap().to_owned()).collect()
}

/// The one problem of a spec, without the header.
fn problem(spec: &str) -> String {
    let mut problems = problems(spec);
    assert_eq!(problems.len(), 1, "{problems:#?}");
    problems.remove(0)
}

/// The one problem of a pod with one container whose other fields are right.
fn spec_problem(fields: &str) -> String {
    problem(&format!("{{containers: [{{name: a, image: b}}], {fields}}}"))
}

/// A container whose other fields are right.
fn with_container(fields: &str) -> String {
    format!("{{containers: [{{name: a, image: b, {fields}}}], volumes: [{{name: v}}]}}")
}

/// The one problem of that container, without its path.
fn container_problem(fields: &str) -> String {
    problem(&with_container(fields)).strip_prefix("spec.containers[0].").unwrap().to_owned()
}

const GOOD: &str = "{containers: [{name: a, image: b}]}";

#[test]
fn all_problems_are_reported_at_once_below_one_header() {
    let said = said("{name: n}", "{restartPolicy: never, containers: [{image: b}, {name: c}]}");
    assert_eq!(
        said,
        [
            "The Pod \"n\" is invalid: ",
            "* spec.containers[0].name: Required value",
            "* spec.containers[1].image: Required value",
            "* spec.restartPolicy: Unsupported value: \"never\": supported values: \"Always\", \"OnFailure\", \"Never\"",
        ]
    );
}

#[test]
fn null_values_and_empty_objects_are_accepted() {
    let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: n, creationTimestamp: null}\nspec: {containers: [{name: a, \
                image: b, resources: {}, env: null, securityContext: {}}], nodeSelector: null}\nstatus: {}\n";
    let mut pod = load("f", text).unwrap().pods.remove(0);
    defaults::complete(&mut pod, "default");
    assert_eq!(validate(&pod, "loment").unwrap(), [""; 0]);
}
