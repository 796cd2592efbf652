//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::commands::annotate::{Annotate, Label};
use crate::commands::apply::{Apply, Replace, Set};
use crate::commands::attach::Attach;
use crate::commands::bench::Bench;
use crate::commands::completion::Completion;
use crate::commands::cp::Cp;
use crate::commands::create::Create;
use crate::commands::delete::Delete;
use crate::commands::describe::Describe;
use crate::commands::doctor::Doctor;
use crate::commands::events::Events;
use crate::commands::exec::Exec;
use crate::commands::explain::Explain;
use crate::commands::gc::Gc;
use crate::commands::get::Get;
use crate::commands::install::Install;
use crate::commands::install::uninstall::Uninstall;
use crate::commands::logs::Logs;
use crate::commands::man::Man;
use crate::commands::ns::Ns;
use crate::commands::patch::Patch;
use crate::commands::port_forward::PortForward;
use crate::commands::resume::Resume;
use crate::commands::run::Run;
use crate::commands::stats::Stats;
use crate::commands::timeline::Timeline;
use crate::commands::top::Top;
use crate::commands::trace::Trace;
use crate::commands::version::Version;
use crate::commands::wait::Wait;
use crate::commands::why::Why;
use crate::manifest::validate::Rules;

const EXAMPLES: &str = "\
Examples:
  # Whether pods can run on this machine, and what to do if not
  loment doctor

  # A pod from a manifest, what it writes, and its end
  loment create -f pod.yaml
  loment get pods
  loment logs -f web
  loment delete pod web

  # Why it does not go on; what happened to it when
  loment why web
  loment timeline web

  # What a verb can do
  loment help create";

/// Runs pods on one machine, through containerd.
#[derive(Debug, Parser)]
#[command(name = "loment", version, after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What every verb understands.
#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// containerd's GRPC socket [default: $CONTAINER_RUNTIME_ENDPOINT or /run/containerd/containerd.sock]
    #[arg(short, long, global = true, env = "CONTAINERD_ADDRESS", value_name = "SOCKET")]
    pub(crate) address: Option<String>,
    /// Namespace of the pod [default: the one that the manifest names, or "default"]
    #[arg(short, long, global = true)]
    pub(crate) namespace: Option<String>,
    /// Name under which containerd's configuration knows the runtime that pods are made with
    #[arg(long, global = true, default_value = "loment", value_name = "HANDLER")]
    pub(crate) runtime_handler: String,
    /// Where volumes and other files of pods are kept
    #[arg(long, global = true, env = "LOMENT_STATE", default_value = "/var/lib/loment")]
    #[arg(value_name = "DIR", value_parser = absolute())]
    pub(crate) state_dir: PathBuf,
    /// Where containers' logs are kept
    #[arg(long, global = true, env = "LOMENT_LOGS", default_value = "/var/log/pods")]
    #[arg(value_name = "DIR", value_parser = absolute())]
    pub(crate) log_dir: PathBuf,
}

