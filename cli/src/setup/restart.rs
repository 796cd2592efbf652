//! containerd started again, and asked whether it knows the class then.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::found::Kind;
use crate::args::Global;
use crate::session::Session;

/// How long it may take until it answers again. k3s starts a whole cluster.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(300);

/// What starts it again, as a line of shell. `None` where nothing is known that does.
pub(crate) fn command(kind: Kind) -> Option<String> {
    if kind == Kind::Microk8s {
        return Some("snap restart microk8s.daemon-containerd".to_owned());
    }
    if !Path::new("/run/systemd/system").exists() {
        return None;
    }
    let is_active = |unit: &&&str| {
        let status = Command::new("systemctl").args(["is-active", "--quiet", unit]).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    let unit = kind.units().iter().find(is_active).or(kind.units().first())?;
    Some(format!("systemctl restart {unit}"))
}

/// Runs it.
pub(crate) fn run(line: &str) -> anyhow::Result<()> {
    // With --host this process has changed its root, to that of the machine: systemctl would pass over the request there, and
    // say so with success.
    let output =
        Command::new("/bin/sh").args(["-c", line]).env("SYSTEMD_IGNORE_CHROOT", "1").stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("run {line:?}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{line:?}, which starts containerd again, ended with {} ({}): see containerd's log, and run this again; `loment uninstall` \
             takes back what was written",
            output.status,
            said.lines().last().unwrap_or("it says nothing").trim()
        );
    }
    Ok(())
}

/// The runtime classes that a running containerd knows, by what CRI tells of its configuration.
pub(crate) async fn handlers(session: &Session) -> anyhow::Result<Vec<String>> {
    let status = session.client.status(true).await.context("ask containerd for CRI's configuration")?;
    let config: Value = match status.info.get("config") {
        Some(text) => serde_json::from_str(text).context("read CRI's configuration")?,
        None => Value::Null,
    };
    let runtimes = config["containerd"]["runtimes"].as_object();
    Ok(runtimes.into_iter().flatten().map(|(name, _)| name.clone()).collect())
}

/// Waits until it answers and knows the class.
///
/// # Errors
/// It does not answer, or has answered without the class for a while: k3s for one starts with a template that it cannot use
/// left out, and says so only in its log.
pub(crate) async fn known(global: &Global, handler: &str) -> anyhow::Result<Session> {
    let end = Instant::now() + PATIENCE;
    let mut answered = None;
    loop {
        let session = Session::open(global).await;
        let seen = match &session {
            Ok(session) => handlers(session).await,
            Err(error) => Err(anyhow::anyhow!("{error:#}")),
        };
        match (session, seen) {
            (Ok(session), Ok(names)) if names.iter().any(|name| name == handler) => return Ok(session),
            // The one that is just ending may have answered.
            (Ok(_), Ok(names)) if answered.get_or_insert_with(Instant::now).elapsed() > Duration::from_secs(10) => {
                bail!(
                    "containerd has started again and knows no runtime class {handler:?}, only {}: see its log, and `loment doctor`; \
                 `loment uninstall` takes back what was written",
                    names.join(", ")
                )
            }
            (_, Err(error)) if Instant::now() > end => {
                return Err(error.context(
                    "containerd does not answer after its restart: see its log; `loment uninstall` takes back what was written",
                ));
            }
            _ => sleep(PAUSE).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_that_fails_is_told_with_what_it_says_last_and_what_to_do() {
        run("true").unwrap();
        let error = run("echo first >&2; echo 'Unit x.service not found.' >&2; exit 5").unwrap_err().to_string();
        assert!(error.contains("exit status: 5 (Unit x.service not found.)"), "{error}");
        assert!(error.contains("run this again") && error.contains("loment uninstall"), "{error}");
    }
}
