//! `loment annotate` and `loment label`: a pod's metadata changed while it runs. No container is restarted by it.

use std::collections::BTreeMap;

use anyhow::bail;
use clap::Args;
use k8s_openapi::api::core::v1::Pod;

use super::{all_told, note, print, warn};
use crate::args::Global;
use crate::change::update;
use crate::error::Said;
use crate::kept::record;
use crate::manifest::annotations::unknown;
use crate::manifest::validate::names;
use crate::print::output::Output;
use crate::print::show;
use crate::select::pick::{Which, nothing_found};
use crate::session::{Found, Session};

const ANNOTATE_EXAMPLES: &str = "\
Examples:
  # Add an annotation; change it; remove it
  loment annotate pod web key=test1234
  loment annotate pod web key=other --overwrite
  loment annotate pod web key-

  # Show the annotations of a pod
  loment annotate pod web --list

  # Annotate all pods of the namespace, or those with a label
  loment annotate pods --all key=value
  loment annotate pods -l app=web key=value";

const LABEL_EXAMPLES: &str = "\
Examples:
  # Add a label; change it; remove it
  loment label pod web tier=front
  loment label pod web tier=back --overwrite
  loment label pod web tier-

  # Show the labels of a pod
  loment label pod web --list

  # Label all pods of the namespace, or those with a label
  loment label pods --all checked=yes
  loment label pods -l app=web checked=yes";

/// The most that the keys and values of all annotations of a pod may have together, in bytes.
const MAX_ANNOTATIONS: usize = 256 * 1024;

#[derive(Debug, Args)]
#[command(after_help = ANNOTATE_EXAMPLES)]
pub(crate) struct Annotate {
    #[command(flatten)]
    change: Change,
}

#[derive(Debug, Args)]
#[command(after_help = LABEL_EXAMPLES)]
pub(crate) struct Label {
    #[command(flatten)]
    change: Change,
}

#[derive(Debug, Args)]
struct Change {
    /// "pod NAME ..." or "pod/NAME ...", then KEY=VALUE to set and KEY- to remove
    #[arg(value_name = "RESOURCE KEY=VALUE", allow_hyphen_values = false)]
    words: Vec<String>,
    #[command(flatten)]
    which: Which,
    /// All pods of the namespace
    #[arg(long)]
    all: bool,
    /// Change what has another value already
    #[arg(long)]
    overwrite: bool,
    /// Show what there is
    #[arg(long)]
    list: bool,
    /// Print the pod as it is now: yaml, json, name, jsonpath=TEMPLATE ...
    #[arg(short, long)]
    output: Option<String>,
}

/// Which of the two maps of the metadata is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Annotation,
    Label,
}

/// What is to be set, and what is to be removed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Edits {
    set: BTreeMap<String, String>,
    remove: Vec<String>,
}

pub(crate) async fn annotate(global: &Global, args: &Annotate) -> anyhow::Result<()> {
    run(global, &args.change, Kind::Annotation).await
}

pub(crate) async fn label(global: &Global, args: &Label) -> anyhow::Result<()> {
    run(global, &args.change, Kind::Label).await
}

async fn run(global: &Global, args: &Change, kind: Kind) -> anyhow::Result<()> {
    let (resources, edits) = split(&args.words, kind)?;
    let wanted = args.which.wanted(global, &resources, kind.verb())?;
    if args.all && wanted.is_named() {
        bail!("name cannot be provided when --all is given");
    }
    if !(args.all || args.which.selects() || args.list || wanted.is_named()) {
        bail!("resource(s) were provided, but no name was specified");
    }
    if edits == Edits::default() && !args.list {
        bail!("at least one {} update is required", kind.name());
    }
    let output = args.output.as_deref().map(|text| Output::parse(Some(text))).transpose()?;
    if kind == Kind::Annotation {
        warn(&unknown(edits.set.keys()));
    }
    let session = Session::open(global).await?;
    let picked = wanted.pick(&session).await?;
    if picked.pods.is_empty() && picked.missing.is_empty() {
        note(&nothing_found(wanted.namespace(&session)));
    }
    let mut errors: Vec<anyhow::Error> = picked.missing.iter().map(|name| Said::pod_not_found(name).into()).collect();
    for found in &picked.pods {
        match one(&session, found, &edits, kind, args.overwrite).await {
            Ok((pod, said)) => shown(&pod, &said, kind, args.list, output.as_ref(), picked.pods.len() > 1)?,
            Err(error) => errors.push(error),
        }
    }
    all_told(errors)
}

