//! `loment apply`, `loment replace` and `loment set image`: pods that are there become what a manifest says, as far as a
//! pod may change.

mod given;
mod replace;
mod set;

use anyhow::Context as _;
use clap::Args;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::dry_run::DryRun;
use super::{create, note, warn};
use crate::args::{Filenames, Global};
use crate::change::merge::merge;
use crate::change::update;
use crate::kept::record;
use crate::lower;
use crate::manifest::defaults;
use crate::manifest::update::{inherit, validate_update};
use crate::manifest::validate::{Rules, validate_at};
use crate::session::{Found, Session};
use given::{Given, Report};
pub(crate) use replace::{Replace, replace};
pub(crate) use set::{Set, set};

const EXAMPLES: &str = "\
Examples:
  # Make the pods of a file; later, change them to what the file says then
  loment apply -f pod.yaml

  # From standard input
  cat pod.yaml | loment apply -f -

  # Which pods would be made or changed
  loment apply -f pod.yaml --dry-run

Of a pod that is there may change: the images of containers (each is restarted alone), labels and annotations,
activeDeadlineSeconds (sooner), and tolerations (more).";

/// Where `apply` keeps what it was given, as kubectl does.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Apply {
    #[command(flatten)]
    filenames: Filenames,
    #[command(flatten)]
    dry_run: DryRun,
    /// Print the pods as they are then: yaml, json, name, jsonpath=TEMPLATE ...
    #[arg(short, long)]
    output: Option<String>,
}

pub(crate) async fn apply(global: &Global, args: &Apply) -> anyhow::Result<()> {
    let report = Report::of(args.output.as_deref())?;
    let given = Given::read(global, &args.filenames, "apply")?;
    let session = Session::open(global).await?;
    let found = given.find(&session).await?;
    let rules = args.filenames.rules(global);
    // Every change is checked before the first one is made.
    for (found, written) in found.iter().zip(&given.written) {
        if let Some(found) = found {
            if !annotations(&found.pod).contains_key(LAST_APPLIED) {
                let name = found.name();
                note(&format!(
                    "Warning: resource pods/{name} is missing the {LAST_APPLIED} annotation which is required by loment \
                     apply. loment apply should only be used on resources created by loment apply. The missing \
                     annotation will be patched automatically."
                ));
            }
            warn(&applied(&found.pod, written, rules)?.1);
        }
    }
    if args.dry_run.is_wanted() {
        return tell(global, args, &given, &found, &report).await;
    }
    make_missing(global, args, &session, &given, &found, &report).await?;
    for (found, written) in found.iter().zip(&given.written) {
        let Some(found) = found else { continue };
        let (before, now) = update::change(&session, found, |live| Ok(applied(live, written, rules)?.0)).await?;
        report.say(&now, done(&before, &now))?;
    }
    Ok(())
}

/// What has become of a pod.
fn done(before: &Pod, now: &Pod) -> &'static str {
    if without_versions(before) == without_versions(now) { "unchanged" } else { "configured" }
}

/// Checks the pods that would be made, and tells what would become of each.
async fn tell(
    global: &Global,
    args: &Apply,
    given: &Given,
    found: &[Option<Found>],
    report: &Report,
) -> anyhow::Result<()> {
    let how = args.dry_run;
    let (which, missing) = given.missing(found);
    if !which.is_empty() {
        for pod in &create::check(global, missing, &args.filenames, how).await? {
            report.say(pod, &format!("created{how}"))?;
        }
    }
    for (found, written) in found.iter().zip(&given.written) {
        let Some(found) = found else { continue };
        let (now, _) = applied(&found.pod, written, args.filenames.rules(global))?;
        report.say(&now, &format!("{}{how}", done(&found.pod, &now)))?;
    }
    Ok(())
}

/// Makes the pods that are not there, all or none.
async fn make_missing(
    global: &Global,
    args: &Apply,
    session: &Session,
    given: &Given,
    found: &[Option<Found>],
    report: &Report,
) -> anyhow::Result<()> {
    let (which, objects) = given.missing(found);
    if which.is_empty() {
        return Ok(());
    }
    let made = create::create(global, objects, &args.filenames, None).await?;
    for (pod, index) in made.iter().zip(which) {
        let (Some(found), Some(written)) =
            (session.find(lower::namespace(pod), lower::name(pod)).await?, given.written.get(index))
        else {
            continue;
        };
        let text = configuration(written)?;
        let pod = record::change(&found, |pod| {
            pod.metadata.annotations.get_or_insert_default().insert(LAST_APPLIED.to_owned(), text);
            Ok(())
        })?;
        report.say(&pod, "created")?;
    }
    Ok(())
}

