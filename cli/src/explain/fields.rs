//! The fields that are understood, from a table: a type, then its fields, each with its type and what it means.

use crate::error::Said;

const TABLE: &str = include_str!("fields.txt");
/// How wide descriptions are.
const WIDTH: usize = 80;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Type {
    name: &'static str,
    description: &'static str,
    fields: Vec<Field>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Field {
    name: &'static str,
    /// As in `[]Container`.
    kind: &'static str,
    required: bool,
    description: &'static str,
}

impl Field {
    /// The name of the type behind a list.
    fn element(&self) -> &'static str {
        self.kind.trim_start_matches("[]")
    }

    fn title(&self) -> String {
        format!("{}\t<{}>{}", self.name, self.kind, if self.required { " -required-" } else { "" })
    }
}

/// Explains `pods`, or a field of it as `pod.spec.containers`; with `recursive` only names, but all below.
pub(crate) fn explain(path: &str, recursive: bool) -> Result<String, Said> {
    let mut words = path.split('.');
    let kind = words.next().unwrap_or_default();
    let name = match kind.to_lowercase().as_str() {
        "pod" | "pods" | "po" => "Pod",
        "configmap" | "configmaps" | "cm" => "ConfigMap",
        "secret" | "secrets" => "Secret",
        _ => {
            return Err(Said::one(format!(
                "error: loment doesn't have a resource type {kind:?}: type \"pods\", \"configmaps\", \"secrets\", or a field as in \
             \"pod.spec\""
            )));
        }
    };
    let types = types();
    let find = |name: &str| types.iter().find(|known| known.name == name);
    let mut here = find(name);
    let mut field: Option<&Field> = None;
    for word in words {
        field = here.and_then(|here| here.fields.iter().find(|field| field.name == word));
        let found = field.ok_or_else(|| Said::one(format!("error: field {word:?} does not exist")))?;
        here = find(found.element());
    }
    let mut text = format!("KIND:       {name}\nVERSION:    v1\n\n");
    if let Some(field) = field {
        text.push_str(&format!("FIELD: {}\n\n", field.title().replace('\t', " ")));
    }
    text.push_str("DESCRIPTION:\n");
    let descriptions = [field.map(|field| field.description), here.map(|here| here.description)];
    text.push_str(&wrapped(&descriptions.into_iter().flatten().collect::<Vec<_>>().join("\n"), 4));
    if let Some(here) = here {
        text.push_str("\nFIELDS:\n");
        for field in &here.fields {
            if recursive {
                below(&types, field, 1, &mut text);
            } else {
                text.push_str(&format!("  {}\n{}\n", field.title(), wrapped(field.description, 4)));
            }
        }
    }
    Ok(text)
}

fn below(types: &[Type], field: &Field, level: usize, text: &mut String) {
    text.push_str(&format!("{}{}\n", "  ".repeat(level), field.title()));
    let inner = types.iter().find(|known| known.name == field.element());
    inner.iter().flat_map(|inner| &inner.fields).for_each(|field| below(types, field, level + 1, text));
}

fn wrapped(text: &str, indent: usize) -> String {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split(' ') {
            if !line.is_empty() && line.len() + word.len() >= WIDTH - indent {
                lines.push(std::mem::take(&mut line));
            }
            line.push_str(if line.is_empty() { "" } else { " " });
            line.push_str(word);
        }
        lines.push(line);
    }
    lines.iter().map(|line| format!("{}{line}\n", " ".repeat(indent))).collect()
}

