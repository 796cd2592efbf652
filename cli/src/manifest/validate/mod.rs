//! Whether a completed pod is one that an API server would accept and that loment can run.
//!
//! A field that would change what a pod does but is not supported is refused; a field that means nothing on a single
//! machine (affinity, tolerations, service accounts ...) is accepted. The texts are those of `kubectl create`.

mod container;
mod env;
mod errors;
mod hooks;
mod metadata;
mod mounts;
pub(crate) mod names;
mod network;
mod pod;
mod ports;
mod probes;
mod resources;
mod security;
mod sources;
mod sysctls;
mod volumes;

#[cfg(test)]
mod tests;

use k8s_openapi::api::core::v1::Pod;

use super::places::Places;
use crate::error::Said;
pub(crate) use env::subscript;
pub(super) use errors::{Errors, quoted};
pub(super) use metadata::check as check_metadata;

/// What the machine and its user say beside the manifest.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rules<'a> {
    /// The runtime that the pod is about to get.
    pub(crate) runtime_handler: &'a str,
    /// Kernel parameters beyond the safe ones that pods may set: names, or beginnings of names with a `*`.
    pub(crate) unsafe_sysctls: &'a [String],
}

/// Refuses a pod of no file with everything that is wrong with it; answers with the warnings for one that is right.
#[cfg(test)]
pub(crate) fn validate(pod: &Pod, runtime_handler: &str) -> Result<Vec<String>, Said> {
    validate_at(pod, Rules { runtime_handler, unsafe_sysctls: &[] }, None)
}

/// The same for a pod of a file: each problem says its line and column.
pub(crate) fn validate_at(pod: &Pod, rules: Rules<'_>, places: Option<&Places>) -> Result<Vec<String>, Said> {
    let mut errors = Errors::default();
    pod::check(&mut errors, pod, rules);
    let name = pod.metadata.name.as_deref().or(pod.metadata.generate_name.as_deref()).unwrap_or_default();
    errors.into_result(name, places)
}