fn annotations(pod: &Pod) -> std::collections::BTreeMap<String, String> {
    pod.metadata.annotations.clone().unwrap_or_default()
}

/// What only tells that something has changed, left out.
fn without_versions(pod: &Pod) -> Pod {
    let mut pod = pod.clone();
    pod.metadata.resource_version = None;
    pod.metadata.generation = None;
    if let Some(annotations) = &mut pod.metadata.annotations {
        annotations.remove(LAST_APPLIED);
    }
    pod
}

/// A manifest as the annotation keeps it: without the annotation itself.
fn configuration(written: &Pod) -> anyhow::Result<String> {
    let mut value = serde_json::to_value(written).context("write the manifest as JSON")?;
    if let Some(annotations) = value["metadata"].get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.remove(LAST_APPLIED);
    }
    if let Some(object) = value.as_object_mut() {
        object.remove("status");
    }
    Ok(format!("{value}\n"))
}

/// What a pod becomes when a manifest is applied to it, with hints; or what of it may not change.
fn applied(live: &Pod, written: &Pod, rules: Rules<'_>) -> anyhow::Result<(Pod, Vec<String>)> {
    let text = configuration(written)?;
    let mut manifest: Value = serde_json::from_str(&text).context("read the manifest")?;
    let last = annotations(live).get(LAST_APPLIED).and_then(|text| serde_json::from_str::<Value>(text).ok());
    let live_value = serde_json::to_value(live).context("write the pod as JSON")?;
    manifest["metadata"]["annotations"][LAST_APPLIED] = json!(text);
    let merged = merge(last.as_ref(), &manifest, &live_value);
    let mut pod: Pod = serde_json::from_value(merged).context("read what the manifest makes of the pod")?;
    let hints = complete(&mut pod, live, rules)?;
    Ok((pod, hints))
}

/// Completes the new version of a pod, and refuses what may not change.
fn complete(pod: &mut Pod, live: &Pod, rules: Rules<'_>) -> anyhow::Result<Vec<String>> {
    defaults::complete(pod, lower::namespace(live));
    validate_at(pod, rules, None)?;
    inherit(live, pod);
    Ok(validate_update(live, pod)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::load;

    pub(super) const RULES: Rules<'_> = Rules { runtime_handler: "loment", unsafe_sysctls: &[] };

    pub(super) fn written(more: &str, image: &str) -> Pod {
        let text = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: web{more}}}\nspec: {{containers: [{{name: a, image: {image}}}]}}\n"
        );
        load("f", &text).unwrap().pods.remove(0)
    }

    pub(super) fn live(written: &Pod) -> Pod {
        let mut pod = written.clone();
        defaults::complete(&mut pod, "default");
        pod.metadata.uid = Some("u".into());
        record::stamp(&mut pod);
        let text = configuration(written).unwrap();
        pod.metadata.annotations.get_or_insert_default().insert(LAST_APPLIED.into(), text);
        pod
    }

    #[test]
    fn s9_an_image_and_labels_may_be_applied_and_the_pod_keeps_who_it_is() {
        let live = live(&written(", labels: {a: x, b: x}", "'i:1'"));
        let (now, _) = applied(&live, &written(", labels: {a: z}", "'i:2'"), RULES).unwrap();
        assert_eq!(now.metadata.uid.as_deref(), Some("u"));
        assert_eq!(now.metadata.labels.clone().unwrap(), [("a".to_owned(), "z".to_owned())].into());
        assert_eq!(now.spec.as_ref().unwrap().containers[0].image.as_deref(), Some("i:2"));
        assert!(annotations(&now)[LAST_APPLIED].contains("\"i:2\""));
    }

    #[test]
    fn s9_what_may_not_change_is_refused_by_apply_and_replace() {
        let live = live(&written("", "'i:1'"));
        let mut other = written("", "'i:1'");
        other.spec.as_mut().unwrap().hostname = Some("h".into());
        let refused = applied(&live, &other, RULES).unwrap_err().to_string();
        assert!(refused.contains("spec: Forbidden: pod updates may not change fields other than"), "{refused}");
        assert!(complete(&mut other.clone(), &live, RULES).is_err());
    }

    #[test]
    fn the_same_manifest_again_changes_nothing() {
        let first = written(", labels: {a: x}", "'i:1'");
        let live = live(&first);
        let (now, _) = applied(&live, &first, RULES).unwrap();
        assert_eq!(done(&live, &now), "unchanged");
        let (other, _) = applied(&live, &written(", labels: {a: y}", "'i:1'"), RULES).unwrap();
        assert_eq!(done(&live, &other), "configured");
    }
}
