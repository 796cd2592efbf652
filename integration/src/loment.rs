//! The command for people, as a person runs it: `loment` in a lab.

use std::{process::Stdio, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

use crate::{
    Lab, patience,
    pod::{Output, eventually},
    programs::COMMAND,
};

/// How long one command may take. Only a failure takes this long.
const PATIENCE: Duration = Duration::from_secs(40);

/// `loment` against the containerd of a lab.
#[derive(Debug, Clone, Copy)]
pub struct Loment<'a> {
    lab: &'a Lab,
    patience: Duration,
}

impl<'a> Loment<'a> {
    /// The command in this lab.
    pub fn new(lab: &'a Lab) -> Self {
        Self { lab, patience: PATIENCE }
    }

    /// The same for commands that may take so long.
    pub fn within(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Runs it to its end with these arguments and this standard input.
    pub async fn run(&self, words: &[&str], input: &str) -> Result<Output> {
        let mut command = tokio::process::Command::from(self.lab.command(COMMAND));
        command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let what = || format!("loment {}", words.join(" "));
        let mut child = command.spawn().with_context(|| format!("run {}", what()))?;
        let mut stdin = child.stdin.take().context("the standard input of loment")?;
        let done = async {
            // Who ends without reading all has its reasons, and an exit code for them.
            let _ = stdin.write_all(input.as_bytes()).await;
            drop(stdin);
            child.wait_with_output().await
        };
        let output = tokio::time::timeout(patience(self.patience), done).await;
        let output = output.with_context(|| format!("{}: no end within {:?}", what(), self.patience))?;
        let output = output.with_context(|| format!("wait for {}", what()))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let code = output.status.code().with_context(|| format!("{} ended with {}", what(), output.status))?;
        Ok(Output { code, stdout: text(&output.stdout), stderr: text(&output.stderr) })
    }

    /// The command with these arguments, to be started in another way.
    pub fn command(&self, words: &[&str]) -> std::process::Command {
        let mut command = self.lab.command(COMMAND);
        command.args(words);
        command
    }

    /// Runs it; it must succeed. Returns what it prints.
    pub async fn ok(&self, words: &[&str]) -> Result<String> {
        let output = self.run(words, "").await?;
        ensure!(output.code == 0, "loment {}: exit code {}: {}", words.join(" "), output.code, output.stderr.trim());
        Ok(output.stdout)
    }

    /// Runs it; it must fail with exit code 1. Returns what it says.
    pub async fn refused(&self, words: &[&str], input: &str) -> Result<String> {
        let output = self.run(words, input).await?;
        ensure!(output.code == 1, "loment {}: exit code {}: {}", words.join(" "), output.code, output.stdout.trim());
        ensure!(output.stdout.is_empty(), "loment {} failed and printed {:?}", words.join(" "), output.stdout);
        Ok(output.stderr)
    }

    /// Makes the pods of this manifest.
    pub async fn create(&self, manifest: &str) -> Result<()> {
        let output = self.run(&["create", "-f", "-"], manifest).await?;
        ensure!(output.code == 0, "loment create: exit code {}: {}", output.code, output.stderr.trim());
        Ok(())
    }

    /// The pod with its status, as the API shows it.
    pub async fn get(&self, pod: &str) -> Result<Value> {
        let text = self.ok(&["get", "pod", pod, "-o", "json"]).await?;
        serde_json::from_str(&text).context("read what loment get prints")
    }

    /// Waits until the pod's status is like this, and returns it.
    pub async fn until(&self, pod: &str, what: &str, is_it: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut last = Value::Null;
        let found = eventually(what, async || {
            last = self.get(pod).await?["status"].take();
            Ok(is_it(&last).then_some(()))
        });
        match found.await {
            Ok(()) => Ok(last),
            Err(error) => Err(error.context(format!("the pod's status is {last}"))),
        }
    }

    /// Waits until the pod has a phase. It fails at once when the pod ends in another one.
    pub async fn phase(&self, pod: &str, phase: &str) -> Result<Value> {
        let ended = |status: &Value| ["Succeeded", "Failed"].iter().any(|end| status["phase"] == **end);
        let what = format!("pod {pod} to be {phase}");
        let status = self.until(pod, &what, |status| status["phase"] == phase || ended(status)).await?;
        if status["phase"] != phase {
            bail!("wait for {what}: it ended as {status}\n{}", self.ok(&["events", pod, "--timeline"]).await?);
        }
        Ok(status)
    }

    /// What has happened to the pod and its containers, without the times: `app started`, `app exited with code 1`.
    pub async fn story(&self, pod: &str) -> Result<Vec<String>> {
        let text = self.ok(&["events", pod, "--timeline"]).await?;
        // A line: time of the day, time since the pod's start, who, what.
        let line = |line: &str| line.split_whitespace().skip(2).collect::<Vec<_>>().join(" ");
        Ok(text.lines().map(line).collect())
    }

    /// Stops and removes the pod.
    pub async fn delete(&self, pod: &str) -> Result<()> {
        self.ok(&["delete", "pod", pod]).await.map(drop)
    }
}

/// Of a pod's status, the part that tells of a container.
pub fn container_status<'a>(status: &'a Value, container: &str) -> Result<&'a Value> {
    let lists = ["initContainerStatuses", "containerStatuses"].map(|kind| status[kind].as_array());
    let mut all = lists.into_iter().flatten().flatten();
    all.find(|entry| entry["name"] == container)
        .with_context(|| format!("find container {container:?} in the pod's status {status}"))
}
