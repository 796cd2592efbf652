//! What the kernel itself charges for a pod: the same namespaces, cgroups, mounts, seccomp filter and programs, made by
//! hand, without containerd, shim or OCI runtime.
//!
//! A small process of its own does it ([`serve`]), so that this program's memory is not in the price of a clone. It is
//! asked for one pod at a time, in turns with the runtime handlers.

mod cgroups;
mod child;
mod container;
mod helper;
mod plan;
mod sandbox;

use std::{process::Stdio, time::Duration};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use crate::{
    cycle::{Cycle, Phase},
    pod::{Maker, Pod},
};

pub use helper::serve;

/// The name of what is made by hand, beside those of handlers.
pub(crate) const NAME: &str = "limit";

/// What it includes, for people.
pub(crate) const INCLUDES: &str = "made by hand with the image's layers and the mounts of a container's own specification: \
    clone3 with namespaces, cgroups, overlay and other mounts, pivot_root, capabilities, seccomp filter (compiled \
    beforehand), execve, exec in all namespaces, kill, teardown; neither CNI nor a pause program, no limits, no logs";

/// The process that makes pods by hand.
#[derive(Debug)]
pub(crate) struct Limit {
    child: Child,
    requests: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

/// One pod made by hand, in nanoseconds.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Answer {
    run: u64,
    creates: Vec<u64>,
    starts: Vec<u64>,
    execs: Vec<u64>,
    kills: Vec<u64>,
    remove: u64,
    /// Cpu time of the process and of all that it has reaped.
    cpu: u64,
    /// Instead of all that.
    error: Option<String>,
}

impl Limit {
    /// Starts the process. `pod` shows what its containers are made of.
    ///
    /// Errors: what makes a comparison impossible, another snapshotter than overlayfs for example.
    pub(crate) async fn start(maker: &Maker<'_>, pod: &Pod) -> Result<Self> {
        let container = pod.containers.first().context("a container to look at")?;
        let plan = plan::of(maker, container).await?;
        let program = std::env::current_exe().context("find this program")?;
        let mut child = Command::new(program)
            .arg("bench-limit")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // In a group of its own: it ends when its input does, with what it has made removed.
            .process_group(0)
            .spawn()
            .context("start what makes pods by hand")?;
        let requests = child.stdin.take().context("its input")?;
        let answers = BufReader::new(child.stdout.take().context("its output")?).lines();
        let mut limit = Self { child, requests, answers };
        limit.send(&serde_json::to_string(&plan).context("write the plan of a pod")?).await?;
        Ok(limit)
    }

    /// One pod from nothing to nothing.
    pub(crate) async fn cycle(&mut self) -> Result<Cycle> {
        self.send("pod").await?;
        let line = self.answers.next_line().await.context("read what a pod made by hand took")?;
        let line = line.context("what makes pods by hand has ended")?;
        let answer: Answer = serde_json::from_str(&line).context("parse what a pod made by hand took")?;
        if let Some(error) = answer.error {
            bail!("make a pod by hand: {error}");
        }
        Ok(answer.into())
    }

    /// Lets the process end.
    pub(crate) async fn end(mut self) -> Result<()> {
        drop(self.requests);
        self.child.wait().await.context("wait for what makes pods by hand").map(drop)
    }

    async fn send(&mut self, line: &str) -> Result<()> {
        self.requests.write_all(format!("{line}\n").as_bytes()).await.context("ask for a pod made by hand")
    }
}

impl From<Answer> for Cycle {
    fn from(answer: Answer) -> Self {
        let nanos = Duration::from_nanos;
        let total = answer.run + answer.creates.iter().chain(&answer.starts).sum::<u64>();
        let many = |phase: Phase, all: &[u64]| all.iter().map(|took| (phase, nanos(*took))).collect::<Vec<_>>();
        let mut phases = vec![(Phase::RunPod, nanos(answer.run)), (Phase::PodAndContainers, nanos(total))];
        phases.extend(many(Phase::CreateContainer, &answer.creates));
        phases.extend(many(Phase::StartContainer, &answer.starts));
        phases.extend(many(Phase::Exec, &answer.execs));
        phases.extend(many(Phase::KillContainer, &answer.kills));
        phases.push((Phase::RemovePod, nanos(answer.remove)));
        Self { phases, cpu: Some(nanos(answer.cpu)), ..Self::default() }
    }
}
