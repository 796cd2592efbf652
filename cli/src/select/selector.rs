//! Label and field selectors: `app=web,tier!=db,env in (a,b),!old` and `status.phase=Running`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::manifest::validate::names::qualified_name_problem;

/// What the labels of a pod must be like: all requirements at once. The empty one is met by all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Labels(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    wanted: Wanted,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    Exists,
    Missing,
    In(Vec<String>),
    /// One of none of these; not being there is that, too.
    NotIn(Vec<String>),
}

impl Labels {
    /// Reads a selector as it stands on a command line.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let requirements = top_level(text).into_iter().map(str::trim).filter(|part| !part.is_empty());
        requirements.map(requirement).collect::<Result<_, _>>().map(Labels)
    }

    pub(crate) fn match_labels(&self, labels: Option<&BTreeMap<String, String>>) -> bool {
        let value = |key: &str| labels.and_then(|labels| labels.get(key));
        self.0.iter().all(|requirement| match (&requirement.wanted, value(&requirement.key)) {
            (Wanted::Exists, value) => value.is_some(),
            (Wanted::Missing, value) => value.is_none(),
            (Wanted::In(values), Some(value)) => values.contains(value),
            (Wanted::In(_), None) => false,
            (Wanted::NotIn(values), Some(value)) => !values.contains(value),
            (Wanted::NotIn(_), None) => true,
        })
    }
}

/// Splits at commas that stand outside parentheses.
fn top_level(text: &str) -> Vec<&str> {
    let (mut depth, mut from, mut parts) = (0_i32, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    parts
}

fn requirement(text: &str) -> Result<Requirement, String> {
    let checked = |key: &str, wanted: Wanted| match qualified_name_problem(key.trim()) {
        None => Ok(Requirement { key: key.trim().to_owned(), wanted }),
        Some(problem) => Err(format!("unable to parse requirement: {text:?}: {:?}: {problem}", key.trim())),
    };
    let one = |value: &str| vec![value.trim().to_owned()];
    if let Some((key, value)) = text.split_once("!=") {
        return checked(key, Wanted::NotIn(one(value)));
    }
    if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return checked(key, Wanted::In(one(value)));
    }
    if let Some(key) = text.strip_prefix('!') {
        return checked(key, Wanted::Missing);
    }
    let Some((head, set)) = text.split_once('(') else { return checked(text, Wanted::Exists) };
    let set =
        set.trim().strip_suffix(')').ok_or_else(|| format!("unable to parse requirement: {text:?}: ')' is missing"))?;
    let values = set.split(',').map(|value| value.trim().to_owned()).collect();
    let mut words = head.split_whitespace();
    match (words.next(), words.next(), words.next()) {
        (Some(key), Some("in"), None) => checked(key, Wanted::In(values)),
        (Some(key), Some("notin"), None) => checked(key, Wanted::NotIn(values)),
        _ => {
            Err(format!("unable to parse requirement: {text:?}: expected KEY in (VALUE,...) or KEY notin (VALUE,...)"))
        }
    }
}

/// What fields of a pod must be like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields(Vec<(String, bool, String)>);

/// The fields of a pod that a server can select by.
const FIELDS: [&str; 10] = [
    "metadata.name",
    "metadata.namespace",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.nominatedNodeName",
];

impl Fields {
    /// Reads a selector as it stands on a command line.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut wanted = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (field, equal, value) = if let Some((field, value)) = part.split_once("!=") {
                (field, false, value)
            } else if let Some((field, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
                (field, true, value)
            } else {
                return Err(format!("invalid field selector: {part:?}; can't understand {part:?}"));
            };
            if !FIELDS.contains(&field.trim()) {
                return Err(format!(
                    "Unable to find \"/v1, Resource=pods\" that match label selector \"\", field selector {text:?}: field \
                     label not supported: {}",
                    field.trim()
                ));
            }
            wanted.push((field.trim().to_owned(), equal, value.trim().to_owned()));
        }
        Ok(Fields(wanted))
    }

    pub(crate) fn match_object(&self, object: &Value) -> bool {
        self.0.iter().all(|(field, equal, wanted)| {
            let found = object.pointer(&format!("/{}", field.replace('.', "/")));
            let found = match found {
                Some(Value::String(text)) => text.clone(),
                Some(Value::Bool(flag)) => flag.to_string(),
                _ if field == "spec.hostNetwork" => "false".to_owned(),
                _ => String::new(),
            };
            (found == *wanted) == *equal
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn matches(selector: &str, labels: &[(&str, &str)]) -> bool {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Labels::parse(selector).unwrap().match_labels(Some(&labels))
    }

    #[test]
    fn a_selector_is_met_when_all_its_requirements_are() {
        let web = [("app", "web"), ("example.org/tier", "front")];
        for selector in [
            "",
            "app",
            "app=web",
            "app==web",
            "app = web",
            "app!=db",
            "app in (web, db)",
            "app notin (db)",
            "!old",
            "old!=1",
            "old notin (1)",
            "app=web,example.org/tier in (front,back),!old",
        ] {
            assert!(matches(selector, &web), "{selector}");
        }
        for selector in
            ["old", "app=db", "app!=web", "app in (db)", "app notin (web,db)", "!app", "app=web,old", "old in (1)"]
        {
            assert!(!matches(selector, &web), "{selector}");
        }
        assert!(Labels::parse("!a").unwrap().match_labels(None));
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        for selector in ["a in (b", "a within (b)", "=b", "a/b/c", "in (b)", "-a", "a b"] {
            assert!(Labels::parse(selector).is_err(), "{selector}");
        }
    }

    #[test]
    fn fields_are_compared_as_text() {
        let pod = json!({ "metadata": { "name": "web" }, "status": { "phase": "Running" } });
        let matches = |text| Fields::parse(text).unwrap().match_object(&pod);
        assert!(matches("metadata.name=web,status.phase!=Pending,spec.hostNetwork=false"));
        assert!(!matches("status.phase=Pending"));
        assert!(Fields::parse("spec.containers=a").unwrap_err().contains("field label not supported: spec.containers"));
        assert!(Fields::parse("nonsense").is_err());
    }
}
