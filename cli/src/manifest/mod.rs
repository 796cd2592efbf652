//! A manifest file: read strictly, completed with the API's defaults, validated as an API server would.
//!
//! Everything that is wrong with a file is reported at once, and nothing is made of a file in which anything is wrong.

pub(crate) mod amounts;
pub(crate) mod annotations;
pub(crate) mod defaults;
pub(crate) mod files;
pub(crate) mod ignored;
pub(crate) mod image;
mod keys;
mod parse;
pub(crate) mod places;
pub(crate) mod quantity;
mod strict;
mod suggest;
pub(crate) mod update;
pub(crate) mod validate;
mod workloads;

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;

use crate::error::Said;
use parse::{Node, Place};
use places::Places;
use strict::Mistake;

/// The objects of one file, or of several, in the order in which they stand there.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    pub(crate) pods: Vec<Pod>,
    /// Where the fields of each pod stand, in the order of `pods`.
    pub(crate) places: Vec<Places>,
    pub(crate) config_maps: Vec<ConfigMap>,
    pub(crate) secrets: Vec<Secret>,
}

/// Reads the text of a manifest file that pods are made of; `file` is the name that the mistakes carry.
pub(crate) fn load(file: &str, text: &str) -> Result<Objects, Said> {
    load_to("create", file, text)
}

/// The same for any verb, as in "delete", which the mistakes carry too.
pub(crate) fn load_to(verb: &str, file: &str, text: &str) -> Result<Objects, Said> {
    let documents = parse::parse(text).map_err(|error| {
        let at = error.place.map_or_else(String::new, |place| format!("{place}: "));
        Said::one(format!("error: error parsing {file}: {at}{}", error.message))
    })?;
    let mut reading = Reading { verb, file, objects: Objects::default(), refused: Vec::new() };
    documents.iter().for_each(|document| reading.add(document));
    if !reading.refused.is_empty() {
        return Err(Said(reading.refused));
    }
    let objects = reading.objects;
    if objects.pods.is_empty() && objects.config_maps.is_empty() && objects.secrets.is_empty() {
        return Err(Said::one(format!("error: no objects passed to {verb}: {file} holds none")));
    }
    Ok(objects)
}

/// A file that is being read.
struct Reading<'f> {
    verb: &'f str,
    file: &'f str,
    objects: Objects,
    /// Lines about what is wrong.
    refused: Vec<String>,
}

impl Reading<'_> {
    fn add(&mut self, document: &Node) {
        let word = |key: &str| document.get(key).and_then(Node::text).unwrap_or_default();
        match (word("apiVersion"), word("kind")) {
            ("v1", "Pod") => {
                if let Some(pod) = self.take("Pod", document) {
                    self.objects.pods.push(pod);
                    self.objects.places.push(Places::of(self.file, document));
                }
            }
            ("v1", "ConfigMap") => {
                let Some(object) = self.take::<ConfigMap>("ConfigMap", document) else { return };
                self.refuse_keys("ConfigMap", &object.metadata, keys::of_config_map(&object, document));
                self.objects.config_maps.push(object);
            }
            ("v1", "Secret") => {
                let Some(object) = self.take::<Secret>("Secret", document) else { return };
                self.refuse_keys("Secret", &object.metadata, keys::of_secret(&object, document));
                self.objects.secrets.push(object);
            }
            ("v1", "List") => match document.get("items").map(|items| &items.value) {
                Some(parse::Value::List(items)) => items.iter().for_each(|item| self.add(item)),
                _ => self.refuse(mistake(document.place, "items: a List needs a list of objects here".to_owned())),
            },
            (version, kind) => self.refuse(wrong_kind(document, version, kind)),
        }
    }

    fn refuse(&mut self, mistake: Mistake) {
        self.refused.push(format!("error: {}:{}: {}", self.file, mistake.place, mistake.message));
    }

    fn refuse_keys(&mut self, kind: &str, metadata: &ObjectMeta, wrong: Vec<keys::Wrong>) {
        let (file, name) = (self.file, metadata.name.as_deref().unwrap_or_default());
        let line = |one: keys::Wrong| format!("The {kind} {name:?} is invalid: {file}:{}: {}", one.place, one.message);
        self.refused.extend(wrong.into_iter().map(line));
    }

    /// Reads a document strictly. What is wrong is said in the server's words: one mistake on the same line, several below.
    fn take<T: DeserializeOwned>(&mut self, kind: &str, document: &Node) -> Option<T> {
        let found = match strict::read(document) {
            Ok(object) => return Some(object),
            Err(found) => found,
        };
        let (file, doing) = (self.file, doing(self.verb));
        let header = format!(
            "Error from server (BadRequest): error when {doing} {file:?}: {kind} in version \"v1\" cannot be handled as a \
             {kind}: strict decoding error: "
        );
        let lines = found.into_iter().map(|found| format!("{file}:{}: {}", found.place, found.message));
        let lines: Vec<String> = lines.collect();
        if let [one] = lines.as_slice() {
            self.refused.push(format!("{header}{one}"));
        } else {
            self.refused.push(header);
            self.refused.extend(lines.iter().map(|line| format!("* {line}")));
        }
        None
    }
}

