//! The list of what is wrong with a pod, in the API server's categories and words.

use std::fmt::Display;

use crate::error::Said;

/// Collects problems; paths are those of the manifest (`spec.containers[0].name`).
#[derive(Default)]
pub(crate) struct Errors {
    problems: Vec<String>,
    warnings: Vec<String>,
}

impl Errors {
    pub(super) fn required(&mut self, path: &str, detail: &str) {
        self.add(path, "Required value", "", detail);
    }

    /// `value` as the API shows it: text in quotes (use [`quoted`]), numbers bare.
    pub(super) fn invalid(&mut self, path: &str, value: impl Display, detail: &str) {
        self.add(path, "Invalid value", &value.to_string(), detail);
    }

    pub(super) fn unsupported(&mut self, path: &str, value: &str, supported: &[&str]) {
        let supported: Vec<String> = supported.iter().map(|value| quoted(value)).collect();
        self.add(path, "Unsupported value", &quoted(value), &format!("supported values: {}", supported.join(", ")));
    }

    pub(super) fn duplicate(&mut self, path: &str, value: &str) {
        self.add(path, "Duplicate value", &quoted(value), "");
    }

    pub(super) fn forbidden(&mut self, path: &str, detail: &str) {
        self.add(path, "Forbidden", "", detail);
    }

    pub(super) fn not_found(&mut self, path: &str, value: &str) {
        self.add(path, "Not found", &quoted(value), "");
    }

    pub(super) fn too_long(&mut self, path: &str, bytes: usize) {
        self.add(path, "Too long", "", &format!("may not be more than {bytes} bytes"));
    }

    /// A field that Kubernetes has and this program cannot honour yet; ignoring it would change what the pod does.
    pub(super) fn not_yet(&mut self, path: &str, present: bool) {
        if present {
            self.forbidden(path, "not supported yet by loment");
        }
    }

    /// Something that the author should know and that does not stand in the way.
    pub(super) fn warn(&mut self, text: String) {
        self.warnings.push(text);
    }

    fn add(&mut self, path: &str, category: &str, value: &str, detail: &str) {
        let mut line = format!("{path}: {category}");
        for part in [value, detail].into_iter().filter(|part| !part.is_empty()) {
            line.push_str(": ");
            line.push_str(part);
        }
        self.problems.push(line);
    }

    pub(super) fn into_result(self, name: &str) -> Result<Vec<String>, Said> {
        match self.problems.as_slice() {
            [] => Ok(self.warnings),
            [one] => Err(Said::one(format!("The Pod {name:?} is invalid: {one}"))),
            several => {
                let header = format!("The Pod {name:?} is invalid: ");
                let lines = several.iter().map(|problem| format!("* {problem}"));
                Err(Said(std::iter::once(header).chain(lines).collect()))
            }
        }
    }
}

/// Text in the API server's quotes.
pub(super) fn quoted(text: &str) -> String {
    format!("{text:?}")
}
