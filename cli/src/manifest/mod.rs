//! A manifest file: read strictly, completed with the API's defaults, validated as an API server would.
//!
//! Everything that is wrong with a file is reported at once, and nothing is made of a file in which anything is wrong.

pub(crate) mod defaults;
pub(crate) mod image;
mod parse;
pub(crate) mod quantity;
mod strict;
mod suggest;
pub(crate) mod validate;

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use serde::de::DeserializeOwned;

use crate::error::Said;
use parse::{Node, Place};
use strict::Mistake;

/// The objects of one file, in file order.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    pub(crate) pods: Vec<Pod>,
    pub(crate) config_maps: Vec<ConfigMap>,
    pub(crate) secrets: Vec<Secret>,
}

/// Reads the text of a manifest file; `file` is the name that the mistakes carry.
pub(crate) fn load(file: &str, text: &str) -> Result<Objects, Said> {
    let documents = parse::parse(text).map_err(|error| {
        let at = error.place.map_or_else(String::new, |place| format!("{place}: "));
        Said::one(format!("error: error parsing {file}: {at}{}", error.message))
    })?;
    let mut objects = Objects::default();
    let mut mistakes = Vec::new();
    for document in &documents {
        add(&mut objects, &mut mistakes, document);
    }
    mistakes.sort();
    if !mistakes.is_empty() {
        let lines = mistakes.into_iter().map(|m| format!("error: {file}:{}: {}", m.place, m.message));
        return Err(Said(lines.collect()));
    }
    if objects.pods.is_empty() && objects.config_maps.is_empty() && objects.secrets.is_empty() {
        return Err(Said::one(format!("error: no objects passed to create: {file} holds none")));
    }
    Ok(objects)
}

fn add(objects: &mut Objects, mistakes: &mut Vec<Mistake>, document: &Node) {
    let word = |key: &str| document.get(key).and_then(Node::text).unwrap_or_default();
    match (word("apiVersion"), word("kind")) {
        ("v1", "Pod") => take(&mut objects.pods, mistakes, document),
        ("v1", "ConfigMap") => take(&mut objects.config_maps, mistakes, document),
        ("v1", "Secret") => take(&mut objects.secrets, mistakes, document),
        ("v1", "List") => match document.get("items").map(|items| &items.value) {
            Some(parse::Value::List(items)) => items.iter().for_each(|item| add(objects, mistakes, item)),
            _ => mistakes.push(mistake(document.place, "items: a List needs a list of objects here".to_owned())),
        },
        (version, kind) => mistakes.push(wrong_kind(document, version, kind)),
    }
}

fn take<T: DeserializeOwned>(into: &mut Vec<T>, mistakes: &mut Vec<Mistake>, document: &Node) {
    match strict::read(document) {
        Ok(object) => into.push(object),
        Err(found) => mistakes.extend(found),
    }
}

fn wrong_kind(document: &Node, version: &str, kind: &str) -> Mistake {
    const KINDS: [&str; 3] = ["Pod", "ConfigMap", "Secret"];
    const OTHERS: [&str; 9] = [
        "Deployment",
        "StatefulSet",
        "DaemonSet",
        "ReplicaSet",
        "Job",
        "CronJob",
        "Service",
        "Namespace",
        "PersistentVolumeClaim",
    ];
    let place = |key: &str| document.get(key).map_or(document.place, |node| node.place);
    if version.is_empty() || kind.is_empty() {
        let missing: Vec<&str> =
            [("apiVersion", version), ("kind", kind)].iter().filter(|(_, v)| v.is_empty()).map(|(k, _)| *k).collect();
        return mistake(document.place, format!("{} not set", missing.join(" and ")));
    }
    if OTHERS.contains(&kind) {
        return mistake(
            place("kind"),
            format!("kind {kind:?} is not supported yet by loment (Pod, ConfigMap, Secret are)"),
        );
    }
    let hint = match suggest::closest(kind, &KINDS) {
        Some(near) if near == kind => " (did you mean version \"v1\"?)".to_owned(),
        Some(near) => format!(" (did you mean {near:?}?)"),
        None => String::new(),
    };
    let at = if KINDS.contains(&kind) { place("apiVersion") } else { place("kind") };
    mistake(at, format!("no matches for kind {kind:?} in version {version:?}{hint}"))
}

fn mistake(place: Place, message: String) -> Mistake {
    Mistake { place, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> Vec<String> {
        load("pod.yaml", text).unwrap_err().0
    }

    #[test]
    fn an_unknown_field_is_an_error_with_file_line_and_column() {
        let text = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\nspec:\n  containers: []\n  restartpolicy: Never\n";
        assert_eq!(
            refusal(text),
            ["error: pod.yaml:7:3: unknown field \"spec.restartpolicy\" (did you mean \"restartPolicy\"?)"]
        );
    }

    #[test]
    fn mistakes_of_all_documents_are_reported_in_file_order() {
        let text = "kind: Pod\n---\napiVersion: v1\nkind: Pods\n---\napiVersion: v1\nkind: Pod\nspce: {}\n---\napiVersion: \
                    apps/v1\nkind: Deployment\n";
        assert_eq!(
            refusal(text),
            [
                "error: pod.yaml:1:1: apiVersion not set",
                "error: pod.yaml:4:7: no matches for kind \"Pods\" in version \"v1\" (did you mean \"Pod\"?)",
                "error: pod.yaml:8:1: unknown field \"spce\" (did you mean \"spec\"?)",
                "error: pod.yaml:11:7: kind \"Deployment\" is not supported yet by loment (Pod, ConfigMap, Secret are)",
            ]
        );
    }

    #[test]
    fn a_file_that_is_not_yaml_or_holds_nothing_is_refused() {
        assert!(refusal("a: [1\nb: 2").first().unwrap().starts_with("error: error parsing pod.yaml: "));
        assert_eq!(refusal("# nothing\n"), ["error: no objects passed to create: pod.yaml holds none"]);
    }

    #[test]
    fn a_pod_and_what_it_refers_to_come_from_one_file() {
        let text = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {a: \
                    b}}\n- {apiVersion: v1, kind: Secret, metadata: {name: s}, data: {p: c2VjcmV0}}\n---\napiVersion: \
                    v1\nkind: Pod\nmetadata: {name: p}\n";
        let objects = load("f", text).unwrap();
        assert_eq!((objects.pods.len(), objects.config_maps.len(), objects.secrets.len()), (1, 1, 1));
        assert_eq!(objects.secrets[0].data.as_ref().unwrap()["p"].0, b"secret");
    }
}
