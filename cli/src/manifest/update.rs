//! What may change in a pod that exists: the rules of the API for an update.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::validate::{Errors, check_metadata, quoted};
use crate::error::Said;

const ALLOWED: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,\
                       `spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),\
                       `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Gives the new version of a pod what only the one who made the pod knows, where it says nothing itself.
pub(crate) fn inherit(old: &Pod, new: &mut Pod) {
    let (was, is) = (&old.metadata, &mut new.metadata);
    is.uid = is.uid.take().filter(|uid| !uid.is_empty()).or_else(|| was.uid.clone());
    is.creation_timestamp = is.creation_timestamp.take().or_else(|| was.creation_timestamp.clone());
    is.generation = is.generation.or(was.generation);
    is.resource_version = is.resource_version.take().or_else(|| was.resource_version.clone());
    is.deletion_timestamp = is.deletion_timestamp.take().or_else(|| was.deletion_timestamp.clone());
    is.deletion_grace_period_seconds = is.deletion_grace_period_seconds.or(was.deletion_grace_period_seconds);
    if let (Some(was), Some(is)) = (&old.spec, &mut new.spec) {
        is.node_name = is.node_name.take().filter(|name| !name.is_empty()).or_else(|| was.node_name.clone());
    }
}

/// Whether a pod may become another one. Both are completed, the new one has been validated for itself and has inherited
/// what is not in its manifest. Answers with hints, or with everything that must not change, in kubectl's words.
pub(crate) fn validate_update(old: &Pod, new: &Pod) -> Result<Vec<String>, Said> {
    let mut errors = Errors::default();
    check_meta(&mut errors, &old.metadata, &new.metadata);
    check_metadata(&mut errors, &new.metadata);
    if let (Some(was), Some(is)) = (&old.spec, &new.spec) {
        check_spec(&mut errors, was, is);
        hint(&mut errors, was, is);
    }
    errors.into_result(new.metadata.name.as_deref().unwrap_or_default(), None)
}

fn check_meta(errors: &mut Errors, was: &ObjectMeta, is: &ObjectMeta) {
    let text = |value: &Option<String>| quoted(value.as_deref().unwrap_or_default());
    for (path, was, is) in [
        ("metadata.name", &was.name, &is.name),
        ("metadata.namespace", &was.namespace, &is.namespace),
        ("metadata.uid", &was.uid, &is.uid),
    ] {
        if was != is {
            errors.invalid(path, text(is), "field is immutable");
        }
    }
    if was.creation_timestamp != is.creation_timestamp {
        let shown = is.creation_timestamp.as_ref().map(|time| time.0.to_string());
        errors.invalid("metadata.creationTimestamp", text(&shown), "field is immutable");
    }
    if was.deletion_timestamp != is.deletion_timestamp {
        let shown = is.deletion_timestamp.as_ref().map(|time| time.0.to_string());
        errors.invalid(
            "metadata.deletionTimestamp",
            text(&shown),
            "field is immutable; may only be changed via deletion",
        );
    }
    if is.generation < was.generation {
        errors.invalid("metadata.generation", is.generation.unwrap_or_default(), "must not be decremented");
    }
    let old: Vec<&String> = was.finalizers.iter().flatten().collect();
    let added: Vec<&String> = is.finalizers.iter().flatten().filter(|name| !old.contains(name)).collect();
    if was.deletion_timestamp.is_some() && !added.is_empty() {
        errors.forbidden(
            "metadata.finalizers",
            &format!("no new finalizers can be added if the object is being deleted, found new finalizers {added:?}"),
        );
    }
}

fn check_spec(errors: &mut Errors, was: &PodSpec, is: &PodSpec) {
    let inits = |spec: &PodSpec| spec.init_containers.as_ref().map_or(0, Vec::len);
    let mut counted = true;
    for (path, was, is) in
        [("spec.containers", was.containers.len(), is.containers.len()), ("spec.initContainers", inits(was), inits(is))]
    {
        if was != is {
            errors.forbidden(path, "pod updates may not add or remove containers");
            counted = false;
        }
    }
    if !counted {
        return;
    }
    check_deadline(errors, was.active_deadline_seconds, is.active_deadline_seconds);
    check_tolerations(errors, was.tolerations.as_deref(), is.tolerations.as_deref());
    let differences = differences(was, &with_what_may_change(was, is));
    if !differences.is_empty() {
        errors.forbidden("spec", &format!("{ALLOWED}\n{}", differences.join("\n")));
    }
}

