//! The annotations of a pod that change how it is run.

use std::{collections::BTreeMap, time::Duration};

use super::quoted;
use crate::{
    Error, Result,
    lifecycle::{duration, spec::Backoff},
};

/// Annotation: the first delay of a back-off.
pub const BACKOFF_INITIAL: &str = "io.loment.pod.backoff-initial";
/// Annotation: the longest delay of a back-off.
pub const BACKOFF_MAX: &str = "io.loment.pod.backoff-max";
/// Annotation: a run longer than this ends a back-off.
pub const BACKOFF_RESET: &str = "io.loment.pod.backoff-reset";

/// Annotation: a container that has been started again so often is not once more.
pub const MAX_RESTARTS: &str = "io.loment.pod.max-restarts";
/// Annotation: `true` starts sidecars that end while app containers are still stopping again (KEP-4438).
pub const RESTART_SIDECARS: &str = "io.loment.pod.restart-sidecars-while-stopping";

/// A shorter back-off than this would be a busy loop.
const SHORTEST_BACKOFF: Duration = Duration::from_millis(1);

/// What the annotations say.
pub(super) struct Annotations {
    pub(super) backoff: Backoff,
    pub(super) max_restarts: Option<u32>,
    pub(super) restart_sidecars_while_stopping: bool,
}

type Written = BTreeMap<String, Option<String>>;

pub(super) fn read(annotations: &Written) -> Result<Annotations> {
    Ok(Annotations {
        backoff: backoff(annotations)?,
        max_restarts: value(annotations, MAX_RESTARTS, "must be a number", |text| text.parse().ok())?,
        restart_sidecars_while_stopping: value(annotations, RESTART_SIDECARS, "must be true or false", |text| {
            text.parse().ok()
        })?
        .unwrap_or_default(),
    })
}

/// Checks those that this project gives a meaning, before a pod is made of them.
///
/// # Errors
/// The annotation as the field (`metadata.annotations[NAME]`), its value, and what is wanted instead.
pub fn check_annotations<'a>(annotations: impl IntoIterator<Item = (&'a String, &'a String)>) -> Result<()> {
    let written = annotations.into_iter().map(|(name, value)| (name.clone(), Some(value.clone())));
    read(&written.collect()).map(drop)
}

fn value<T>(annotations: &Written, name: &str, wanted: &str, read: impl Fn(&str) -> Option<T>) -> Result<Option<T>> {
    let Some(text) = annotations.get(name).and_then(Option::as_ref) else { return Ok(None) };
    let refused = || Error::invalid(format!("metadata.annotations[{name}]"), quoted(text), wanted);
    read(text).map(Some).ok_or_else(refused)
}

fn backoff(annotations: &Written) -> Result<Backoff> {
    let read = |name: &str| {
        let long_enough = |length: &Duration| *length >= SHORTEST_BACKOFF;
        value(annotations, name, "must be a duration of at least 1ms", |text| duration::parse(text).filter(long_enough))
            .map_err(|error| error.hint("write it like 200ms or 1m30s"))
    };
    let defaults = Backoff::default();
    let (initial, max) = (read(BACKOFF_INITIAL)?, read(BACKOFF_MAX)?);
    let curve = Backoff {
        // A lower maximum takes the initial delay down with it, a higher initial delay the maximum up (KEP-5593).
        initial: initial.unwrap_or_else(|| defaults.initial.min(max.unwrap_or(defaults.max))),
        max: max.unwrap_or_else(|| defaults.max.max(initial.unwrap_or(defaults.initial))),
        reset: read(BACKOFF_RESET)?.unwrap_or(defaults.reset),
    };
    if curve.initial > curve.max {
        let (path, shown) = (format!("metadata.annotations[{BACKOFF_INITIAL}]"), duration::Shown(curve.initial));
        return Err(Error::invalid(path, shown, format!("must not be more than {BACKOFF_MAX}")));
    }
    Ok(curve)
}
