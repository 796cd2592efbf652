//! The command for people: pods on one machine, through containerd.
//!
//! | file | subject |
//! |---|---|
//! | `args` | the command line |
//! | `commands/` | one file for each verb |
//! | `manifest/` | a manifest file: read strictly, completed, validated |
//! | `lower/` | a pod lowered to CRI, without touching anything |
//! | `host`, `disk`, `cgroup` | what is read from the machine, what is made on it |
//! | `session`, `pod` | questions to containerd, questions to a pod's own shim |
//! | `usage`, `prometheus` | what pods use, and how it is written for machines that watch |
//! | `target`, `streams`, `terminal` | the container that a stream is opened to, its pipes, the user's terminal |
//! | `forward/` | ports of a pod on this machine |
//! | `copy/` | files into and out of a container |
//! | `crilog`, `lives` | the lines of a log, and which attempt of a container wrote them |
//! | `show`, `table`, `resource`, `duration`, `error` | how things are printed and named |

mod args;
mod cgroup;
mod commands;
mod copy;
mod crilog;
mod disk;
mod duration;
mod error;
mod forward;
mod host;
mod lives;
mod lower;
mod manifest;
mod pod;
mod prometheus;
mod resource;
mod session;
mod show;
mod streams;
mod table;
mod target;
mod terminal;
mod usage;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;

use args::{Arguments, Verb};
use error::ExitWith;

fn main() -> ExitCode {
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
            Verb::Cp(args) => commands::cp::run(global, args).await,
            Verb::PortForward(args) => commands::port_forward::run(global, args).await,
            Verb::Bench(args) => commands::bench::run(global, args).await,
            Verb::Top(args) => commands::top::run(global, args).await,
            Verb::Stats(args) => commands::stats::run(global, args).await,
            Verb::Events(args) => commands::events::run(global, args).await,
        }
    })
}
