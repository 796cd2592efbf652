//! `loment-runtime`: containers from OCI bundles, by the command line that runc and crun have.
//!
//! Each command is one short life of this program. What a container needs to live on is in its own processes and in its
//! directory (`store.rs`); nothing waits for it but whoever has created it.

mod args;
mod attend;
mod control;
mod create;
mod events;
mod exec;
mod failure;
mod log;
mod misuse;
mod own;
mod run;
mod show;
mod signals;
mod spec;
mod stats;
mod store;
mod streams;
mod update;

use std::process::ExitCode;

use args::{Arguments, Command};
use clap::{Parser, error::ErrorKind};
use failure::{Failure, Result};
use log::Log;
use store::Store;
use streams::Preserved;

/// Status of a command that has failed.
const FAILED: u8 = 1;

/// Status of an exec that has failed: small numbers are the program's own.
const EXEC_FAILED: u8 = 255;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return unread(&error),
    };
    let preserved = arguments.handover().map(Preserved::find).unwrap_or_else(|| Ok(Preserved::default()));
    let log = match Log::open(&arguments.global) {
        Ok(log) => log.keep(),
        Err(failure) => {
            let _closed = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{failure}\n"));
            return ExitCode::from(FAILED);
        }
    };
    log.debug(|| format!("{:?}", arguments.command));
    let failed = if matches!(arguments.command, Some(Command::Exec(_))) { EXEC_FAILED } else { FAILED };
    match preserved.and_then(|preserved| run(&arguments, &preserved)) {
        // Exit statuses of programs are below 256, and 128 + signal is.
        Ok(status) => ExitCode::from(u8::try_from(status).unwrap_or(EXEC_FAILED)),
        Err(failure) => {
            log.error(&failure.to_string());
            ExitCode::from(failed)
        }
    }
}

/// Help and version are printed; what is no command line has failed, as with runc: not 2, which is clap's.
fn unread(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _closed = error.print();
        }
        _ => misuse::tell(error, &std::env::args_os().collect::<Vec<_>>()),
    }
    ExitCode::from(if error.use_stderr() { FAILED } else { 0 })
}

fn run(arguments: &Arguments, preserved: &Preserved) -> Result<u32> {
    let Some(command) = &arguments.command else {
        return if arguments.version { version() } else { Err(Failure::new("no command is given (see --help)")) };
    };
    let store = Store::new(&arguments.global.root)?;
    let done = match command {
        Command::Create(create) => own::protect()
            .and_then(|()| create::create(&store, &arguments.global, &create.making, preserved, true).map(drop)),
        Command::Run(run) => return own::protect().and_then(|()| run::run(&store, &arguments.global, run, preserved)),
        Command::Exec(exec) => return own::protect().and_then(|()| exec::exec(&store, exec, preserved)),
        Command::Start(one) => run::start(&store.find(&one.id)?),
        Command::State(one) => show::state(&store, one),
        Command::Kill(kill) => control::kill(&store, kill),
        Command::Delete(delete) => control::delete(&store, delete),
        Command::Ps(ps) => show::ps(&store, ps),
        Command::List(list) => show::list(&store, list),
        Command::Pause(one) => control::pause(&store, one),
        Command::Resume(one) => control::resume(&store, one),
        Command::Update(update) => control::update(&store, update),
        Command::Events(events) => events::events(&store, events),
        Command::Features => streams::print(loment_sandbox::FEATURES),
        Command::Spec(spec) => spec::write(spec),
        Command::Checkpoint(_) | Command::Restore(_) => {
            Err(Failure::new("checkpoint and restore are not supported by this runtime"))
        }
    };
    done.map(|()| 0)
}

fn version() -> Result<u32> {
    let version = env!("CARGO_PKG_VERSION");
    let spec = loment_sandbox::OCI_VERSION;
    streams::print(&format!("loment-runtime version {version}\nspec: {spec}\n")).map(|()| 0)
}