fn check_deadline(errors: &mut Errors, was: Option<i64>, is: Option<i64>) {
    let path = "spec.activeDeadlineSeconds";
    match (was, is) {
        (Some(_), None) => errors.invalid(path, "null", "must not update from a positive integer to nil value"),
        (_, Some(new)) if !(0..=i64::from(i32::MAX)).contains(&new) => {
            errors.invalid(path, new, "must be between 0 and 2147483647, inclusive");
        }
        (Some(old), Some(new)) if new > old => {
            errors.invalid(path, new, "must be less than or equal to previous value");
        }
        _ => {}
    }
}

fn check_tolerations(errors: &mut Errors, was: Option<&[Toleration]>, is: Option<&[Toleration]>) {
    let same = |a: &Toleration, b: &Toleration| {
        let without_time = |toleration: &Toleration| Toleration { toleration_seconds: None, ..toleration.clone() };
        without_time(a) == without_time(b)
    };
    let kept = |old: &Toleration| is.into_iter().flatten().any(|new| same(old, new));
    if !was.into_iter().flatten().all(kept) {
        errors.forbidden("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds");
    }
}

/// The new spec with the old one's values in every field that may change: what still differs must not.
fn with_what_may_change(was: &PodSpec, is: &PodSpec) -> PodSpec {
    let mut munged = is.clone();
    let pairs = munged.containers.iter_mut().zip(&was.containers);
    let inits = munged.init_containers.iter_mut().flatten().zip(was.init_containers.iter().flatten());
    for (new, old) in pairs.chain(inits) {
        new.image = old.image.clone();
    }
    munged.active_deadline_seconds = was.active_deadline_seconds;
    munged.tolerations = was.tolerations.clone();
    if was.termination_grace_period_seconds.is_some_and(|grace| grace < 0)
        && is.termination_grace_period_seconds == Some(1)
    {
        munged.termination_grace_period_seconds = was.termination_grace_period_seconds;
    }
    munged
}

/// Lines `- path: old` and `+ path: new` for everything that differs.
fn differences(was: &PodSpec, is: &PodSpec) -> Vec<String> {
    let value = |spec: &PodSpec| serde_json::to_value(spec).unwrap_or_default();
    let mut lines = Vec::new();
    compare(&mut lines, "spec", Some(&value(was)), Some(&value(is)));
    lines
}

fn compare(lines: &mut Vec<String>, path: &str, was: Option<&Value>, is: Option<&Value>) {
    if was == is {
        return;
    }
    match (was, is) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                compare(lines, &format!("{path}.{key}"), old.get(key), new.get(key));
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) => {
            for index in 0..old.len().max(new.len()) {
                compare(lines, &format!("{path}[{index}]"), old.get(index), new.get(index));
            }
        }
        _ => {
            for (sign, value) in [("-", was), ("+", is)] {
                lines.extend(value.map(|value| format!("  {sign} {path}: {value}")));
            }
        }
    }
}

