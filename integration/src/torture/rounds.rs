//! Rounds, one after the other, beside a pod to which nothing may happen.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::unistd::Pid;

use super::{
    aftermath::{self, Removal},
    plan::{self, Course, Courses, Operation, Round},
    report::{Outcome, Report, Toll},
    scene::Scene,
    watch::{Others, Seen, Struck, Watch},
};
use crate::{
    Lab, config,
    lab::block_on,
    patience,
    pod::{Container, Node, Pod, command},
};

/// How long a killed containerd may take to end: a call that cannot be interrupted comes to its end first.
const DEATH: Duration = Duration::from_secs(20);

/// What is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Processes are killed.
    Kills,
    /// System calls fail.
    Faults,
}

/// Which rounds are run.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// What is drawn.
    pub kind: Kind,
    /// Of what it is drawn.
    pub seed: u64,
    /// From this number on.
    pub first: u64,
    /// How many.
    pub count: u64,
}

/// Runs them, prints a line for each to `out`, and tells what came of all. Where the lab itself fails, or the other pod does,
/// the report says so, and has the rounds until then.
///
/// # Errors
/// Nothing can be run at all.
pub fn run(lab: &Lab, settings: Settings, out: &mut dyn std::io::Write) -> Result<Report> {
    let mut report = Report::new(settings.kind, settings.seed);
    if let Err(error) = block_on(all(lab, settings, &mut report, out))? {
        report.abort(&error);
    }
    Ok(report)
}

async fn all(lab: &Lab, settings: Settings, report: &mut Report, out: &mut dyn std::io::Write) -> Result<()> {
    let bystander = Bystander::start(lab).await?;
    let courses = rehearse(lab, &bystander.ids).await?;
    for index in settings.first..settings.first + settings.count {
        let drawn = match settings.kind {
            Kind::Kills => plan::kill(settings.seed, index, &courses),
            Kind::Faults => plan::fault(settings.seed, index, &courses),
        };
        let round = drawn.context("a rehearsal without any call")?;
        let outcome = one(lab, round, &bystander.ids).await.with_context(|| format!("round {index}, {round}"))?;
        writeln!(out, "{index} {round}: {outcome}").context("print")?;
        out.flush().context("print")?;
        report.add(index, round, outcome);
        bystander.check().await.with_context(|| format!("after round {index}, {round}"))?;
    }
    bystander.end().await
}

/// Each operation without anything being done to it.
async fn rehearse(lab: &Lab, known: &[String]) -> Result<Courses> {
    let mut courses = Courses::new();
    for operation in Operation::ALL {
        let before = lab.census();
        let node = Node::connect(lab, config::HANDLER).await?;
        let mut scene = Scene::before(&node, operation).await?;
        let watch = Watch::begin(None, scene.others(lab).await?)?;
        let performed = scene.perform(operation).await;
        let seen = watch.end()?;
        performed.with_context(|| format!("rehearse {operation}"))?;
        clean(lab, &node, operation, &before, known).await.with_context(|| format!("after a rehearsed {operation}"))?;
        courses.insert(operation, seen.course);
    }
    ensure!(courses.values().any(|course| course.calls > 0), "no call was seen in any operation");
    Ok(courses)
}

async fn clean(
    lab: &Lab,
    node: &Node<'_>,
    operation: Operation,
    before: &crate::census::Census,
    known: &[String],
) -> Result<(Vec<String>, Vec<String>)> {
    let Removal { refusals, collected, mut left } = aftermath::remove(node, operation.is_supervised(), before).await?;
    left.extend(aftermath::known_to_containerd(lab, known).await?);
    if !left.is_empty() {
        bail!("left behind:\n  {}", left.join("\n  "));
    }
    Ok((refusals, collected))
}

