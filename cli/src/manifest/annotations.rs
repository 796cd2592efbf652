//! Annotations that this project gives a meaning, and those that look like one of them.

use loment_sandbox::lifecycle::manifest::{
    BACKOFF_INITIAL, BACKOFF_MAX, BACKOFF_RESET, MAX_RESTARTS, RESTART_SIDECARS,
};
use loment_shim::pod::names::{DIRECTORY, HELD_IN, LOGS, MANIFEST, STORAGE_INTERVAL};

use super::suggest::closest;

/// What all of them begin with.
const OURS: &str = "io.loment.";

/// Those of a pod. docs/pods.md says what each does.
const KNOWN: [&str; 10] = [
    MANIFEST,
    DIRECTORY,
    LOGS,
    STORAGE_INTERVAL,
    HELD_IN,
    BACKOFF_INITIAL,
    BACKOFF_MAX,
    BACKOFF_RESET,
    MAX_RESTARTS,
    RESTART_SIDECARS,
];

/// What is to be said of names that this version does not know. It is no mistake: another version's shim may know them.
pub(crate) fn unknown<'a>(names: impl IntoIterator<Item = &'a String>) -> Vec<String> {
    let names = names.into_iter().filter(|name| name.starts_with(OURS) && !KNOWN.contains(&name.as_str()));
    names
        .map(|name| {
            let own = |name: &'static str| name.strip_prefix(OURS).unwrap_or(name);
            let known = KNOWN.map(own);
            let given = name.strip_prefix(OURS).unwrap_or(name);
            let meant = closest(given, &known).map(|near| format!(" (did you mean \"{OURS}{near}\"?)"));
            format!("metadata.annotations[{name}]: unknown, and without effect{}", meant.unwrap_or_default())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(name: &str) -> Vec<String> {
        unknown([&name.to_owned()])
    }

    #[test]
    fn a_misspelt_annotation_is_told_with_what_was_meant_and_others_are_not() {
        assert_eq!(
            said("io.loment.pod.max-restart"),
            ["metadata.annotations[io.loment.pod.max-restart]: unknown, and without effect (did you mean \
              \"io.loment.pod.max-restarts\"?)"]
        );
        assert!(said("io.loment.pod.backof-max")[0].contains("\"io.loment.pod.backoff-max\""));
        assert!(said("io.loment.pods.max-restarts")[0].contains("\"io.loment.pod.max-restarts\""));
        assert!(said("io.loment.pod.colour-of-the-sky")[0].ends_with("without effect"));
        assert!(said("example.com/io.loment.pod.max").is_empty() && said("app").is_empty());
    }

    #[test]
    fn the_annotations_of_the_documentation_are_those_that_are_known() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/pods.md");
        let text = std::fs::read_to_string(path).unwrap();
        let mut written: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("| `io.loment.pod.")?.split('`').next()).collect();
        let mut known = KNOWN.map(|name| name.strip_prefix("io.loment.pod.").unwrap());
        written.sort_unstable();
        known.sort_unstable();
        assert_eq!(written, known);
    }
}