/// A path as it is from everywhere: the shim, which has another working directory, is told it.
fn absolute() -> impl clap::builder::TypedValueParser<Value = PathBuf> {
    use clap::builder::TypedValueParser as _;
    clap::builder::PathBufValueParser::new().try_map(std::path::absolute)
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make pods from a manifest file
    Create(Create),
    /// Show pods
    Get(Get),
    /// Make pods anew that have lost their sandbox, by a reboot for example
    Resume(Resume),
    /// Print what a container has written
    Logs(Logs),
    /// Stop and remove pods
    Delete(Delete),
    /// Run a command in a container
    Exec(Exec),
    /// Take part in what a container reads and writes
    Attach(Attach),
    /// Copy files into a container or out of it
    Cp(Cp),
    /// Make ports of a pod reachable on this machine
    PortForward(PortForward),
    /// Show all that there is to know of a pod
    Describe(Describe),
    /// Show what has happened to pods
    Events(Events),
    /// Run a pod to its end: its outcome is the exit code
    Run(Run),
    /// Tell the one cause that keeps a pod from going on
    Why(Why),
    /// Print the versions of this program and of containerd
    Version(Version),
    /// Make pods, or change those that are there, to what a manifest says
    Apply(Apply),
    /// Change pods to what a manifest says
    Replace(Replace),
    /// Change a part of a pod by a piece of a manifest
    Patch(Patch),
    /// Change one thing of a pod
    Set(Set),
    /// Explain the fields of a manifest, or what becomes of one
    Explain(Explain),
    /// Draw what happened to a pod when; also to one that is gone
    Timeline(Timeline),
    /// Draw how long each phase of the starts in a pod took
    Trace(Trace),
    /// Set and remove annotations of pods
    Annotate(Annotate),
    /// Set and remove labels of pods
    Label(Label),
    /// Wait until pods are as one wants them
    Wait(Wait),
    /// Look at namespaces, and make sandboxes of them by hand, without containerd
    Ns(Ns),
    /// Give containerd the runtime class of this project
    Install(Install),
    /// Take back what `loment install` has written
    Uninstall(Uninstall),
    /// Tell whether pods can run on this machine, and what to do if not
    Doctor(Doctor),
    /// Find what is left of pods that are gone, and remove it
    Gc(Gc),
    /// Show what pods and their containers use, again and again on a terminal
    Top(Top),
    /// Print or serve what pods and their containers use, for machines that watch
    Stats(Stats),
    /// Print a script that makes a shell complete command lines
    Completion(Completion),
    /// Write the manual pages into a directory
    #[command(hide = true)]
    Man(Man),
    /// Time the phases of a pod's life under several runtime handlers, side by side
    Bench(Bench),
    /// Make pods by hand, for `loment bench`, which starts this
    #[command(
        hide = true,
        after_help = "Examples:\n  # Not to be run by hand: loment bench-limit reads what to make from its input"
    )]
    BenchLimit,
}

/// The manifests that a verb makes or changes pods of.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Filenames {
    /// Manifests in YAML or JSON, or directories with such files; "-" reads from standard input
    #[arg(short, long = "filename", required = true, value_delimiter = ',', value_name = "FILE,...")]
    pub(crate) files: Vec<String>,
    /// More ConfigMaps and Secrets that the pods may refer to; may be repeated
    #[arg(long = "configmap", value_name = "FILE")]
    pub(crate) configmaps: Vec<String>,
    /// Kernel parameters beyond the safe ones that the pods may set, as in "net.core.somaxconn" or "kernel.msg*"
    #[arg(long, value_delimiter = ',', value_name = "NAME,...")]
    pub(crate) allowed_unsafe_sysctls: Vec<String>,
}

impl Filenames {
    /// By which the pods in them are checked.
    pub(crate) fn rules<'a>(&'a self, global: &'a Global) -> Rules<'a> {
        Rules { runtime_handler: &global.runtime_handler, unsafe_sysctls: &self.allowed_unsafe_sysctls }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_help_of_each_verb_has_examples() {
        for verb in Arguments::command().get_subcommands() {
            let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
            let name = verb.get_name();
            assert!(help.starts_with("Examples:") && help.contains(&format!("loment {name}")), "{name}: {help:?}");
        }
    }

    #[test]
    fn a_command_may_be_given_with_and_without_dashes() {
        for words in [
            ["loment", "exec", "web", "-c", "a", "--", "ls", "-l"].as_slice(),
            &["loment", "exec", "web", "-c", "a", "ls", "-l"],
        ] {
            let Verb::Exec(exec) = Arguments::try_parse_from(words).unwrap().verb else { panic!() };
            assert_eq!((exec.pod.as_str(), exec.container.as_deref()), ("web", Some("a")));
            assert_eq!(exec.command, ["ls", "-l"]);
        }
    }
}
