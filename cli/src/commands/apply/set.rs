//! `loment set image`: containers from other images.

use clap::{Args, Subcommand};
use k8s_openapi::api::core::v1::Pod;

use super::Report;
use crate::args::Global;
use crate::change::update;
use crate::commands::warn;
use crate::error::Said;
use crate::manifest::update::validate_update;
use crate::resource;
use crate::session::Session;

const EXAMPLES: &str = "\
Examples:
  # Another image for one container; for all
  loment set image pod/web app=nginx:1.29
  loment set image pod/web '*=nginx:1.29'";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
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
#[command(after_help = EXAMPLES)]
struct SetImage {
    /// "pod/NAME" or "pod NAME", then CONTAINER=IMAGE; "*" is every container
    #[arg(required = true, value_name = "POD CONTAINER=IMAGE")]
    words: Vec<String>,
    /// Print the pods as they are then: yaml, json, name, jsonpath=TEMPLATE ...
    #[arg(short, long)]
    output: Option<String>,
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
        warn(&with_images(&found.pod, &images)?.1);
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
    use super::super::tests::{live, written};
    use super::*;

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
