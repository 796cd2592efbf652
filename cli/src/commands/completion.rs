//! `loment completion`: what a shell needs to complete command lines, names of pods and containers among them.
//!
//! The script asks this program again for each word, so that what it offers is what there is.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::anyhow;
use clap::{Args, Command, CommandFactory as _, ValueEnum};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter as _};
use clap_complete::env::{CompleteEnv, Shells};

use super::print;
use crate::args::{Arguments, Global};
use crate::command_line::everywhere;
use crate::lower;
use crate::session::{Found, Session};

/// Set by the script when it asks.
const ASKED: &str = "LOMENT_COMPLETE";

/// Nobody waits longer for a word.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  # For this shell
  source <(loment completion bash)
  # For every shell
  loment completion bash > /etc/bash_completion.d/loment
  loment completion zsh > \"${fpath[1]}/_loment\"
  loment completion fish > ~/.config/fish/completions/loment.fish")]
pub(crate) struct Completion {
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

pub(crate) fn run(args: &Completion) -> anyhow::Result<()> {
    let name = match args.shell {
        Shell::Bash => "bash",
        Shell::Zsh => "zsh",
        Shell::Fish => "fish",
    };
    let shells = Shells::builtins();
    let shell = shells.completer(name).ok_or_else(|| anyhow!("{name} is not supported"))?;
    // One that was not found by its name alone is not found by the script either.
    let word = std::env::args().next().unwrap_or_default();
    let program = match Path::new(&word).components().count() {
        0 | 1 => "loment".to_owned(),
        _ => std::env::current_exe()?.display().to_string(),
    };
    let mut script = Vec::new();
    shell.write_registration(ASKED, "loment", "loment", &program, &mut script)?;
    print(&String::from_utf8_lossy(&script))
}

/// Answers a shell that asks for words, and ends; does nothing when none does.
pub(crate) fn answer() {
    if std::env::var_os(ASKED).is_some() {
        CompleteEnv::with_factory(command).var(ASKED).complete();
    }
}

/// The command line with what is offered for each of its words.
fn command() -> Command {
    everywhere(Arguments::command(), offering)
}

fn offering(argument: clap::Arg) -> clap::Arg {
    match argument.get_id().as_str() {
        "pod" | "pods" => argument.add(ArgValueCompleter::new(pods)),
        "what" => argument.add(ArgValueCompleter::new(resources)),
        "container" | "positional" => argument.add(ArgValueCompleter::new(containers)),
        "who" | "first" | "second" => argument.add(ArgValueCompleter::new(sandboxes_and_pods)),
        "sandboxes" => argument.add(ArgValueCompleter::new(sandboxes)),
        "source" | "destination" => argument.add(ArgValueCompleter::new(files)),
        _ => argument,
    }
}

fn pods(begun: &OsStr) -> Vec<CompletionCandidate> {
    let begun = begun.to_string_lossy();
    let kind = if begun.starts_with("pod/") { "pod/" } else { "" };
    offered(found().iter().map(|found| format!("{kind}{}", found.name())), &begun)
}

/// Those of `loment ns`.
fn sandboxes(begun: &OsStr) -> Vec<CompletionCandidate> {
    let words: Vec<String> = std::env::args().collect();
    let told = words.iter().position(|word| word == "--pins").and_then(|at| words.get(at + 1)).map(PathBuf::from);
    let variable = || std::env::var_os("LOMENT_NS").map(PathBuf::from);
    let directory = told.or_else(variable).unwrap_or_else(|| PathBuf::from(super::ns::PINS));
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    offered(entries.filter_map(|entry| entry.file_name().into_string().ok()), &begun.to_string_lossy())
}

fn sandboxes_and_pods(begun: &OsStr) -> Vec<CompletionCandidate> {
    // Without the prefix a name is a sandbox's.
    let pods = if begun.to_string_lossy().starts_with("pod/") { pods(begun) } else { Vec::new() };
    sandboxes(begun).into_iter().chain(pods).collect()
}

fn resources(begun: &OsStr) -> Vec<CompletionCandidate> {
    let kinds = offered(["pods", "pod"].map(str::to_owned).into_iter(), &begun.to_string_lossy());
    kinds.into_iter().chain(pods(begun)).collect()
}

/// Those of the pods that the command line names.
fn containers(begun: &OsStr) -> Vec<CompletionCandidate> {
    let words: Vec<String> = std::env::args().map(|word| word.trim_start_matches("pod/").to_owned()).collect();
    let pods =
        found().into_iter().filter(|found| words.iter().any(|word| word.split(':').next() == Some(found.name())));
    let specs: Vec<_> = pods.filter_map(|found| found.pod.spec).collect();
    let names = specs.iter().flat_map(lower::containers).map(|container| container.name.clone());
    offered(names, &begun.to_string_lossy())
}

/// Files of this machine, and pods, after which a path in them stands.
fn files(begun: &OsStr) -> Vec<CompletionCandidate> {
    let pods = offered(found().iter().map(|found| format!("{}:", found.name())), &begun.to_string_lossy());
    pods.into_iter().chain(PathCompleter::any().complete(begun)).collect()
}

fn offered(names: impl Iterator<Item = String>, begun: &str) -> Vec<CompletionCandidate> {
    names.filter(|name| name.starts_with(begun)).map(CompletionCandidate::new).collect()
}

/// The pods that there are. None when they cannot be had: a shell that completes has no place for an error.
fn found() -> Vec<Found> {
    let words: Vec<String> = std::env::args().collect();
    let Ok(runtime) = crate::runtime::new() else { return Vec::new() };
    let asked = async {
        let session = Session::open(&global(&words)).await?;
        session.pods(Some(&session.namespace)).await
    };
    let answered = runtime.block_on(async { tokio::time::timeout(PATIENCE, asked).await });
    answered.ok().and_then(Result::ok).unwrap_or_default()
}

/// What is said before the word that is asked for, as far as it says where to look.
fn global(words: &[String]) -> Global {
    let said = |words: &[String], names: [&str; 2]| {
        words.iter().enumerate().find_map(|(index, word)| {
            if names.contains(&word.as_str()) {
                return words.get(index + 1).cloned();
            }
            names.iter().find_map(|name| word.strip_prefix(&format!("{name}="))).map(str::to_owned)
        })
    };
    // After this verb it is where to listen.
    let forwards = words.iter().position(|word| word == "port-forward").unwrap_or(words.len());
    let socket = said(&words[..forwards], ["-a", "--address"]);
    let variable = |name: &str, usual: &str| std::env::var_os(name).map_or_else(|| usual.into(), Into::into);
    Global {
        address: socket
            .or_else(|| said(&words[forwards..], ["-a", "--containerd-address"]))
            .or_else(|| std::env::var("CONTAINERD_ADDRESS").ok()),
        namespace: said(words, ["-n", "--namespace"]),
        runtime_handler: "loment".to_owned(),
        state_dir: variable("LOMENT_STATE", "/var/lib/loment"),
        log_dir: variable("LOMENT_LOGS", "/var/log/pods"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_namespace_and_containerd_counts() {
        let words = |words: &str| words.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(global(&words("loment -n shop exec we")).namespace.as_deref(), Some("shop"));
        let said = global(&words("loment exec --namespace=shop --address /sock we"));
        assert_eq!((said.namespace.as_deref(), said.address.as_deref()), (Some("shop"), Some("/sock")));
        assert_eq!(global(&words("loment exec we")).namespace, None);
        let address = |line: &str| global(&words(line)).address;
        assert_eq!(address("loment -a /s port-forward --address 127.0.0.1 we").as_deref(), Some("/s"));
        assert_eq!(address("loment port-forward --address 127.0.0.1 -a /t we").as_deref(), Some("/t"));
    }

    #[test]
    fn every_verb_that_takes_pods_offers_them() {
        let command = command();
        command.clone().debug_assert();
        let offers = |verb: &str, id: &str| {
            let verb = command.get_subcommands().find(|one| one.get_name() == verb).unwrap();
            let argument = verb.get_arguments().find(|argument| argument.get_id() == id).unwrap();
            argument.get::<ArgValueCompleter>().is_some()
        };
        for (verb, id) in [
            ("exec", "pod"),
            ("exec", "container"),
            ("logs", "pod"),
            ("logs", "positional"),
            ("attach", "pod"),
            ("port-forward", "pod"),
            ("cp", "source"),
            ("cp", "destination"),
            ("top", "pods"),
            ("delete", "what"),
        ] {
            assert!(offers(verb, id), "{verb} {id}");
        }
        let ns = command.find_subcommand("ns").unwrap();
        for (verb, id) in [("exec", "who"), ("join", "who"), ("map", "who"), ("diff", "second"), ("rm", "sandboxes")] {
            let verb = ns.find_subcommand(verb).unwrap();
            let argument = verb.get_arguments().find(|argument| argument.get_id() == id).unwrap();
            assert!(argument.get::<ArgValueCompleter>().is_some(), "{id}");
        }
    }
}