/// A new image is taken up when the container is started next. An init container that has succeeded never is.
fn hint(errors: &mut Errors, was: &PodSpec, is: &PodSpec) {
    let inits = was.init_containers.iter().flatten().zip(is.init_containers.iter().flatten());
    let changed = |(was, is): &(&Container, &Container)| was.image != is.image && !super::amounts::is_sidecar(is);
    for (_, container) in inits.filter(changed) {
        errors.warn(format!(
            "init container {:?}: the new image is used if it fails and is run again; it is not run again for the image",
            container.name
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{defaults, load};

    fn pod(metadata: &str, spec: &str) -> Pod {
        let text = format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: n, {metadata}}}\nspec: {{{spec}}}\n");
        let mut pod = load("f", &text).unwrap_or_else(|said| panic!("{said}")).pods.remove(0);
        defaults::complete(&mut pod, "default");
        pod
    }

    const OLD: &str = "containers: [{name: a, image: \"b:1\"}], initContainers: [{name: i, image: \"b:1\"}]";

    fn said(old: &str, new: &str) -> Vec<String> {
        match validate_update(&pod("uid: u", old), &pod("uid: u", new)) {
            Ok(_) => Vec::new(),
            Err(Said(lines)) => lines,
        }
    }

    fn problem(old: &str, new: &str) -> String {
        let said = said(old, new);
        assert_eq!(said.len(), 1, "{said:#?}");
        said[0].strip_prefix("The Pod \"n\" is invalid: ").unwrap().to_owned()
    }

    #[test]
    fn images_labels_and_annotations_may_change() {
        let new = OLD.replace("b:1", "b:2");
        assert!(said(OLD, &new).is_empty());
        assert!(validate_update(&pod("labels: {a: b}", OLD), &pod("annotations: {c: d}", OLD)).is_ok());
    }

    #[test]
    fn i13_a_new_image_of_an_init_container_comes_with_a_hint() {
        let new = "containers: [{name: a, image: \"b:1\"}], initContainers: [{name: i, image: \"b:2\"}]";
        let hints = validate_update(&pod("", OLD), &pod("", new)).unwrap();
        assert_eq!(hints.len(), 1);
        assert!(hints[0].starts_with("init container \"i\": the new image is used if it fails"), "{hints:?}");
    }

    #[test]
    fn any_other_field_is_named_with_both_values() {
        let new = OLD.replace("name: a,", "name: a, args: [x],");
        let said = problem(OLD, &new);
        let lines: Vec<&str> = said.lines().collect();
        assert!(
            lines[0].starts_with(
                "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
            )
        );
        assert_eq!(lines[1..], ["  + spec.containers[0].args: [\"x\"]"]);
    }

    #[test]
    fn containers_are_neither_added_nor_removed() {
        let more =
            "containers: [{name: a, image: \"b:1\"}, {name: c, image: b}], initContainers: [{name: i, image: \"b:1\"}]";
        assert_eq!(problem(OLD, more), "spec.containers: Forbidden: pod updates may not add or remove containers");
        let fewer = "containers: [{name: a, image: \"b:1\"}]";
        assert_eq!(problem(OLD, fewer), "spec.initContainers: Forbidden: pod updates may not add or remove containers");
    }

    #[test]
    fn the_deadline_may_only_come_nearer() {
        let with = |seconds: &str| format!("{OLD}, activeDeadlineSeconds: {seconds}");
        assert!(said(OLD, &with("5")).is_empty());
        assert!(said(&with("5"), &with("4")).is_empty());
        let path = "spec.activeDeadlineSeconds: Invalid value";
        assert_eq!(problem(&with("5"), &with("6")), format!("{path}: 6: must be less than or equal to previous value"));
        assert_eq!(
            problem(&with("5"), OLD),
            format!("{path}: null: must not update from a positive integer to nil value")
        );
    }

    #[test]
    fn tolerations_are_only_added() {
        let with = |list: &str| format!("{OLD}, tolerations: [{list}]");
        let (a, b) = ("{key: a, operator: Exists, effect: NoExecute}", "{key: b, operator: Exists}");
        assert!(said(&with(a), &with(&format!("{a}, {b}"))).is_empty());
        assert!(said(&with(a), &with(&a.replace('}', ", tolerationSeconds: 9}"))).is_empty());
        assert_eq!(
            problem(&with(a), &with(b)),
            "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"
        );
    }

    #[test]
    fn what_identifies_a_pod_is_immutable() {
        let old = pod("uid: u, generation: 3", OLD);
        let mut new = pod("uid: other, generation: 2", OLD);
        new.metadata.name = Some("m".into());
        let said = validate_update(&old, &new).unwrap_err().0;
        assert_eq!(
            said,
            [
                "The Pod \"m\" is invalid: ",
                "* metadata.name: Invalid value: \"m\": field is immutable",
                "* metadata.uid: Invalid value: \"other\": field is immutable",
                "* metadata.generation: Invalid value: 2: must not be decremented",
            ]
        );
    }

    #[test]
    fn what_a_manifest_does_not_say_is_inherited() {
        let mut old = pod("uid: u, creationTimestamp: \"2026-01-01T00:00:00Z\", generation: 2", OLD);
        old.spec.as_mut().unwrap().node_name = Some("node".into());
        let mut new = pod("", OLD);
        inherit(&old, &mut new);
        assert_eq!(validate_update(&old, &new).unwrap(), [""; 0]);
        assert_eq!(new, old);
    }
}