fn types() -> Vec<Type> {
    let mut types: Vec<Type> = Vec::new();
    for line in TABLE.lines() {
        let Some((head, description)) = line.split_once(": ") else { continue };
        match head.strip_prefix("  ").and_then(|head| head.split_once(' ')) {
            None => types.push(Type { name: head, description, fields: Vec::new() }),
            Some((name, kind)) => {
                let (kind, required) = kind.strip_suffix('!').map_or((kind, false), |kind| (kind, true));
                let field = Field { name, kind, required, description };
                types.iter_mut().last().into_iter().for_each(|last| last.fields.push(field.clone()));
            }
        }
    }
    types
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_field_is_found_by_its_path() {
        let text = explain("pod.spec.containers.livenessProbe", false).unwrap();
        assert!(
            text.starts_with("KIND:       Pod\nVERSION:    v1\n\nFIELD: livenessProbe <Probe>\n\nDESCRIPTION:\n"),
            "{text}"
        );
        assert!(text.contains("  periodSeconds\t<integer>\n    How often; every 10.\n"), "{text}");
        let pods = explain("pods", false).unwrap();
        assert!(pods.contains("FIELDS:\n  apiVersion\t<string>\n"), "{pods}");
        assert!(explain("pods", true).unwrap().contains("\n      name\t<string> -required-\n"));
        assert!(!explain("pod.spec.containers.name", false).unwrap().contains("FIELDS:"));
        assert_eq!(
            explain("pod.spec.nothing", false).unwrap_err().to_string(),
            "error: field \"nothing\" does not exist"
        );
        assert!(explain("nodes", false).unwrap_err().to_string().contains("resource type \"nodes\""));
    }

    /// Every path of a type, as a value in which only that path is.
    fn samples(types: &[Type], name: &str, depth: usize) -> Vec<Value> {
        let Some(found) = types.iter().find(|known| known.name == name) else { return Vec::new() };
        let mut all = Vec::new();
        for field in &found.fields {
            let wrap = |value: Value| if field.kind.starts_with("[]") { json!([value]) } else { value };
            all.push(json!({ field.name: null }));
            if depth > 0 {
                all.extend(
                    samples(types, field.element(), depth - 1)
                        .into_iter()
                        .map(|inner| json!({ field.name: wrap(inner) })),
                );
            }
        }
        all
    }

    #[test]
    fn what_is_refused_is_explained_as_refused() {
        use crate::manifest::{defaults, load, validate};
        let types = types();
        let fields = |name: &str| types.iter().find(|known| known.name == name).unwrap().fields.iter();
        let refused = |spec: &Value| {
            let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "a" }, "spec": spec });
            let mut pod = load("f", &pod.to_string()).unwrap().pods.remove(0);
            defaults::complete(&mut pod, "default");
            validate::validate(&pod, "loment").is_err_and(|said| said.to_string().contains("not supported by loment"))
        };
        let mut found = Vec::new();
        for field in fields("PodSpec").filter(|field| field.kind == "boolean") {
            for value in [true, false] {
                let spec = json!({ "containers": [{ "name": "a", "image": "i" }], field.name: value });
                if refused(&spec) {
                    found.push(field.name);
                    assert!(field.description.contains(&format!("refuses {value}")), "{}", field.title());
                }
            }
        }
        for source in fields("Volume").filter(|field| field.name != "name") {
            let volume = json!({ "name": "v", source.name: {} });
            let spec = json!({ "containers": [{ "name": "a", "image": "i" }], "volumes": [volume] });
            assert!(!refused(&spec), "{} is explained, and refused", source.title());
        }
        assert_eq!(found, ["hostUsers"]);
        assert!(explain("pod.spec.containers.securityContext.procMount", false).unwrap().contains("refuses"));
    }

    #[test]
    fn every_field_of_the_table_is_one_that_a_manifest_may_have() {
        let types = types();
        for kind in ["Pod", "ConfigMap", "Secret"] {
            let all = samples(&types, kind, 8);
            assert!(all.len() > 4);
            for mut sample in all {
                sample["apiVersion"] = json!("v1");
                sample["kind"] = json!(kind);
                let said = crate::manifest::load("f", &sample.to_string()).map(drop).map_err(|said| said.to_string());
                assert!(!said.as_ref().is_err_and(|said| said.contains("unknown field")), "{sample}: {said:?}");
            }
        }
        for field in types.iter().flat_map(|known| &known.fields) {
            let lowered = field.element().starts_with(char::is_lowercase);
            let external = [
                "Quantity",
                "IntOrString",
                "Time",
                "Affinity",
                "Toleration",
                "PodIP",
                "PodOS",
                "AppArmorProfile",
                "SELinuxOptions",
                "LocalObjectReference",
                "TopologySpreadConstraint",
                "ContainerResizePolicy",
            ];
            let known = types.iter().any(|known| known.name == field.element());
            assert!(lowered || known || external.contains(&field.element()), "{} is not explained", field.kind);
        }
    }
}
