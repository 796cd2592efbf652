//! The shapes of names.

use super::errors::{Errors, quoted};

const LABEL_RULE: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
                          start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for \
                          validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";

const SUBDOMAIN_RULE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or \
                              '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used \
                              for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

/// What is wrong with an RFC 1123 label of at most 63 characters; empty when nothing is.
pub(super) fn label_problem(name: &str) -> Vec<&'static str> {
    let mut problems = Vec::new();
    if name.len() > 63 {
        problems.push("must be no more than 63 characters");
    }
    if !is_label(name) {
        problems.push(if is_subdomain(name) { "must not contain dots" } else { LABEL_RULE });
    }
    problems
}

/// What is wrong with an RFC 1123 subdomain of at most 253 characters; empty when nothing is.
pub(super) fn subdomain_problem(name: &str) -> Vec<&'static str> {
    let mut problems = Vec::new();
    if name.len() > 253 {
        problems.push("must be no more than 253 characters");
    }
    if !is_subdomain(name) {
        problems.push(SUBDOMAIN_RULE);
    }
    problems
}

fn is_label(name: &str) -> bool {
    let edge = |c: Option<&u8>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let bytes = name.as_bytes();
    edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == b'-')
}

fn is_subdomain(name: &str) -> bool {
    name.split('.').all(is_label)
}

pub(super) fn check_label(errors: &mut Errors, path: &str, name: &str) {
    for problem in label_problem(name) {
        errors.invalid(path, quoted(name), problem);
    }
}

pub(super) fn check_subdomain(errors: &mut Errors, path: &str, name: &str) {
    for problem in subdomain_problem(name) {
        errors.invalid(path, quoted(name), problem);
    }
}

/// A port's name: at most 15 lower case letters, digits and single hyphens, with a letter in it.
pub(super) fn check_port_name(errors: &mut Errors, path: &str, name: &str) {
    let bytes = name.as_bytes();
    if bytes.len() > 15 {
        errors.invalid(path, quoted(name), "must be no more than 15 characters");
    }
    if !bytes.iter().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == b'-') {
        errors.invalid(path, quoted(name), "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)");
    }
    if !bytes.iter().any(u8::is_ascii_lowercase) {
        errors.invalid(path, quoted(name), "must contain at least one letter (a-z)");
    }
    if name.contains("--") {
        errors.invalid(path, quoted(name), "must not contain consecutive hyphens");
    }
    if name.starts_with('-') || name.ends_with('-') {
        errors.invalid(path, quoted(name), "must not begin or end with a hyphen");
    }
}

/// A qualified name, as a label's key is: `[prefix/]name`.
pub(crate) fn qualified_name_problem(key: &str) -> Option<&'static str> {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    if prefix.is_some_and(|prefix| !subdomain_problem(prefix).is_empty()) {
        return Some("prefix part must be a lowercase RFC 1123 subdomain");
    }
    if name.is_empty() {
        return Some("name part must be non-empty");
    }
    if name.len() > 63 {
        return Some("name part must be no more than 63 characters");
    }
    (!is_word(name)).then_some(
        "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric \
         character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
         '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
    )
}

/// The same of an annotation's key: only the keys of labels are told apart by case.
pub(crate) fn annotation_key_problem(key: &str) -> Option<&'static str> {
    qualified_name_problem(&key.to_lowercase())
}

/// What is wrong with the value of a label.
pub(crate) fn label_value_problem(value: &str) -> Option<&'static str> {
    if value.len() > 63 {
        return Some("must be no more than 63 characters");
    }
    (!value.is_empty() && !is_word(value)).then_some(
        "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and \
         end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is \
         '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
    )
}

fn is_word(text: &str) -> bool {
    let bytes = text.as_bytes();
    let edge = |c: Option<&u8>| c.is_some_and(u8::is_ascii_alphanumeric);
    edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'))
}