/// Changes one pod; answers with it and with what is said about it.
async fn one(
    session: &Session,
    found: &Found,
    edits: &Edits,
    kind: Kind,
    overwrite: bool,
) -> anyhow::Result<(Pod, String)> {
    if *edits == Edits::default() {
        return Ok((found.pod.clone(), String::new()));
    }
    let mut before = None;
    let pod = record::change(found, |pod| {
        before = kind.map(pod).clone();
        edits.apply(pod, kind, overwrite)
    })?;
    let before = before.unwrap_or_default();
    let now = kind.map(&mut pod.clone()).clone().unwrap_or_default();
    if before != now {
        update::announce(session, found, &pod).await;
    }
    Ok((pod, edits.said(found.name(), kind, &before, &now)))
}

fn shown(pod: &Pod, said: &str, kind: Kind, list: bool, output: Option<&Output>, several: bool) -> anyhow::Result<()> {
    if list {
        let name = crate::lower::name(pod);
        let title = if several { format!("Listing {}s for Pod./{name}:\n", kind.name()) } else { String::new() };
        let now = kind.map(&mut pod.clone()).clone().unwrap_or_default();
        let entries: String =
            now.iter().map(|(key, value)| format!(" {key}={value}\n").split_off(usize::from(!several))).collect();
        return print(&format!("{title}{entries}"));
    }
    match output {
        Some(output) => print(&output.one(&show::object(pod, None)?)?),
        None => print(said),
    }
}

impl Kind {
    fn verb(self) -> &'static str {
        match self {
            Kind::Annotation => "annotate",
            Kind::Label => "label",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Annotation => "annotation",
            Kind::Label => "label",
        }
    }

    fn map(self, pod: &mut Pod) -> &mut Option<BTreeMap<String, String>> {
        match self {
            Kind::Annotation => &mut pod.metadata.annotations,
            Kind::Label => &mut pod.metadata.labels,
        }
    }
}

/// Divides words into the pods that are meant and what is to become of them.
fn split(words: &[String], kind: Kind) -> anyhow::Result<(Vec<String>, Edits)> {
    let is_edit = |word: &String| word.contains('=') || word.ends_with('-');
    let first = words.iter().position(is_edit).unwrap_or(words.len());
    let (resources, changes) = words.split_at(first);
    let mut edits = Edits::default();
    for word in changes {
        match (word.split_once('='), word.strip_suffix('-')) {
            (Some((key, value)), _) => {
                edits.set.insert(key.to_owned(), value.to_owned());
            }
            (None, Some(key)) => edits.remove.push(key.to_owned()),
            (None, None) => bail!("all resources must be specified before {} changes: {word}", kind.name()),
        }
    }
    if let Some(both) = edits.remove.iter().find(|key| edits.set.contains_key(*key)) {
        bail!("can not both modify and remove the following {}(s) in the same command: {both}", kind.name());
    }
    for key in edits.set.keys().chain(&edits.remove) {
        let problem = match kind {
            Kind::Annotation => names::annotation_key_problem(key),
            Kind::Label => names::qualified_name_problem(key),
        };
        if let Some(problem) = problem {
            bail!("invalid {} key {key:?}: {problem}", kind.name());
        }
    }
    for value in edits.set.values().filter(|_| kind == Kind::Label) {
        if let Some(problem) = names::label_value_problem(value) {
            bail!("invalid label value: {value:?}: {problem}");
        }
    }
    Ok((resources.to_vec(), edits))
}

impl Edits {
    fn apply(&self, pod: &mut Pod, kind: Kind, overwrite: bool) -> anyhow::Result<()> {
        let name = crate::lower::name(pod).to_owned();
        let map = kind.map(pod).get_or_insert_default();
        let taken: Vec<String> = self
            .set
            .iter()
            .filter_map(|(key, value)| Some((key, map.get(key).filter(|old| *old != value)?)))
            .map(|(key, old)| format!("'{key}' already has a value ({old})"))
            .collect();
        if !taken.is_empty() && !overwrite {
            match kind {
                Kind::Annotation => {
                    bail!("--overwrite is false but found the following declared annotation(s): {}", taken.join("; "))
                }
                Kind::Label => bail!("{}, and --overwrite is false", taken.join("; ")),
            }
        }
        map.extend(self.set.clone());
        self.remove.iter().for_each(|key| drop(map.remove(key)));
        let size: usize = map.iter().map(|(key, value)| key.len() + value.len()).sum();
        if kind == Kind::Annotation && size > MAX_ANNOTATIONS {
            return Err(Said::one(format!(
                "The Pod {name:?} is invalid: metadata.annotations: Too long: may not be more than {MAX_ANNOTATIONS} bytes"
            ))
            .into());
        }
        if map.is_empty() {
            *kind.map(pod) = None;
        }
        Ok(())
    }