/// One round. What goes wrong in it is its outcome, not an error.
async fn one(lab: &Lab, round: Round, known: &[String]) -> Result<Outcome> {
    let begun = Instant::now();
    let before = lab.census();
    let logged = lab.log_lines();
    let (seen, performed) = {
        let node = Node::connect(lab, config::HANDLER).await?;
        let mut scene = Scene::before(&node, round.operation).await.with_context(|| format!("prepare to {round}"))?;
        let others = scene.others(lab).await?;
        strike(&mut scene, round, others).await?
    };
    let containerd = Pid::from_raw(lab.containerd_pid().cast_signed());
    let revived = revive(lab, seen.struck.as_ref().is_some_and(|struck| struck.killed.contains(&containerd))).await?;
    let node = Node::connect(lab, config::HANDLER).await?;
    let cleaned = clean(lab, &node, round.operation, &before, known).await;
    let panics = aftermath::panics(&lab.log_all_since(logged));
    let Seen { struck, course } = seen;
    let wrong = wrong(cleaned.as_ref().err().map(|error| format!("{error:#}")), panics);
    let (refusals, collected) = cleaned.unwrap_or_default();
    Ok(Outcome {
        toll: Toll::of(round.deed, struck.as_ref().map(|struck| struck.killed.len())),
        struck: struck.as_ref().map(words),
        answer: performed.map_err(|error| format!("{error:#}")),
        containerd_restarted: revived,
        calls: course.calls,
        took: begun.elapsed(),
        wrong,
        refusals,
        collected,
    })
}

fn wrong(cleaned: Option<String>, panics: Vec<String>) -> Vec<String> {
    cleaned.into_iter().chain(panics).collect()
}

fn words(struck: &Struck) -> String {
    let phase = struck.phase.map(|phase| format!(" after {:?}", phase.name())).unwrap_or_default();
    format!("{} at {} of {}{phase}", struck.with, struck.call, struck.caller)
}

/// Asks for the operation while it is watched.
async fn strike(scene: &mut Scene<'_>, round: Round, others: Others) -> Result<(Seen, Result<()>)> {
    let watch = Watch::begin(Some(round), others)?;
    let performed = tokio::select! {
        performed = scene.perform(round.operation) => performed,
        () = watch.hang_up.notified() => Err(anyhow::anyhow!("the client has hung up")),
    };
    Ok((watch.end()?, performed))
}

/// A pod that is there all the time.
struct Bystander<'a> {
    lab: &'a Lab,
    ids: Vec<String>,
    pid: i32,
}

impl<'a> Bystander<'a> {
    async fn start(lab: &'a Lab) -> Result<Self> {
        let node = Node::connect(lab, config::HANDLER).await?;
        let pod: Pod<'_> = node.pod("bystander").run().await?;
        let container: Container<'_> = pod.start(command("stays", &["/bin/busybox", "sleep", "100000"])).await?;
        let pid = container.pid().await?;
        Ok(Self { lab, ids: vec![pod.id.clone(), container.id.clone()], pid })
    }

    /// Its container runs on, as the same process, and can be reached.
    async fn check(&self) -> Result<()> {
        let node = Node::connect(self.lab, config::HANDLER).await?;
        let answer = node.cri.exec_sync(&self.ids[1], &["/bin/busybox", "true"], Duration::from_secs(20));
        ensure!(answer.await.context("exec in the pod beside")?.exit_code == 0, "an exec in the pod beside fails");
        ensure!(Path::new(&format!("/proc/{}", self.pid)).exists(), "the process of the pod beside has gone");
        Ok(())
    }

    async fn end(self) -> Result<()> {
        let node = Node::connect(self.lab, config::HANDLER).await?;
        node.cri.stop_pod_sandbox(&self.ids[0]).await?;
        Ok(node.cri.remove_pod_sandbox(&self.ids[0]).await?)
    }
}

/// Starts containerd where it has ended. Who was killed may need a moment for that.
async fn revive(lab: &Lab, is_killed: bool) -> Result<bool> {
    let deadline = Instant::now() + patience(DEATH);
    loop {
        let revived = lab.revive_containerd().await.context("start containerd again")?;
        if revived || !is_killed {
            return Ok(revived);
        }
        ensure!(Instant::now() < deadline, "containerd was killed {DEATH:?} ago, and has not ended");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The courses as a table: what there is to strike at.
pub fn table(courses: &Courses) -> String {
    let line = |(operation, Course { calls, fallible, phases }): (&Operation, &Course)| {
        format!("{operation}: {calls} calls, {fallible} of them may fail, {} phases\n", phases.len())
    };
    courses.iter().map(line).collect()
}
