//! `loment patch`: a part of a pod changed, by a piece of a manifest.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use super::{print, warn};
use crate::args::Global;
use crate::change::merge::merge;
use crate::change::update;
use crate::error::Said;
use crate::manifest::annotations;
use crate::manifest::defaults;
use crate::manifest::load;
use crate::manifest::update::{inherit, validate_update};
use crate::print::output::Output;
use crate::print::show;
use crate::session::Session;
use crate::{lower, resource};

const EXAMPLES: &str = "\
Examples:
  # Another image for one container: lists are merged by name
  loment patch pod web -p '{\"spec\":{\"containers\":[{\"name\":\"app\",\"image\":\"nginx:1.29\"}]}}'

  # A label, in YAML; null removes one
  loment patch pod web -p 'metadata: {labels: {tier: front, old: null}}'

  # A patch from a file
  loment patch pod web --patch-file=patch.yaml";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Patch {
    /// "pod NAME" or "pod/NAME"
    #[arg(required = true, value_name = "RESOURCE")]
    what: Vec<String>,
    /// The patch, in JSON or YAML
    #[arg(short, long, required_unless_present = "patch_file", conflicts_with = "patch_file")]
    patch: Option<String>,
    /// A file with the patch
    #[arg(long, value_name = "FILE")]
    patch_file: Option<PathBuf>,
    /// Whether lists are merged by the names of their elements, or replaced
    #[arg(long = "type", value_enum, default_value_t = Kind::Strategic)]
    kind: Kind,
    /// Print the pod as it is then: yaml, json, name, jsonpath=TEMPLATE ...
    #[arg(short, long)]
    output: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Lists are merged by the names of their elements
    Strategic,
    /// Lists are replaced (RFC 7386)
    Merge,
}

pub(crate) async fn run(global: &Global, args: &Patch) -> anyhow::Result<()> {
    let names = resource::names(&args.what)?;
    let [name] = names.as_slice() else { return Err(Said::one("error: one pod is patched at a time").into()) };
    let output = args.output.as_deref().map(|text| Output::parse(Some(text))).transpose()?;
    let text = match (&args.patch, &args.patch_file) {
        (Some(text), _) => text.clone(),
        (None, Some(file)) => fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?,
        (None, None) => String::new(),
    };
    let patch: Value = serde_saphyr::from_str(&text)
        .map_err(|error| Said::one(format!("error: unable to parse the patch: {error}")))?;
    let session = Session::open(global).await?;
    let found = session.pod(name).await?;
    warn(&patched(&found.pod, &patch, args.kind)?.1);
    let (before, now) = update::change(&session, &found, |live| Ok(patched(live, &patch, args.kind)?.0)).await?;
    match output {
        Some(output) => print(&output.one(&show::object(&now, None)?)?),
        None if before == now => print(&format!("pod/{name} patched (no change)\n")),
        None => print(&format!("pod/{name} patched\n")),
    }
}

/// What a pod becomes by a patch, with hints; or what of it may not change.
fn patched(live: &Pod, patch: &Value, kind: Kind) -> anyhow::Result<(Pod, Vec<String>)> {
    if !patch.is_object() {
        return Err(Said::one("error: unable to parse the patch: it is no object").into());
    }
    let value = serde_json::to_value(live).context("write the pod as JSON")?;
    let merged = match kind {
        Kind::Strategic => without_nulls(merge(None, patch, &value)),
        Kind::Merge => replaced(&value, patch),
    };
    // Read as strictly as a manifest: a field that nobody knows is a mistake here, too.
    let mut pod =
        load("the patched pod", &merged.to_string())?.pods.into_iter().next().context("a patch made no pod")?;
    defaults::complete(&mut pod, lower::namespace(live));
    inherit(live, &mut pod);
    let mut hints = validate_update(live, &pod)?;
    let is_new = |name: &&String| !live.metadata.annotations.iter().flatten().any(|(known, _)| known == *name);
    hints.extend(annotations::unknown(pod.metadata.annotations.iter().flatten().map(|(name, _)| name).filter(is_new)));
    Ok((pod, hints))
}

/// JSON Merge Patch (RFC 7386).
fn replaced(live: &Value, patch: &Value) -> Value {
    let Value::Object(changes) = patch else { return patch.clone() };
    let mut merged = live.as_object().cloned().unwrap_or_default();
    for (name, change) in changes {
        match change {
            Value::Null => drop(merged.remove(name)),
            change => {
                let value = replaced(merged.get(name).unwrap_or(&Value::Null), change);
                merged.insert(name.clone(), value);
            }
        }
    }
    Value::Object(merged)
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(name, value)| (name, without_nulls(value))).collect())
        }
        Value::Array(all) => Value::Array(all.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn live() -> Pod {
        let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: web, labels: {a: x, b: x}}\nspec: {containers: [{name: a, image: \
                    'i:1'}, {name: b, image: 'i:1'}]}\n";
        let mut pod = load("f", text).unwrap().pods.remove(0);
        defaults::complete(&mut pod, "default");
        pod
    }

    fn patched_by(patch: Value, kind: Kind) -> Result<Pod, String> {
        patched(&live(), &patch, kind).map(|(pod, _)| pod).map_err(|error| error.to_string())
    }

    #[test]
    fn a_strategic_patch_finds_containers_by_name_and_null_removes() {
        let patch = json!({ "metadata": { "labels": { "a": null, "c": "y" } },
            "spec": { "containers": [{ "name": "b", "image": "i:2" }] } });
        let pod = patched_by(patch, Kind::Strategic).unwrap();
        let images: Vec<_> = pod.spec.unwrap().containers.into_iter().filter_map(|one| one.image).collect();
        assert_eq!(images, ["i:1", "i:2"]);
        assert_eq!(pod.metadata.labels.unwrap().into_keys().collect::<Vec<_>>(), ["b", "c"]);
    }

    #[test]
    fn a_merge_patch_replaces_lists_and_then_containers_are_missing() {
        let patch = json!({ "spec": { "containers": [{ "name": "b", "image": "i:2" }] } });
        let said = patched_by(patch, Kind::Merge).unwrap_err();
        assert!(said.contains("pod updates may not add or remove containers"), "{said}");
        let pod = patched_by(json!({ "metadata": { "labels": { "a": null } } }), Kind::Merge).unwrap();
        assert_eq!(pod.metadata.labels.unwrap().into_keys().collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn what_nobody_knows_or_may_not_change_is_refused() {
        assert!(patched_by(json!({ "spec": { "foo": 1 } }), Kind::Strategic).unwrap_err().contains("unknown field"));
        assert!(patched_by(json!({ "spec": { "hostname": "x" } }), Kind::Strategic).unwrap_err().contains("Forbidden"));
        let slip = json!({ "metadata": { "annotations": { "io.loment.pod.max-restart": "1" } } });
        let (_, hints) = patched(&live(), &slip, Kind::Merge).unwrap();
        assert!(hints.len() == 1 && hints[0].contains("did you mean"), "{hints:?}");
        assert!(patched_by(json!([]), Kind::Merge).unwrap_err().contains("it is no object"));
    }
}