    fn said(&self, pod: &str, kind: Kind, before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> String {
        if kind == Kind::Annotation {
            return format!("pod/{pod} annotated\n");
        }
        let absent = self.remove.iter().filter(|key| !before.contains_key(*key));
        let mut said: String = absent.map(|key| format!("label {key:?} not found.\n")).collect();
        said.push_str(&match (before == now, self.set.is_empty()) {
            (true, _) => format!("pod/{pod} not labeled\n"),
            (false, true) => format!("pod/{pod} unlabeled\n"),
            (false, false) => format!("pod/{pod} labeled\n"),
        });
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(words: &[&str], kind: Kind) -> Result<(Vec<String>, Edits), String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        split(&words, kind).map_err(|error| error.to_string())
    }

    fn changed(words: &[&str], kind: Kind, overwrite: bool) -> Result<(Pod, String), String> {
        let mut pod = Pod::default();
        pod.metadata.name = Some("web".into());
        *kind.map(&mut pod) = Some([("old".to_owned(), "1".to_owned())].into());
        let before = kind.map(&mut pod).clone().unwrap();
        let (_, edits) = parts(words, kind)?;
        edits.apply(&mut pod, kind, overwrite).map_err(|error| error.to_string())?;
        let said = edits.said("web", kind, &before, &kind.map(&mut pod).clone().unwrap_or_default());
        Ok((pod, said))
    }

    #[test]
    fn pods_stand_before_what_becomes_of_them() {
        let (pods, edits) = parts(&["pod", "a", "b", "k=v=w", "x/y-"], Kind::Label).map_err(|_| ()).unwrap_or_default();
        assert_eq!(pods, Vec::<String>::new(), "v=w is no label");
        assert_eq!(edits, Edits::default());
        let (pods, edits) = parts(&["pod", "a", "b", "k=v=w", "x/y-"], Kind::Annotation).unwrap();
        assert_eq!((pods.len(), edits.set["k"].as_str(), edits.remove.as_slice()), (3, "v=w", &["x/y".to_owned()][..]));
        for (words, expected) in [
            (["pod", "a", "k=v", "b"], "all resources must be specified before label changes: b"),
            (["pod", "a", "k=v", "k-"], "can not both modify and remove the following label(s) in the same command: k"),
        ] {
            assert_eq!(parts(&words, Kind::Label).unwrap_err(), expected);
        }
        assert!(
            parts(&["pod", "a", "a b=v"], Kind::Annotation).unwrap_err().starts_with("invalid annotation key \"a b\"")
        );
        for key in ["Example.org/a", "example.org_x/a", "-a", "a/"] {
            let said = parts(&["pod", "a", &format!("{key}=1")], Kind::Label).unwrap_err();
            assert!(said.starts_with(&format!("invalid label key {key:?}: ")), "{said}");
        }
        assert!(parts(&["pod", "a", "Example.org/a=1"], Kind::Annotation).is_ok(), "as in a manifest");
        assert!(parts(&["pod", "a", "a=b c"], Kind::Label).unwrap_err().starts_with("invalid label value: \"b c\""));
    }

    #[test]
    fn s10_a_value_is_changed_only_with_overwrite() {
        assert_eq!(
            changed(&["old=2"], Kind::Annotation, false).unwrap_err(),
            "--overwrite is false but found the following declared annotation(s): 'old' already has a value (1)"
        );
        assert_eq!(
            changed(&["old=2"], Kind::Label, false).unwrap_err(),
            "'old' already has a value (1), and --overwrite is false"
        );
        let (pod, said) = changed(&["old=2", "new=3"], Kind::Annotation, true).unwrap();
        assert_eq!((pod.metadata.annotations.unwrap().len(), said.as_str()), (2, "pod/web annotated\n"));
    }

    #[test]
    fn labels_say_what_became_of_them() {
        let said = |words: &[&str]| changed(words, Kind::Label, false).unwrap().1;
        assert_eq!(said(&["new=1"]), "pod/web labeled\n");
        assert_eq!(said(&["old=1"]), "pod/web not labeled\n");
        assert_eq!(said(&["old-"]), "pod/web unlabeled\n");
        assert_eq!(said(&["none-"]), "label \"none\" not found.\npod/web not labeled\n");
        assert_eq!(changed(&["old-"], Kind::Label, false).unwrap().0.metadata.labels, None);
    }

    #[test]
    fn s9_annotations_of_more_than_256_kib_are_refused() {
        let large = format!("k={}", "x".repeat(MAX_ANNOTATIONS));
        assert_eq!(
            changed(&[&large], Kind::Annotation, false).unwrap_err(),
            "The Pod \"web\" is invalid: metadata.annotations: Too long: may not be more than 262144 bytes"
        );
        let fits = format!("k={}", "x".repeat(MAX_ANNOTATIONS - "old1k".len()));
        assert!(changed(&[&fits], Kind::Annotation, false).is_ok());
    }
}
