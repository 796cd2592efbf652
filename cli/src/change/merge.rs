//! What `apply` makes of a pod that exists: the manifest as it was applied last, as it is applied now, and the pod as it is,
//! merged. What the manifest does not speak of and never did stays as somebody else has made it.

use serde_json::{Map, Value};

/// Lists whose elements are told apart by one of their fields.
const KEYED: [(&str, &str); 9] = [
    ("containers", "name"),
    ("initContainers", "name"),
    ("volumes", "name"),
    ("env", "name"),
    ("imagePullSecrets", "name"),
    ("volumeMounts", "mountPath"),
    ("volumeDevices", "devicePath"),
    ("ports", "containerPort"),
    ("hostAliases", "ip"),
];

/// Merges a manifest into an object. `applied` is the manifest as it was applied before, if it was.
pub(crate) fn merge(applied: Option<&Value>, manifest: &Value, live: &Value) -> Value {
    field("", applied, manifest, live)
}

fn field(name: &str, applied: Option<&Value>, manifest: &Value, live: &Value) -> Value {
    match (manifest, live) {
        (Value::Object(manifest), Value::Object(live)) => object(applied.and_then(Value::as_object), manifest, live),
        (Value::Array(manifest), Value::Array(live)) => match KEYED.iter().find(|(list, _)| *list == name) {
            Some((_, key)) => list(key, applied.and_then(Value::as_array), manifest, live),
            None => Value::Array(manifest.clone()),
        },
        _ => manifest.clone(),
    }
}

fn object(applied: Option<&Map<String, Value>>, manifest: &Map<String, Value>, live: &Map<String, Value>) -> Value {
    let mut merged = live.clone();
    for name in applied.into_iter().flat_map(Map::keys).filter(|name| !manifest.contains_key(*name)) {
        merged.remove(name);
    }
    for (name, value) in manifest {
        let before = applied.and_then(|applied| applied.get(name));
        let value = match live.get(name) {
            Some(live) => field(name, before, value, live),
            None => value.clone(),
        };
        merged.insert(name.clone(), value);
    }
    Value::Object(merged)
}

fn list(key: &str, applied: Option<&Vec<Value>>, manifest: &[Value], live: &[Value]) -> Value {
    let find = |list: &[Value], one: &Value| list.iter().find(|other| other[key] == one[key]).cloned();
    let applied = applied.map(Vec::as_slice).unwrap_or_default();
    let mut merged: Vec<Value> = Vec::new();
    for live in live {
        match (find(manifest, live), find(applied, live)) {
            (Some(manifest), before) => merged.push(field("", before.as_ref(), &manifest, live)),
            // It was in the manifest and is not any more.
            (None, Some(_)) => {}
            (None, None) => merged.push(live.clone()),
        }
    }
    merged.extend(manifest.iter().filter(|one| find(live, one).is_none()).cloned());
    Value::Array(merged)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_others_have_set_stays_and_what_was_taken_out_of_the_manifest_goes() {
        let applied = json!({ "metadata": { "labels": { "a": "1", "b": "2" } } });
        let manifest = json!({ "metadata": { "labels": { "a": "3" } } });
        let live = json!({ "metadata": { "uid": "u", "labels": { "a": "1", "b": "2", "c": "theirs" } } });
        let merged = merge(Some(&applied), &manifest, &live);
        assert_eq!(merged, json!({ "metadata": { "uid": "u", "labels": { "a": "3", "c": "theirs" } } }));
        let unknown = merge(None, &manifest, &live);
        assert_eq!(unknown["metadata"]["labels"], json!({ "a": "3", "b": "2", "c": "theirs" }));
    }

    #[test]
    fn containers_are_merged_by_name_and_keep_their_defaults() {
        let manifest = json!({ "spec": { "containers": [{ "name": "b", "image": "new", "command": ["x"] }, { "name": "a", "image": "i" }] } });
        let live = json!({ "spec": { "restartPolicy": "Always", "containers": [
            { "name": "a", "image": "i", "imagePullPolicy": "Always" }, { "name": "b", "image": "old", "command": ["x", "y"] }] } });
        let merged = merge(Some(&manifest), &manifest, &live);
        assert_eq!(
            merged,
            json!({ "spec": { "restartPolicy": "Always", "containers": [
                { "name": "a", "image": "i", "imagePullPolicy": "Always" }, { "name": "b", "image": "new", "command": ["x"] }] } })
        );
    }

    #[test]
    fn an_element_that_is_new_is_added_and_one_that_was_removed_goes() {
        let applied = json!({ "volumes": [{ "name": "old" }, { "name": "kept" }] });
        let manifest = json!({ "volumes": [{ "name": "kept" }, { "name": "new" }] });
        let live = json!({ "volumes": [{ "name": "old" }, { "name": "kept", "emptyDir": {} }] });
        assert_eq!(
            merge(Some(&applied), &manifest, &live),
            json!({ "volumes": [{ "name": "kept", "emptyDir": {} }, { "name": "new" }] })
        );
    }
}
