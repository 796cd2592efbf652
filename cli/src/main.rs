//! The command for people: pods on one machine, through containerd.
//!
//! | file | subject |
//! |---|---|
//! | `args` | the command line |
//! | `commands/` | one file for each verb |
//! | `manifest/` | a manifest file: read strictly, completed, validated |
//! | `lower/` | a pod lowered to CRI, without touching anything |
//! | `host`, `disk`, `cgroup` | what is read from the machine, what is made on it |
//! | `session`, `pod`, `record` | questions to containerd, questions to a pod's own shim, the pod as it is now on the disk |
//! | `sources` | the ConfigMaps and Secrets of a pod, kept with it |
//! | `make`, `remains` | a pod made and unmade; what is left when that was cut short |
//! | `update`, `merge` | a pod that changes: its containers, its shim; what `apply` makes of it |
//! | `pick`, `selector`, `changes`, `view` | which pods are meant, that they change, how they are seen from outside |
//! | `jsonpath/`, `output`, `sorting`, `describe/` | pods printed as they are asked for |
//! | `occurrences`, `history`, `chart/`, `why` | what has happened to a pod, also after its end; what keeps it |
//! | `explain/` | fields, and what becomes of a manifest |
//! | `usage`, `prometheus` | what pods use, and how it is written for machines that watch |
//! | `target`, `streams`, `terminal`, `signals` | the container that a stream is opened to, its pipes, the user's terminal |
//! | `channels` | containerd's streaming server, by WebSocket |
//! | `forward/` | ports of a pod on this machine |
//! | `copy/` | files into and out of a container |
//! | `crilog`, `lives`, `logprint`, `logsource` | the lines of a log, and which attempt of a container wrote them |
//! | `show`, `table`, `resource`, `duration`, `error` | how things are printed and named |

mod args;
mod cgroup;
mod changes;
mod channels;
mod chart;
mod commands;
mod copy;
mod crilog;
mod describe;
mod disk;
mod duration;
mod error;
mod explain;
mod forward;
mod history;
mod host;
mod jsonpath;
mod lives;
mod logprint;
mod logsource;
mod lower;
mod make;
mod manifest;
mod merge;
mod occurrences;
mod output;
mod pick;
mod pod;
mod progress;
mod prometheus;
mod record;
mod remains;
mod resource;
mod selector;
mod session;
mod show;
mod signals;
mod sorting;
mod sources;
mod streams;
mod table;
mod target;
mod terminal;
mod update;
mod usage;
mod view;
mod why;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;

use args::{Arguments, Verb};
use error::ExitWith;

fn main() -> ExitCode {
    commands::completion::answer();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no errors. A wrong command line ends with 1, as all that goes wrong does.
            let _ = error.print();
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    match run(&arguments) {
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
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
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
            Verb::Cp(args) => commands::cp::run(global, args).await,
            Verb::PortForward(args) => commands::port_forward::run(global, args).await,
            Verb::Bench(args) => commands::bench::run(global, args).await,
            Verb::Resume(args) => commands::resume::run(global, args).await,
            Verb::Top(args) => commands::top::run(global, args).await,
            Verb::Stats(args) => commands::stats::run(global, args).await,
            Verb::Events(args) => commands::events::run(global, args).await,
            Verb::Describe(args) => commands::describe::run(global, args).await,
            Verb::Run(args) => commands::run::run(global, args).await,
            Verb::Why(args) => commands::why::run(global, args).await,
            Verb::Apply(args) => commands::apply::apply(global, args).await,
            Verb::Replace(args) => commands::apply::replace(global, args).await,
            Verb::Patch(args) => commands::patch::run(global, args).await,
            Verb::Set(args) => commands::apply::set(global, args).await,
            Verb::Explain(args) => commands::explain::run(global, args),
            Verb::Timeline(args) => commands::timeline::run(global, args).await,
            Verb::Annotate(args) => commands::annotate::annotate(global, args).await,
            Verb::Label(args) => commands::annotate::label(global, args).await,
            Verb::Wait(args) => commands::wait::run(global, args).await,
        }
    })
}
