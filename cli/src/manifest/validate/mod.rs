//! Whether a completed pod is one that an API server would accept and that loment can run.
//!
//! A field that would change what a pod does but is not supported is refused; a field that means nothing on a single
//! machine (affinity, tolerations, service accounts ...) is accepted. The texts are those of `kubectl create`.

mod container;
mod env;
mod errors;
mod names;
mod pod;
mod resources;
mod security;
mod volumes;

#[cfg(test)]
mod tests;

use k8s_openapi::api::core::v1::Pod;

use crate::error::Said;
pub(crate) use env::subscript;
use errors::Errors;

/// Refuses a pod with everything that is wrong with it; answers with the warnings for one that is right.
pub(crate) fn validate(pod: &Pod, runtime_handler: &str) -> Result<Vec<String>, Said> {
    let mut errors = Errors::default();
    pod::check(&mut errors, pod, runtime_handler);
    let name = pod.metadata.name.as_deref().or(pod.metadata.generate_name.as_deref()).unwrap_or_default();
    errors.into_result(name)
}
