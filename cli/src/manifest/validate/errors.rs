//! The list of what is wrong with a pod, in the API server's categories and words.

use std::fmt::Display;

use super::super::places::Places;
use crate::error::Said;

/// Collects problems; paths are those of the manifest (`spec.containers[0].name`).
#[derive(Default)]
pub(crate) struct Errors {
    problems: Vec<Problem>,
    warnings: Vec<String>,
}

struct Problem {
    path: String,
    /// The whole line, path included.
    line: String,
}

impl Errors {
    pub(crate) fn required(&mut self, path: &str, detail: &str) {
        self.add(path, "Required value", "", detail);
    }

    /// `value` as the API shows it: text in quotes (use [`quoted`]), numbers bare.
    pub(crate) fn invalid(&mut self, path: &str, value: impl Display, detail: &str) {
        self.add(path, "Invalid value", &value.to_string(), detail);
    }

    pub(crate) fn unsupported(&mut self, path: &str, value: &str, supported: &[&str]) {
        let supported: Vec<String> = supported.iter().map(|value| quoted(value)).collect();
        self.add(path, "Unsupported value", &quoted(value), &format!("supported values: {}", supported.join(", ")));
    }

    pub(crate) fn duplicate(&mut self, path: &str, value: &str) {
        self.add(path, "Duplicate value", &quoted(value), "");
    }

    pub(crate) fn forbidden(&mut self, path: &str, detail: &str) {
        self.add(path, "Forbidden", "", detail);
    }

    pub(crate) fn not_found(&mut self, path: &str, value: &str) {
        self.add(path, "Not found", &quoted(value), "");
    }

    pub(crate) fn too_long(&mut self, path: &str, bytes: usize) {
        self.add(path, "Too long", "", &format!("may not be more than {bytes} bytes"));
    }

    pub(crate) fn too_many(&mut self, path: &str, given: usize, most: usize) {
        self.add(path, "Too many", &given.to_string(), &format!("must have at most {most} items"));
    }

    /// A field that Kubernetes has and this program cannot honour, with the reason; ignoring it would change what the pod
    /// does.
    pub(crate) fn refuse(&mut self, path: &str, present: bool, reason: &str) {
        if present {
            self.forbidden(path, &format!("not supported by loment: {reason}"));
        }
    }

    /// Something that the author should know and that does not stand in the way.
    pub(crate) fn warn(&mut self, text: String) {
        self.warnings.push(text);
    }

    fn add(&mut self, path: &str, category: &str, value: &str, detail: &str) {
        let mut line = format!("{path}: {category}");
        for part in [value, detail].into_iter().filter(|part| !part.is_empty()) {
            line.push_str(": ");
            line.push_str(part);
        }
        self.problems.push(Problem { path: path.to_owned(), line });
    }

    /// The warnings, or all problems in kubectl's form; with `places`, each says where in the file it is.
    pub(crate) fn into_result(self, name: &str, places: Option<&Places>) -> Result<Vec<String>, Said> {
        let line = |problem: &Problem| {
            let place = places.map(|places| places.prefix(&problem.path)).unwrap_or_default();
            format!("{place}{}", problem.line)
        };
        let header = format!("The Pod {name:?} is invalid: ");
        match self.problems.as_slice() {
            [] => Ok(self.warnings),
            [one] => Err(Said::one(format!("{header}{}", line(one)))),
            several => {
                let lines = several.iter().map(|problem| format!("* {}", line(problem)));
                Err(Said(std::iter::once(header).chain(lines).collect()))
            }
        }
    }
}

/// Text in the API server's quotes.
pub(crate) fn quoted(text: &str) -> String {
    format!("{text:?}")
}
