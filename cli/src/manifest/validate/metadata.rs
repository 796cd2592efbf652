//! Rules for names, labels and annotations.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use loment_sandbox::{Error, error::Cause, lifecycle::manifest::check_annotations};

use super::errors::{Errors, quoted};
use super::names::{
    annotation_key_problem, check_label, check_subdomain, label_problem, label_value_problem, qualified_name_problem,
    subdomain_problem,
};

/// Keys and values of all annotations together.
const ANNOTATION_BYTES: usize = 256 * 1024;

pub(crate) fn check(errors: &mut Errors, meta: &ObjectMeta) {
    match meta.name.as_deref().filter(|name| !name.is_empty()) {
        Some(name) => {
            check_subdomain(errors, "metadata.name", name);
            let as_hostname = label_problem(name);
            if subdomain_problem(name).is_empty() && !as_hostname.is_empty() {
                errors.warn(format!(
                    "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS \
                     label is recommended: {as_hostname:?}"
                ));
            }
        }
        None if meta.generate_name.as_deref().unwrap_or_default().is_empty() => {
            errors.required("metadata.name", "name or generateName is required");
        }
        None => {}
    }
    check_prefix(errors, meta.generate_name.as_deref().unwrap_or_default());
    check_label(errors, "metadata.namespace", meta.namespace.as_deref().unwrap_or("default"));
    for (key, value) in meta.labels.iter().flatten() {
        if let Some(problem) = qualified_name_problem(key) {
            errors.invalid("metadata.labels", quoted(key), problem);
        }
        if let Some(problem) = label_value_problem(value) {
            errors.invalid("metadata.labels", quoted(value), problem);
        }
    }
    check_all_annotations(errors, meta.annotations.as_ref());
    let finalizers = meta.finalizers.iter().flatten().next().is_some();
    errors.refuse("metadata.finalizers", finalizers, "there is no controller here that would remove them");
}

/// The beginning of a name: what comes behind it are letters and digits, so that it may end in a hyphen.
fn check_prefix(errors: &mut Errors, prefix: &str) {
    let name = prefix.strip_suffix('-').map_or_else(|| prefix.to_owned(), |before| format!("{before}a"));
    for problem in subdomain_problem(&name).into_iter().filter(|_| !prefix.is_empty()) {
        errors.invalid("metadata.generateName", quoted(prefix), problem);
    }
}

fn check_all_annotations(errors: &mut Errors, annotations: Option<&BTreeMap<String, String>>) {
    let mut bytes = 0;
    for (key, value) in annotations.into_iter().flatten() {
        if let Some(problem) = annotation_key_problem(key) {
            errors.invalid("metadata.annotations", quoted(key), problem);
        }
        bytes += key.len() + value.len();
    }
    if bytes > ANNOTATION_BYTES {
        errors.too_long("metadata.annotations", ANNOTATION_BYTES);
    }
    // The shim would refuse them when the sandbox is there.
    if let Err(Error { step, object, cause: Cause::Invalid(reason), hint }) =
        check_annotations(annotations.into_iter().flatten())
    {
        let hint = hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
        errors.invalid(&step, object, &format!("{reason}{hint}"));
    }
}