/// `deleting` for "delete".
pub(crate) fn doing(verb: &str) -> String {
    match verb {
        "get" => "getting".to_owned(),
        "wait" => "waiting for".to_owned(),
        "run" => "running".to_owned(),
        _ => format!("{}ing", verb.strip_suffix('e').unwrap_or(verb)),
    }
}

fn wrong_kind(document: &Node, version: &str, kind: &str) -> Mistake {
    const KINDS: [&str; 3] = ["Pod", "ConfigMap", "Secret"];
    let place = |key: &str| document.get(key).map_or(document.place, |node| node.place);
    if version.is_empty() || kind.is_empty() {
        let missing: Vec<&str> =
            [("apiVersion", version), ("kind", kind)].iter().filter(|(_, v)| v.is_empty()).map(|(k, _)| *k).collect();
        return mistake(document.place, format!("{} not set", missing.join(" and ")));
    }
    if let Some(refusal) = workloads::refusal(kind) {
        return mistake(place("kind"), refusal);
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

    const STRICT: &str = "Error from server (BadRequest): error when creating \"pod.yaml\": Pod in version \"v1\" cannot be \
                          handled as a Pod: strict decoding error: ";

    #[test]
    fn validation_31_an_unknown_field_is_an_error_with_file_line_and_column() {
        let text = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\nspec:\n  containers: []\n  foo: Never\n";
        assert_eq!(refusal(text), [format!("{STRICT}pod.yaml:7:3: unknown field \"spec.foo\"")]);
        let text = text.replace("foo", "restartpolicy");
        assert_eq!(
            refusal(&text),
            [format!("{STRICT}pod.yaml:7:3: unknown field \"spec.restartpolicy\" (did you mean \"restartPolicy\"?)")]
        );
    }

    #[test]
    fn validation_32_mistakes_of_all_documents_are_reported_in_file_order() {
        let text =
            "kind: Pod\n---\napiVersion: v1\nkind: Pods\n---\napiVersion: v1\nkind: Pod\nspce: {}\nmetadta: {}\n";
        assert_eq!(
            refusal(text),
            [
                "error: pod.yaml:1:1: apiVersion not set",
                "error: pod.yaml:4:7: no matches for kind \"Pods\" in version \"v1\" (did you mean \"Pod\"?)",
                STRICT,
                "* pod.yaml:8:1: unknown field \"spce\" (did you mean \"spec\"?)",
                "* pod.yaml:9:1: unknown field \"metadta\" (did you mean \"metadata\"?)",
            ]
        );
    }

    #[test]
    fn what_makes_pods_is_sent_to_kubernetes_with_the_runtime_class() {
        for kind in ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob"] {
            let said = refusal(&format!("apiVersion: apps/v1\nkind: {kind}\n")).join("\n");
            assert!(said.starts_with(&format!("error: pod.yaml:2:7: a {kind} is run by the controllers of")), "{said}");
            assert!(said.contains("runtimeClassName: loment") && said.lines().count() == 2, "{said}");
        }
        assert!(refusal("apiVersion: v1\nkind: Service\n")[0].contains("means nothing on a single machine"));
    }

    #[test]
    fn validation_32_a_file_that_is_not_yaml_or_holds_nothing_is_refused() {
        assert!(refusal("a: [1\nb: 2").first().unwrap().starts_with("error: error parsing pod.yaml: "));
        assert_eq!(refusal("# nothing\n"), ["error: no objects passed to create: pod.yaml holds none"]);
    }

    #[test]
    fn a_mistake_names_the_verb_that_has_met_it() {
        for (verb, doing) in
            [("create", "creating"), ("get", "getting"), ("explain", "explaining"), ("apply", "applying")]
        {
            let said = load_to(verb, "f", "apiVersion: v1\nkind: Pod\nspce: 1\n").unwrap_err().to_string();
            assert!(said.starts_with(&format!("Error from server (BadRequest): error when {doing} \"f\": ")), "{said}");
        }
        let none = load_to("delete", "f", "").unwrap_err().to_string();
        assert_eq!(none, "error: no objects passed to delete: f holds none");
    }

    #[test]
    fn the_place_of_what_is_no_yaml_is_told_once() {
        let said = refusal("a: b: c\n").join("\n");
        assert!(said.starts_with("error: error parsing pod.yaml: 1:") && !said.contains("at line"), "{said}");
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
