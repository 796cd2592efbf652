//! `loment-prober` asks a server of a pod how it is: HTTP, HTTPS and gRPC probes, and HTTP hooks.
//!
//! The shim starts it in the pod's network namespace, one process for each question, so that neither what it takes to
//! speak these protocols nor what a server may answer is ever in the shim. It reads the question as JSON from standard
//! input (see [`question::Question`]), writes the answer as one line of JSON to standard output, and exits with 0
//! (success), 1 (failure) or 2 (it could not ask). It asks as nobody: a server needs to know no more of it.

mod address;
mod grpc;
mod http;
mod question;
mod tls;

use std::{
    io::{self, Read as _, Write as _},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::{
    libc,
    sys::prctl,
    unistd::{Gid, Uid, setgid, setgroups, setuid},
};

use self::question::{Answer, Ask, Question};

/// A question is longer than this only by mistake.
const LONGEST_QUESTION: u64 = 1 << 20;

/// Who asks. The numbers of Linux for whoever has none.
const NOBODY: libc::uid_t = 65534;

fn main() -> ExitCode {
    let answer = ask().unwrap_or_else(|error| Answer::error(format!("{error:#}")));
    let line = serde_json::to_string(&answer).unwrap_or_default();
    // Whoever would have read it is gone.
    let _ = writeln!(io::stdout(), "{line}");
    answer.outcome.exit_code()
}

fn ask() -> Result<Answer> {
    let mut text = String::new();
    io::stdin().take(LONGEST_QUESTION).read_to_string(&mut text).context("read the question from standard input")?;
    let question: Question = serde_json::from_str(&text).context("understand the question")?;
    become_nobody()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("make the event loop")?;
    let limit = question.timeout_ms.map(Duration::from_millis);
    let answer = runtime.block_on(async {
        let answer = async {
            match &question.ask {
                Ask::Http(request) => http::ask(request, question.hook).await,
                Ask::Grpc(request) => grpc::ask(request).await,
                Ask::Tcp(request) => match address::connect(&request.host, request.port).await {
                    Ok(_) => Answer::success(String::new()),
                    Err(reason) => Answer::failure(reason),
                },
            }
        };
        match limit {
            Some(limit) => tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| question.ask.timed_out(limit)),
            None => answer.await,
        }
    });
    // A look-up of a name that takes longer is not waited for.
    runtime.shutdown_background();
    Ok(answer)
}

/// Gives up every privilege: what a server answers is not to be trusted. Who was not root has none.
fn become_nobody() -> Result<()> {
    prctl::set_no_new_privs().context("give up new privileges")?;
    if Uid::effective().is_root() {
        setgroups(&[]).context("give up groups")?;
        setgid(Gid::from_raw(NOBODY)).context("become nobody")?;
        setuid(Uid::from_raw(NOBODY)).context("become nobody")?;
    }
    Ok(())
}
