//! The command for people: pods on one machine, through containerd.
//!
//! | file | subject |
//! |---|---|
//! | `args`, `command_line` | the command line: what it may be, and how it is read |
//! | `commands/` | one file for each verb |
//! | `manifest/` | a manifest file: read strictly, completed, validated |
//! | `lower/` | a pod lowered to CRI, without touching anything |
//! | `host`, `features`, `disk/`, `cgroup`, `images/` | what is read from the machine and from containerd, what is made there |
//! | `session`, `pod` | questions to containerd, questions to a pod's own shim |
//! | `make` | a pod made and unmade |
//! | `kept/` | what is kept of a pod on the disk: its record, what it refers to, its history; what is left when something was cut short |
//! | `setup/` | a containerd that is given this project's runtime class, and given back what it had |
//! | `doctor/` | what keeps pods from running on the machine |
//! | `leaks/` | what is left of pods and containers on the machine: found, attributed, removed |
//! | `change/` | a pod that changes: its containers, its shim; what `apply` makes of it |
//! | `select/` | which pods are meant, and that they change |
//! | `occurrences`, `chart/`, `why` | what has happened to a pod, drawn; what keeps it |
//! | `describe/`, `explain/`, `jsonpath/` | a pod described, a manifest explained, fields picked |
//! | `usage` | what pods use |
//! | `namespaces/` | the namespaces of this machine, and sandboxes that are made by hand |
//! | `logs/` | the lines of a log, and which attempt of a container wrote them |
//! | `streams/` | the container that a stream is opened to, its pipes, containerd's streaming server |
//! | `forward/`, `copy/` | ports of a pod on this machine; files into and out of a container |
//! | `manual/` | manual pages, made from the command line's definitions |
//! | `print/` | tables, YAML and JSON, the terminal, Prometheus' text format |
//! | `command_line`, `misuse` | how a command line is read, how a wrong one is answered |
//! | `resource`, `error` | how things are named, how a command fails |

mod args;
mod cgroup;
mod change;
mod chart;
mod command_line;
mod commands;
mod copy;
mod describe;
mod disk;
mod doctor;
mod error;
mod explain;
mod features;
mod forward;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod host;
mod images;
mod jsonpath;
mod kept;
mod leaks;
mod logs;
mod lower;
mod make;
mod manifest;
mod manual;
mod misuse;
mod namespaces;
mod occurrences;
mod pod;
mod print;
mod resource;
mod runtime;
mod select;
mod session;
mod setup;
mod streams;
mod trace;
mod usage;
mod why;

use std::process::ExitCode;

use anyhow::Context as _;

use args::{Arguments, Verb};
use command_line::Answer;
use error::{ExitWith, Said};

fn main() -> ExitCode {
    commands::completion::answer();
    let words: Vec<_> = std::env::args_os().collect();
    let done = match command_line::read(&words) {
        Ok(arguments) => run(&arguments),
        // Help and version are no errors. A wrong command line ends with 1, as all that goes wrong does.
        Err(Answer::Asked(text)) => commands::print(&text),
        Err(Answer::Wrong(line)) => Err(Said::one(line).into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !error.is::<ExitWith>() {
                commands::note(&error::lines_of(&error));
            }
            ExitCode::from(error::status_of(&error))
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    // Who makes or joins namespaces has one thread, and no runtime that may start others.
    if let Verb::Ns(args) = &arguments.verb {
        return commands::ns::run(&arguments.global, args);
    }
    let runtime = runtime::new().context("start the runtime")?;
    let global = &arguments.global;
    runtime.block_on(async {
        match &arguments.verb {
            Verb::Create(args) => commands::create::run(global, args).await,
            Verb::Get(args) => commands::get::run(global, args).await,
            Verb::Logs(args) => commands::logs::run(global, args).await,
            Verb::Delete(args) => commands::delete::run(global, args).await,
            Verb::Exec(args) => commands::exec::run(global, args).await,
            Verb::Attach(args) => commands::attach::run(global, args).await,
            Verb::Completion(args) => commands::completion::run(args),
            Verb::Man(args) => commands::man::run(args),
            Verb::Cp(args) => commands::cp::run(global, args).await,
            Verb::PortForward(args) => commands::port_forward::run(global, args).await,
            Verb::BenchLimit => loment_bench::serve_limit(),
            Verb::Bench(args) => commands::bench::run(global, args).await,
            Verb::Resume(args) => commands::resume::run(global, args).await,
            Verb::Top(args) => commands::top::run(global, args).await,
            Verb::Stats(args) => commands::stats::run(global, args).await,
            Verb::Events(args) => commands::events::run(global, args).await,
            Verb::Describe(args) => commands::describe::run(global, args).await,
            Verb::Run(args) => commands::run::run(global, args).await,
            Verb::Why(args) => commands::why::run(global, args).await,
            Verb::Version(args) => commands::version::run(global, args).await,
            Verb::Apply(args) => commands::apply::apply(global, args).await,
            Verb::Replace(args) => commands::apply::replace(global, args).await,
            Verb::Patch(args) => commands::patch::run(global, args).await,
            Verb::Set(args) => commands::apply::set(global, args).await,
            Verb::Explain(args) => commands::explain::run(global, args),
            Verb::Timeline(args) => commands::timeline::run(global, args).await,
            Verb::Trace(args) => commands::trace::run(global, args).await,
            Verb::Annotate(args) => commands::annotate::annotate(global, args).await,
            Verb::Label(args) => commands::annotate::label(global, args).await,
            Verb::Ns(args) => commands::ns::run(global, args),
            Verb::Install(args) => commands::install::run(global, args).await,
            Verb::Uninstall(args) => commands::install::uninstall::run(global, args).await,
            Verb::Doctor(args) => commands::doctor::run(global, args).await,
            Verb::Gc(args) => commands::gc::run(global, args).await,
            Verb::Wait(args) => commands::wait::run(global, args).await,
        }
    })
}
