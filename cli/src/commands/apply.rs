//! `loment apply`, `loment replace` and `loment set image`: pods that are there become what a manifest says, as far as a
//! pod may change.

use anyhow::Context as _;
use clap::{Args, Subcommand};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::delete::{self, Grace};
use super::{create, note, print};
use crate::args::{Filenames, Global};
use crate::change::merge::merge;
use crate::change::update;
use crate::error::Said;
use crate::kept::record;
use crate::manifest::files;
use crate::manifest::update::{inherit, validate_update};
use crate::manifest::validate::{Rules, validate_at};
use crate::manifest::{Objects, defaults};
use crate::print::output::Output;
use crate::print::show;
use crate::session::{Found, Session};
use crate::{lower, resource};

const APPLY_EXAMPLES: &str = "\
Examples:
  # Make the pods of a file; later, change them to what the file says then
  loment apply -f pod.yaml

  # From standard input
  cat pod.yaml | loment apply -f -

Of a pod that is there may change: the images of containers (each is restarted alone), labels and annotations,
activeDeadlineSeconds (sooner), and tolerations (more).";

const REPLACE_EXAMPLES: &str = "\
Examples:
  # Change a pod to what a file says
  loment replace -f pod.yaml

  # Delete it and make it anew, whatever has changed
  loment replace --force -f pod.yaml";

const SET_EXAMPLES: &str = "\
Examples:
  # Another image for one container; for all
  loment set image pod/web app=nginx:1.29
  loment set image pod/web '*=nginx:1.29'";

/// Where `apply` keeps what it was given, as kubectl does.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

#[derive(Debug, Args)]
#[command(after_help = APPLY_EXAMPLES)]
pub(crate) struct Apply {
    #[command(flatten)]
    filenames: Filenames,
    /// Print the pods as they are then: yaml, json, name, jsonpath=TEMPLATE ...
    #[arg(short, long)]
    output: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = REPLACE_EXAMPLES)]
pub(crate) struct Replace {
    #[command(flatten)]
    filenames: Filenames,
    /// Delete the pods and make them anew
    #[arg(long)]
    force: bool,
    /// With --force: seconds that the containers have to end; negative is what the pod says
    #[arg(long, default_value_t = -1, allow_hyphen_values = true)]
    grace_period: i64,
    /// Print the pods as they are then: yaml, json, name, jsonpath=TEMPLATE ...
    #[arg(short, long)]
    output: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = SET_EXAMPLES)]
pub(crate) struct Set {
    #[command(subcommand)]
    what: SetWhat,
}

#[derive(Debug, Subcommand)]
enum SetWhat {
    /// Give containers of a pod another image
    Image(SetImage),
}

#[derive(Debug, Args)]
#[command(after_help = SET_EXAMPLES)]
struct SetImage {
    /// "pod/NAME" or "pod NAME", then CONTAINER=IMAGE; "*" is every container
    #[arg(required = true, value_name = "POD CONTAINER=IMAGE")]
    words: Vec<String>,
    /// Print the pods as they are then: yaml, json, name, jsonpath=TEMPLATE ...
    #[arg(short, long)]
    output: Option<String>,
}

/// How pods are told of when something was done with them.
struct Report(Option<Output>);

impl Report {
    fn of(output: Option<&str>) -> anyhow::Result<Self> {
        Ok(Report(output.map(|text| Output::parse(Some(text))).transpose()?))
    }

    fn say(&self, pod: &Pod, done: &str) -> anyhow::Result<()> {
        match &self.0 {
            None => print(&format!("pod/{} {done}\n", lower::name(pod))),
            Some(output) => print(&output.one(&show::object(pod, None)?)?),
        }
    }
}

/// The pods of a command's files: as they are written, and complete and checked.
struct Given {
    written: Vec<Pod>,
    objects: Objects,
}

impl Given {
    fn read(global: &Global, filenames: &Filenames) -> anyhow::Result<Self> {
        let mut objects = files::read_all(filenames)?;
        let written = objects.pods.clone();
        let warnings = files::complete_and_check(&mut objects, global.namespace.as_deref(), rules(global, filenames))?;
        warnings.iter().for_each(|warning| note(&format!("Warning: {warning}")));
        if objects.pods.is_empty() {
            return Err(Said::one("error: no objects passed to apply").into());
        }
        Ok(Given { written, objects })
    }

