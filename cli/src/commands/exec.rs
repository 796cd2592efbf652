//! `loment exec`: a command in a container, its output and its exit code.

use std::io::Write as _;
use std::time::Duration;

use anyhow::bail;

use super::{choose_container, note, print_bytes};
use crate::args::{Exec, Global};
use crate::error::ExitWith;
use crate::session::Session;
use crate::{pod, resource};

pub(crate) async fn run(global: &Global, args: &Exec) -> anyhow::Result<()> {
    if args.stdin || args.tty {
        bail!("exec with --stdin or --tty is not supported yet by loment");
    }
    let name = resource::name(&args.pod)?;
    let session = Session::open(global).await?;
    let found = session.pod(&name).await?;
    if let Ok(status) = pod::status(&session, &found).await
        && let Some(phase) = status["phase"].as_str().filter(|phase| ["Succeeded", "Failed"].contains(phase))
    {
        bail!("cannot exec into a container in a completed pod; current phase is {phase}");
    }
    let container = choose_container(&found.pod, args.container.as_deref())?;
    let Some(made) = session.container(&found, &container).await? else {
        bail!("container not found (\"{container}\")");
    };
    let answer = session.client.exec_sync(&made.id, &args.command, Duration::ZERO).await?;
    print_bytes(&answer.stdout)?;
    // That nobody can read it is no reason to lose the exit code.
    let _ = std::io::stderr().lock().write_all(&answer.stderr);
    match answer.exit_code {
        0 => Ok(()),
        code => {
            note(&format!("command terminated with exit code {code}"));
            Err(ExitWith(u8::try_from(code).unwrap_or(1)).into())
        }
    }
}
