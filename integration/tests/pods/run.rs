//! Containers run by containerd's own client, outside of CRI.

use std::{fs, path::PathBuf, process::Output};

use anyhow::{Context as _, Result, ensure};
use loment_integration::{
    images,
    pod::{Node, eventually},
    process::{command_line, descendants},
    requirements::BUSYBOX,
};

/// A container of containerd's own client, with a directory for what it leaves.
pub(crate) struct Run<'a> {
    pub(crate) node: &'a Node<'a>,
    pub(crate) id: &'static str,
    pub(crate) directory: PathBuf,
}

impl<'a> Run<'a> {
    pub(crate) fn new(node: &'a Node<'a>, id: &'static str) -> Result<Self> {
        Ok(Self { node, id, directory: node.lab.directory("volumes", id)? })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// The URI of a logger: a script that the host's busybox runs, with more arguments.
    pub(crate) fn logger(&self, scheme: &str, script: &str, arguments: &str) -> Result<String> {
        let path = self.path("logger.sh");
        fs::write(&path, script).with_context(|| format!("write {}", path.display()))?;
        Ok(format!("{scheme}://{BUSYBOX}?sh={}{arguments}", path.display()))
    }

    pub(crate) async fn ctr(&self, words: &[&str]) -> Result<Output> {
        self.node.lab.ctr_output(words, b"").await
    }

    /// Runs a script in the background.
    pub(crate) async fn detached(&self, flags: &[&str], script: &str) -> Result<Output> {
        let runtime = self.node.runtime_type();
        let words = [&["run", "--detach", "--runtime", runtime.as_str()], flags];
        let words = [words.concat(), vec![images::BUSYBOX_IMAGE, self.id, "sh", "-c", script]].concat();
        self.ctr(&words).await
    }

    pub(crate) async fn started(&self, flags: &[&str], script: &str) -> Result<()> {
        succeeded(&self.detached(flags, script).await?)
    }

    pub(crate) async fn pid(&self) -> Result<i32> {
        let tasks = self.ctr(&["task", "ls"]).await?;
        let text = String::from_utf8_lossy(&tasks.stdout).into_owned();
        let line = text.lines().find(|line| line.split_whitespace().next() == Some(self.id));
        let pid = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
        pid.with_context(|| format!("the pid of {} among {text}", self.id))
    }

    /// Waits until the task has ended.
    pub(crate) async fn ended(&self) -> Result<()> {
        eventually("the end of the task", async || {
            let tasks = self.ctr(&["task", "ls"]).await?;
            let text = String::from_utf8_lossy(&tasks.stdout).into_owned();
            let stopped = |line: &str| line.starts_with(self.id) && line.contains("STOPPED");
            Ok(text.lines().any(stopped).then_some(()))
        })
        .await
    }

    pub(crate) async fn removed(&self) -> Result<()> {
        succeeded(&self.ctr(&["task", "delete", self.id]).await?)?;
        succeeded(&self.ctr(&["container", "rm", self.id]).await?)
    }

    /// What was said of a start that must fail, of which nothing may be left but containerd's container.
    pub(crate) async fn refused(&self, flags: &[&str]) -> Result<String> {
        let output = self.detached(flags, "sleep 1000").await?;
        ensure!(!output.status.success(), "it was started");
        let tasks = self.ctr(&["task", "ls", "--quiet"]).await?;
        ensure!(tasks.stdout.is_empty(), "a task is left: {}", String::from_utf8_lossy(&tasks.stdout));
        succeeded(&self.ctr(&["container", "rm", self.id]).await?)?;
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// The loggers of this container that run.
    pub(crate) fn loggers(&self) -> usize {
        let script = self.path("logger.sh").display().to_string();
        descendants(std::process::id().cast_signed()).iter().filter(|one| command_line(one).contains(&script)).count()
    }

    pub(crate) async fn no_logger(&self) -> Result<()> {
        eventually("the end of the logger", async || Ok((self.loggers() == 0).then_some(()))).await
    }
}

pub(crate) fn succeeded(output: &Output) -> Result<()> {
    ensure!(output.status.success(), "ctr: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