    /// The pod of each manifest, if there is one.
    async fn find(&self, session: &Session) -> anyhow::Result<Vec<Option<Found>>> {
        let mut all = Vec::new();
        for pod in &self.objects.pods {
            all.push(session.find(lower::namespace(pod), lower::name(pod)).await?);
        }
        Ok(all)
    }
}

fn rules<'a>(global: &'a Global, filenames: &'a Filenames) -> Rules<'a> {
    Rules { runtime_handler: &global.runtime_handler, unsafe_sysctls: &filenames.allowed_unsafe_sysctls }
}

pub(crate) async fn apply(global: &Global, args: &Apply) -> anyhow::Result<()> {
    let report = Report::of(args.output.as_deref())?;
    let given = Given::read(global, &args.filenames)?;
    let session = Session::open(global).await?;
    let found = given.find(&session).await?;
    let rules = rules(global, &args.filenames);
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
            applied(&found.pod, written, rules)?.1.iter().for_each(|hint| note(&format!("Warning: {hint}")));
        }
    }
    make_missing(global, args, &session, &given, &found, &report).await?;
    for (found, written) in found.iter().zip(&given.written) {
        let Some(found) = found else { continue };
        let (before, now) = update::change(&session, found, |live| Ok(applied(live, written, rules)?.0)).await?;
        let same = without_versions(&before) == without_versions(&now);
        report.say(&now, if same { "unchanged" } else { "configured" })?;
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
    let missing = |index: &usize| found.get(*index).is_some_and(Option::is_none);
    let which: Vec<usize> = (0..given.written.len()).filter(missing).collect();
    let pods: Vec<Pod> = which.iter().filter_map(|index| given.objects.pods.get(*index).cloned()).collect();
    if pods.is_empty() {
        return Ok(());
    }
    let (config_maps, secrets) = (given.objects.config_maps.clone(), given.objects.secrets.clone());
    let objects = Objects { pods, config_maps, secrets, ..Objects::default() };
    let made = create::create_objects(global, objects, &args.filenames, None).await?;
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

pub(crate) async fn replace(global: &Global, args: &Replace) -> anyhow::Result<()> {
    let report = Report::of(args.output.as_deref())?;
    let given = Given::read(global, &args.filenames)?;
    let session = Session::open(global).await?;
    let found = given.find(&session).await?;
    let file = args.filenames.files.join(", ");
    if args.force {
        return make_anew(global, args, &session, given, found, &report).await;
    }
    let rules = rules(global, &args.filenames);
    let mut pairs = Vec::new();
    let mut refused = Vec::new();
    for (found, pod) in found.into_iter().zip(&given.objects.pods) {
        match found {
            Some(found) => match replaced(&found.pod, pod, rules, &file) {
                Ok((_, hints)) => {
                    hints.iter().for_each(|hint| note(&format!("Warning: {hint}")));
                    pairs.push((found, pod));
                }
                Err(error) => refused.push(crate::error::lines_of(&error)),
            },
            None => {
                let name = lower::name(pod);
                refused.push(format!(
                    "Error from server (NotFound): error when replacing {file:?}: pods {name:?} not found"
                ));
            }
        }
    }
    if !refused.is_empty() {
        return Err(Said(refused).into());
    }
    for (found, pod) in pairs {
        let (_, now) = update::change(&session, &found, |live| Ok(replaced(live, pod, rules, &file)?.0)).await?;
        report.say(&now, "replaced")?;
    }
    Ok(())
}

/// What a pod becomes when a manifest takes its place.
fn replaced(live: &Pod, manifest: &Pod, rules: Rules<'_>, file: &str) -> anyhow::Result<(Pod, Vec<String>)> {
    let version = &manifest.metadata.resource_version;
    if version.is_some() && *version != live.metadata.resource_version {
        let name = lower::name(live);
        return Err(Said::one(format!(
            "Error from server (Conflict): error when replacing {file:?}: Operation cannot be fulfilled on pods {name:?}: the \
             object has been modified; please apply your changes to the latest version and try again"
        ))
        .into());
    }
    let mut pod = manifest.clone();
    let hints = complete(&mut pod, live, rules)?;
    Ok((pod, hints))
}

async fn make_anew(
    global: &Global,
    args: &Replace,
    session: &Session,
    given: Given,
    found: Vec<Option<Found>>,
    report: &Report,
) -> anyhow::Result<()> {
    let grace = u64::try_from(args.grace_period).map_or(Grace::Pod, |seconds| Grace::Seconds(seconds.max(1)));
    for found in found.iter().flatten() {
        delete::delete(session, found, grace).await.with_context(|| format!("delete pod {:?}", found.name()))?;
        if report.0.is_none() {
            print(&format!("pod {:?} deleted from {} namespace\n", found.name(), found.namespace()))?;
        }
    }
    let mut objects = given.objects;
    for pod in &mut objects.pods {
        // Those of the old pod, if the manifest was made from it.
        (pod.metadata.uid, pod.metadata.creation_timestamp) = (None, None);
    }
    let made = create::create_objects(global, objects, &args.filenames, None).await?;
    made.iter().try_for_each(|pod| report.say(pod, "replaced"))
}

pub(crate) async fn set(global: &Global, args: &Set) -> anyhow::Result<()> {
    let SetWhat::Image(args) = &args.what;
    let (words, images): (Vec<&String>, Vec<&String>) = args.words.iter().partition(|word| !word.contains('='));
    let words: Vec<String> = words.into_iter().cloned().collect();
    let names = resource::names(&words)?;
    let images: Vec<(&str, &str)> = images.iter().filter_map(|word| word.split_once('=')).collect();
    if images.is_empty() {
        return Err(Said::one("error: at least one image update is required").into());
    }
    if names.is_empty() {
        return Err(Said::one(
            "error: one or more resources must be specified as <resource> <name> or <resource>/<name>",
        )
        .into());
    }
    let report = Report::of(args.output.as_deref())?;
    let session = Session::open(global).await?;
    for name in &names {
        let found = session.pod(name).await?;
        with_images(&found.pod, &images)?.1.iter().for_each(|hint| note(&format!("Warning: {hint}")));
        let (before, now) = update::change(&session, &found, |live| Ok(with_images(live, &images)?.0)).await?;
        if before.spec != now.spec || args.output.is_some() {
            report.say(&now, "image updated")?;
        }
    }
    Ok(())
}

fn with_images(live: &Pod, images: &[(&str, &str)]) -> anyhow::Result<(Pod, Vec<String>)> {
    let mut pod = live.clone();
    let spec = pod.spec.get_or_insert_default();
    for (name, image) in images {
        let all = spec.init_containers.iter_mut().flatten().chain(&mut spec.containers);
        let mut any = false;
        for container in all.filter(|container| *name == "*" || container.name == *name) {
            container.image = Some((*image).to_owned());
            any = true;
        }
        if !any {
            return Err(Said::one(format!("error: unable to find container named {name:?}")).into());
        }
    }
    let hints = validate_update(live, &pod)?;
    Ok((pod, hints))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::load;

    const RULES: Rules<'_> = Rules { runtime_handler: "loment", unsafe_sysctls: &[] };

    fn written(more: &str, image: &str) -> Pod {
        let text = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: web{more}}}\nspec: {{containers: [{{name: a, image: {image}}}]}}\n"
        );
        load("f", &text).unwrap().pods.remove(0)
    }

    fn live(written: &Pod) -> Pod {
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
        assert!(replaced(&live, &other, RULES, "f").is_err());
    }

    #[test]
    fn the_same_manifest_again_changes_nothing() {
        let first = written(", labels: {a: x}", "'i:1'");
        let live = live(&first);
        let (now, _) = applied(&live, &first, RULES).unwrap();
        assert_eq!(without_versions(&now), without_versions(&live));
    }

    #[test]
    fn a_replacement_of_an_older_version_is_a_conflict() {
        let live = live(&written("", "'i:1'"));
        let error = replaced(&live, &written(", resourceVersion: '7'", "'i:1'"), RULES, "f").unwrap_err().to_string();
        assert!(error.starts_with("Error from server (Conflict): error when replacing \"f\""), "{error}");
        assert!(replaced(&live, &written(", resourceVersion: '1'", "'i:1'"), RULES, "f").is_ok());
    }

    #[test]
    fn an_image_is_set_by_the_name_of_its_container() {
        let live = live(&written("", "'i:1'"));
        let image =
            |name| with_images(&live, &[(name, "i:9")]).map(|(pod, _)| pod.spec.unwrap().containers[0].image.clone());
        assert_eq!(image("a").unwrap().as_deref(), Some("i:9"));
        assert_eq!(image("*").unwrap().as_deref(), Some("i:9"));
        assert_eq!(image("b").unwrap_err().to_string(), "error: unable to find container named \"b\"");
    }
}
