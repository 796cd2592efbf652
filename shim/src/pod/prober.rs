//! The prober: a program beside the shim that speaks what the shim does not, in the pod's network.

use std::{
    fs::File,
    io::{Seek as _, Write as _},
    os::fd::AsFd,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use loment_sandbox::{helper::Helper, lifecycle::Outcome, network::Network};
use nix::sys::memfd::{MFdFlags, memfd_create};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    failure::{Failure, Result},
    shim::Shim,
    task::{
        captured::{pipe, to_its_end},
        ready::readable,
    },
};

/// The program's name; it is looked for where the shim is.
const PROGRAM: &str = "loment-prober";
/// It minds its time itself; one that does not is killed after this much more.
const SLACK: Duration = Duration::from_millis(500);

/// What the program answers.
#[derive(Deserialize)]
struct Answer {
    outcome: Kind,
    message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Kind {
    Success,
    Warning,
    Failure,
    Error,
}

/// Asks a server of the pod. `question`: see the prober. `limit`: how long it may take, if it is limited.
pub(super) async fn ask(shim: &Arc<Shim>, network: &Network, question: Value, limit: Option<Duration>) -> Outcome {
    let asked = put(shim, network, question, limit);
    let answer = match limit {
        None => asked.await,
        Some(limit) => match tokio::time::timeout(limit + SLACK, asked).await {
            Ok(answer) => answer,
            Err(_) => return Outcome::Failure(format!("no answer within {}s", limit.as_secs_f64())),
        },
    };
    answer.unwrap_or_else(|failure| Outcome::Error(failure.message))
}

async fn put(shim: &Arc<Shim>, network: &Network, mut question: Value, limit: Option<Duration>) -> Result<Outcome> {
    if let Some(limit) = limit {
        question["timeoutMs"] = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).into();
    }
    let question = file(&question.to_string())?;
    let (reader, writer) = pipe()?;
    let program = program()?;
    let helper = Helper {
        program: program.clone(),
        arguments: Vec::new(),
        environment: Vec::new(),
        descriptors: Vec::new(),
        input: Some(question.as_fd()),
        output: Some(writer.as_fd()),
        network: network.namespace(),
        cgroup: None,
    };
    let starting = helper.start()?;
    drop(writer);
    let pid = starting.pid();
    let started = async {
        readable(&starting).await?;
        starting.finish().map_err(|error| match error.errno() {
            Some(nix::errno::Errno::ENOENT) => Failure::not_found(format!(
                "{PROGRAM} is missing, which makes HTTP and gRPC probes and HTTP hooks: put it beside the shim, as {}",
                program.display()
            )),
            _ => error.into(),
        })
    };
    let captured = to_its_end(shim, pid, reader, started).await?;
    let line = captured.output.rsplit(|byte| *byte == b'\n').find(|line| !line.is_empty()).unwrap_or_default();
    let Ok(answer) = serde_json::from_slice::<Answer>(line) else {
        let said = String::from_utf8_lossy(&captured.output);
        return Err(Failure::unknown(format!("{PROGRAM} ended with status {} and said {said:?}", captured.exit.code)));
    };
    Ok(match answer.outcome {
        Kind::Success => Outcome::Success,
        Kind::Warning => Outcome::Warning(answer.message),
        Kind::Failure => Outcome::Failure(answer.message),
        Kind::Error => Outcome::Error(answer.message),
    })
}

/// Where the program is. (A shim that has been replaced by a newer one is told as `... (deleted)`, in the same place.)
fn program() -> Result<PathBuf> {
    let own = std::env::current_exe().map_err(|error| Failure::io("find", "the shim's own program", &error))?;
    Ok(own.with_file_name(PROGRAM))
}

/// A file without a name. Headers may be secrets, and arguments can be read by every user of the machine.
fn file(text: &str) -> Result<File> {
    let failed = |error: std::io::Error| Failure::io("write down", "a question", &error);
    let made = memfd_create(c"question", MFdFlags::MFD_CLOEXEC).map_err(|errno| failed(errno.into()))?;
    let mut file = File::from(made);
    file.write_all(text.as_bytes()).and_then(|()| file.rewind()).map_err(failed)?;
    Ok(file)
}
