//! The keys of ConfigMaps and Secrets: a volume shows each as a file of that name.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};

use super::parse::{Node, Place};

const RULE: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  \
                    or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";

/// A key that is none: its path in the object, where that stands, and what is wrong.
pub(super) struct Wrong {
    pub(super) place: Place,
    pub(super) message: String,
}

pub(super) fn of_config_map(object: &ConfigMap, document: &Node) -> Vec<Wrong> {
    let data = object.data.iter().flat_map(|data| data.keys()).map(|key| ("data", key));
    let binary = object.binary_data.iter().flat_map(|data| data.keys()).map(|key| ("binaryData", key));
    wrong(data.chain(binary), document)
}

pub(super) fn of_secret(object: &Secret, document: &Node) -> Vec<Wrong> {
    let data = object.data.iter().flat_map(|data| data.keys()).map(|key| ("data", key));
    let text = object.string_data.iter().flat_map(|data| data.keys()).map(|key| ("stringData", key));
    wrong(data.chain(text), document)
}

fn wrong<'a>(keys: impl Iterator<Item = (&'static str, &'a String)>, document: &Node) -> Vec<Wrong> {
    let mut all = Vec::new();
    for (field, key) in keys {
        let node = document.get(field).and_then(|data| data.get(key));
        let place = node.map_or(document.place, |node| node.place);
        let message = |problem| format!("{field}[{key}]: Invalid value: {key:?}: {problem}");
        all.extend(problems(key).into_iter().map(|problem| Wrong { place, message: message(problem) }));
    }
    all
}

/// What is wrong with a key, in the server's words; empty when nothing is.
fn problems(key: &str) -> Vec<&'static str> {
    let mut problems = Vec::new();
    if key.len() > 253 {
        problems.push("must be no more than 253 characters");
    }
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)) {
        problems.push(RULE);
    }
    match key {
        "." => problems.push("must not be '.'"),
        ".." => problems.push("must not be '..'"),
        key if key.starts_with("..") => problems.push("must not start with '..'"),
        _ => {}
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::super::load;
    use super::*;

    #[test]
    fn a_key_is_the_name_of_a_file_and_no_path() {
        for key in ["a", "A.b_c-1", ".hidden", "a..b", &"k".repeat(253)] {
            assert!(problems(key).is_empty(), "{key}");
        }
        for key in ["", ".", "..", "..data", "a/b", "/etc/cron.d/x", "../x", "a b", "ä", "a\n", &"k".repeat(254)] {
            assert!(!problems(key).is_empty(), "{key}");
        }
    }

    #[test]
    fn a_key_that_is_a_path_is_refused_with_its_place_in_each_map() {
        let refused = |object: &str| load("f.yaml", &format!("apiVersion: v1\n{object}\n")).unwrap_err().0;
        let said = refused("kind: ConfigMap\nmetadata: {name: c}\ndata:\n  good: a\n  /etc/cron.d/x: b");
        let [one] = said.as_slice() else { panic!("{said:?}") };
        let expected = "The ConfigMap \"c\" is invalid: f.yaml:6:18: data[/etc/cron.d/x]: Invalid value: \"/etc/cron.d/x\": a \
                        valid config key";
        assert!(one.starts_with(expected), "{one}");
        for object in [
            "kind: ConfigMap\nmetadata: {name: c}\nbinaryData: {../x: YQ==}",
            "kind: Secret\nmetadata: {name: c}\ndata: {../x: YQ==}",
            "kind: Secret\nmetadata: {name: c}\nstringData: {..data: a}",
        ] {
            assert!(refused(object)[0].contains("Invalid value: \".."), "{object}");
        }
    }
}
