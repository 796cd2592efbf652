//! `loment ns`: the namespace laboratory. It needs no containerd.

mod create;
mod diff;
mod join;
mod ls;
mod map;
mod rm;
mod time;
mod why;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::note;
use crate::args::Global;
use crate::namespaces::survey::Survey;

const EXAMPLES: &str = "\
Examples:
  # A sandbox, a shell in it, its end
  loment ns create web --net --ipc --uts
  loment ns exec web -- sh
  loment ns rm web

  # Every namespace of this machine, and what keeps one of them
  loment ns ls
  loment ns why 4026532201

  # What two processes share
  loment ns diff 1 self

docs/namespaces.md has a tutorial: a pod made by hand.";

/// Where sandboxes are pinned. (`/run/loment` is full of containers of `loment-runtime`.)
pub(crate) const PINS: &str = "/run/loment-ns";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Ns {
    /// Where sandboxes are pinned
    #[arg(long, global = true, env = "LOMENT_NS", default_value = PINS, value_name = "DIR")]
    pins: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a sandbox: namespaces with a name, which stay until they are removed
    Create(create::Create),
    /// Run a command in a sandbox, or with all namespaces of a process or pod
    Exec(join::Exec),
    /// Run a command with some of the namespaces of a sandbox, process or pod
    Join(join::Join),
    /// List every namespace of this machine, with what keeps it
    Ls(ls::Ls),
    /// Tell what keeps a namespace, and what would release it
    Why(why::Why),
    /// Compare the namespaces of two processes, sandboxes or pods
    Diff(diff::Diff),
    /// Draw who is in which namespace: as a tree, as a graph, as a picture
    Map(map::MapArgs),
    /// Measure what each kind of namespace costs to make, join and drop
    Time(time::Time),
    /// Remove sandboxes
    Rm(rm::Rm),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Json,
}

/// No runtime is started: who makes or joins namespaces must have one thread.
pub(crate) fn run(global: &Global, args: &Ns) -> anyhow::Result<()> {
    let lab = lab(&args.pins)?;
    match &args.verb {
        Verb::Create(args) => create::run(&lab, args),
        Verb::Exec(args) => join::exec(&lab, namespace(global), args),
        Verb::Join(args) => join::join(&lab, namespace(global), args),
        Verb::Map(args) => map::run(&lab, namespace(global), args),
        Verb::Time(args) => time::run(args),
        Verb::Rm(args) => rm::run(&lab, args),
        Verb::Ls(args) => ls::run(&lab, args),
        Verb::Why(args) => why::run(&lab, namespace(global), args),
        Verb::Diff(args) => diff::run(&lab, namespace(global), args),
    }
}

/// The directory as mountinfo names what is in it, whether it is there or not.
fn lab(pins: &std::path::Path) -> anyhow::Result<PathBuf> {
    Ok(pins.canonicalize().or_else(|_| std::path::absolute(pins))?)
}

/// That of pods.
fn namespace(global: &Global) -> &str {
    global.namespace.as_deref().unwrap_or("default")
}

/// Says that something was not seen, where that is so.
fn note_hidden(survey: &Survey) {
    if survey.hidden > 0 {
        note(&format!("Not seen: {} of the processes, which this user may not trace", survey.hidden));
    }
}

fn or_dash(text: Option<impl ToString>) -> String {
    text.map_or_else(|| "-".to_owned(), |text| text.to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use crate::args::Arguments;

    #[test]
    fn the_help_of_each_command_has_examples() {
        let command = Arguments::command();
        let ns = command.find_subcommand("ns").unwrap();
        for verb in ns.get_subcommands() {
            let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
            let name = verb.get_name();
            assert!(help.starts_with("Examples:") && help.contains(&format!("loment ns {name}")), "{name}: {help:?}");
        }
    }
}
