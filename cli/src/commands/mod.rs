//! One file for each verb.

pub(crate) mod annotate;
pub(crate) mod apply;
pub(crate) mod attach;
pub(crate) mod bench;
pub(crate) mod completion;
pub(crate) mod cp;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod describe;
pub(crate) mod doctor;
pub(crate) mod dry_run;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod explain;
pub(crate) mod gc;
pub(crate) mod get;
pub(crate) mod install;
pub(crate) mod logs;
pub(crate) mod man;
pub(crate) mod ns;
pub(crate) mod patch;
pub(crate) mod port_forward;
pub(crate) mod resume;
pub(crate) mod run;
pub(crate) mod stats;
pub(crate) mod timeline;
pub(crate) mod top;
pub(crate) mod trace;
pub(crate) mod version;
pub(crate) mod wait;
pub(crate) mod why;

use std::io::Write as _;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Pod;

use crate::error::{ExitWith, Said, lines_of};
use crate::lower;

/// Writes to standard output. A reader that has gone away (`| head`) is no error.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    print_bytes(text.as_bytes())
}

/// Writes bytes to standard output as they are.
pub(crate) fn print_bytes(bytes: &[u8]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => other.context("write to standard output"),
    }
}

/// Tells the user something beside the result. That nobody can be told is no reason to stop.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// The one error, or the status that tells of several that are told here.
pub(crate) fn all_told(mut failed: Vec<anyhow::Error>) -> anyhow::Result<()> {
    match failed.pop() {
        None => Ok(()),
        Some(only) if failed.is_empty() => Err(only),
        Some(last) => {
            failed.iter().chain([&last]).for_each(|error| note(&lines_of(error)));
            Err(ExitWith(1).into())
        }
    }
}

/// Tells the user what may not be as it was meant.
pub(crate) fn warn(texts: &[String]) {
    texts.iter().for_each(|text| note(&format!("Warning: {text}")));
}

/// The container that is meant: the one that is named, the one that the pod's annotation names, or the first app. Where
/// there was a choice, all of them are told beside it, as [`note_default`] prints them.
pub(crate) fn choose_container(pod: &Pod, named: Option<&str>) -> anyhow::Result<(String, Vec<String>)> {
    let Some(spec) = &pod.spec else { return Err(Said::one("error: the pod has no containers").into()) };
    let pod_name = lower::name(pod);
    if let Some(name) = named {
        if lower::containers(spec).any(|container| container.name == name) {
            return Ok((name.to_owned(), Vec::new()));
        }
        return Err(Said::one(format!("error: container {name} is not valid for pod {pod_name}")).into());
    }
    let annotated =
        pod.metadata.annotations.as_ref().and_then(|all| all.get("kubectl.kubernetes.io/default-container"));
    if let Some(name) = annotated.filter(|name| lower::containers(spec).any(|container| container.name == **name)) {
        return Ok((name.clone(), Vec::new()));
    }
    let Some(first) = spec.containers.first() else {
        return Err(Said::one("error: the pod has no containers").into());
    };
    let inits = spec.init_containers.iter().flatten().map(|container| format!("{} (init)", container.name));
    let all: Vec<String> = spec.containers.iter().map(|container| container.name.clone()).chain(inits).collect();
    Ok((first.name.clone(), if all.len() > 1 { all } else { Vec::new() }))
}

/// Tells which container was taken where others might have been meant.
pub(crate) fn note_default(name: &str, others: &[String]) {
    if !others.is_empty() {
        note(&format!("Defaulted container {name:?} out of: {}", others.join(", ")));
    }
}

#[cfg(test)]
mod tests;
