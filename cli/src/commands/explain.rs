//! `loment explain`: the fields of a manifest, or what becomes of one.

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde_json::Value;

use super::{print, warn};
use crate::args::{Filenames, Global};
use crate::error::{ExitWith, Said};
use crate::explain::{fields, manifest};
use crate::host;
use crate::lower::env::{Addresses, Scope};
use crate::lower::layout::Layout;
use crate::lower::{self, Sources, view};
use crate::manifest::files;
use crate::print::show;

const EXAMPLES: &str = "\
Examples:
  # What a pod consists of; one field; all fields as a tree
  loment explain pods
  loment explain pod.spec.containers.livenessProbe
  loment explain pods --recursive

  # What becomes of a manifest: nothing is made
  loment explain -f pod.yaml";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Explain {
    /// "pods", or a field as in "pod.spec.containers"
    #[arg(required_unless_present = "files", conflicts_with = "files")]
    field: Option<String>,
    /// Only the names, with all fields below
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Manifests whose pods are explained; "-" reads from standard input
    #[arg(short, long = "filename", value_delimiter = ',', value_name = "FILE,...")]
    files: Vec<String>,
    /// More ConfigMaps and Secrets that the pods may refer to; may be repeated
    #[arg(long = "configmap", value_name = "FILE", requires = "files")]
    configmaps: Vec<String>,
    /// Kernel parameters beyond the safe ones that the pods may set
    #[arg(long, value_delimiter = ',', value_name = "NAME,...", requires = "files")]
    allowed_unsafe_sysctls: Vec<String>,
    /// How to print what becomes of a manifest
    #[arg(short, long, requires = "files")]
    output: Option<ExplainOutput>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ExplainOutput {
    Json,
}

/// What is put in the place of the pod's address, which is known when the pod is there.
const LATER: &str = "<address of the pod>";

pub(crate) fn run(global: &Global, args: &Explain) -> anyhow::Result<()> {
    if let Some(field) = &args.field {
        return print(&fields::explain(field, args.recursive)?);
    }
    let (text, could_be_made) = explained(global, args)?;
    print(&text)?;
    // It has been said: a program that asks first is to know it, too.
    if could_be_made { Ok(()) } else { Err(ExitWith(1).into()) }
}

/// What becomes of the manifests, and whether all of their pods could be made.
fn explained(global: &Global, args: &Explain) -> anyhow::Result<(String, bool)> {
    let filenames = Filenames {
        files: args.files.clone(),
        configmaps: args.configmaps.clone(),
        allowed_unsafe_sysctls: args.allowed_unsafe_sysctls.clone(),
    };
    let mut objects = files::read_all(&filenames, "explain")?;
    let written = objects.pods.clone();
    warn(&files::complete_and_check(&mut objects, global.namespace.as_deref(), filenames.rules(global))?);
    if objects.pods.is_empty() {
        return Err(Said::one(format!("error: {} holds no pod", args.files.join(", "))).into());
    }
    let host = host::read();
    let mut views = Vec::new();
    for (written, pod) in written.iter().zip(&objects.pods) {
        let sources = Sources::of(lower::namespace(pod), &objects.config_maps, &objects.secrets);
        let layout = Layout::of(pod, &global.state_dir, &global.log_dir);
        let addresses = Addresses { pod: vec![LATER.to_owned()] };
        let scope = Scope { pod, sources: &sources, addresses: &addresses, host: &host };
        views.push((written, view::view(scope, &layout)));
    }
    let text = match args.output {
        None => views.iter().map(|(written, view)| manifest::explain(written, view)).collect::<Vec<_>>().join("\n\n"),
        Some(ExplainOutput::Json) => {
            let mut all = Vec::new();
            for (_, view) in &views {
                all.push(serde_json::to_value(view).context("write what is explained as JSON")?);
            }
            show::json(&if all.len() == 1 { all.remove(0) } else { Value::Array(all) })?
        }
    };
    Ok((text, views.iter().all(|(_, view)| view.missing.is_empty())))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Arguments, Verb};
    use crate::disk::tests::Scratch;

    #[test]
    fn it_is_known_whether_a_pod_could_be_made() {
        let scratch = Scratch::new("explained");
        let file = scratch.0.join("pod.yaml");
        let could_be_made = |more: &str| {
            let containers = format!("containers: [{{name: c, image: i{more}}}]");
            let text = format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: web}}\nspec: {{{containers}}}\n");
            std::fs::write(&file, text).unwrap();
            let words = ["loment", "explain", "-f", file.to_str().unwrap()];
            let arguments = Arguments::try_parse_from(words).unwrap();
            let Verb::Explain(args) = &arguments.verb else { panic!() };
            let (text, could_be_made) = explained(&arguments.global, args).unwrap();
            assert_ne!(text.contains("Missing: the pod could not be made"), could_be_made, "{text}");
            could_be_made
        };
        assert!(could_be_made(""));
        assert!(!could_be_made(", envFrom: [{configMapRef: {name: settings}}]"));
    }
}
