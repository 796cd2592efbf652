//! Much, and for long: what must not grow, hang, or be forgotten.

use std::{
    fs,
    future::Future,
    io::Write,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use loment_cri::v1::ContainerState;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    aftermath,
    growth::{Size, descriptors},
    instant,
    report::indented,
};
use crate::{
    Lab, config,
    lab::block_on,
    patience,
    pod::{Container, Node, Pod, at_once, command, eventually},
    process::{self, command_line, descendants},
};

/// How much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amount {
    /// Containers that are started and stopped one after the other in one pod.
    pub cycles: u32,
    /// For how long [`EXECS`] commands at once run in one container, each followed by the next.
    pub busy: Duration,
    /// Pods that are made, and later removed, all at once.
    pub pods: u32,
    /// Containers whose program ends with its first instructions.
    pub instants: u32,
}

impl Amount {
    /// Half a minute.
    pub const SHORT: Self = Self { cycles: 150, busy: Duration::from_secs(16), pods: 24, instants: 60 };
    /// A quarter of an hour.
    pub const LONG: Self = Self { cycles: 10_000, busy: Duration::from_secs(240), pods: 200, instants: 2_000 };
}

/// Commands that run at the same time.
const EXECS: u32 = 100;
/// Times in each half of the load by commands, after which the shim is looked at.
const BURSTS: u32 = 3;
/// KiB that a shim may have more after a burst than after another one, by what lies between the pages that its allocator can
/// give back: 160 were seen, while what was allocated was the same to some hundred bytes. In the long form this is 5 bytes for
/// each command.
const SCATTERED: u64 = 256;
/// Commands that are still running when the first process of their container is killed.
const ORPHANS: u32 = 50;
/// Cycles after which a shim has what it ever needs.
const WARM: u32 = 40;

/// Puts all of it on a lab, one kind after the other, and prints a line about each to `out`. Returns what is wrong.
///
/// # Errors
/// The lab itself fails.
pub fn run(lab: &Lab, amount: Amount, out: &mut dyn Write) -> Result<Vec<String>> {
    block_on(async {
        let node = Node::connect(lab, config::HANDLER).await?;
        let mut loads = Loads { lab, out, wrong: Vec::new() };
        loads.put("start and stop", cycles(&node, amount.cycles)).await?;
        loads.put("commands at once", execs(&node, amount.busy)).await?;
        loads.put("ends at once", instants(&node, amount.instants)).await?;
        loads.put("commands whose container ends", orphans(&node)).await?;
        loads.put("pods at once", pods(&node, amount.pods)).await?;
        Ok(loads.wrong)
    })?
}

struct Loads<'a> {
    lab: &'a Lab,
    out: &'a mut dyn Write,
    wrong: Vec<String>,
}

impl Loads<'_> {
    /// One kind, with a census before and after.
    async fn put(&mut self, name: &str, load: impl Future<Output = Result<String>>) -> Result<()> {
        let begun = Instant::now();
        let (before, logged) = (self.lab.census(), self.lab.log_lines());
        let open = descriptors(self.lab.containerd_pid().cast_signed())?;
        let done = load.await;
        self.lab.remove_pods().await.with_context(|| format!("clean up after {name}"))?;
        let mut wrong: Vec<String> = done.as_ref().err().map(|error| format!("{error:#}")).into_iter().collect();
        wrong.extend(self.lab.left_since(&before).into_iter().map(|entry| format!("left behind: {entry}")));
        wrong.extend(aftermath::panics(&self.lab.log_all_since(logged)));
        wrong.extend(self.held_by_containerd(open).await?);
        let took = begun.elapsed().as_secs_f64();
        writeln!(self.out, "{name}: {}; {took:.0} s", done.unwrap_or_else(|_| "not done".to_owned()))
            .context("print")?;
        for line in &wrong {
            writeln!(self.out, "  WRONG: {}", indented(line)).context("print")?;
        }
        self.wrong.extend(wrong.into_iter().map(|line| format!("{name}: {line}")));
        self.out.flush().context("print")
    }

    /// Files that containerd keeps open for pods that are gone, beyond those `before`: connections, streams. It has a few
    /// more of its own at work.
    async fn held_by_containerd(&self, before: usize) -> Result<Option<String>> {
        const OWN: usize = 8;
        let pid = self.lab.containerd_pid().cast_signed();
        let fewer = async || Ok((descriptors(pid)? <= before + OWN).then_some(()));
        let waited = eventually("containerd to close what it holds", fewer).await;
        Ok(waited
            .err()
            .map(|error| format!("{error:#}: {before} before, {} now", descriptors(pid).unwrap_or_default())))
    }
}

/// A pod and its shim.
async fn alone<'a>(node: &'a Node<'_>, name: &str) -> Result<(Pod<'a>, i32)> {
    let pod = node.pod(name).run().await?;
    let shim = process::shim_of(&pod.id).context("find the pod's shim")?;
    Ok((pod, shim))
}

/// Containers that are stopped, and ones that end by themselves, by turns.
async fn cycles(node: &Node<'_>, count: u32) -> Result<String> {
    let (pod, shim) = alone(node, "cycles").await?;
    let mut warm = None;
    for number in 0..count {
        if number == WARM {
            warm = Some(Size::of(shim).await?);
        }
        let is_stopped = number.is_multiple_of(2);
        let words: &[&str] = if is_stopped { &["/bin/busybox", "sleep", "1000"] } else { &["/bin/busybox", "false"] };
        let container = pod.start(command("app", words).attempt(number)).await?;
        if is_stopped {
            container.stop(Duration::ZERO).await?;
        }
        let (code, expected) = (container.exited().await?.exit_code, if is_stopped { 137 } else { 1 });
        ensure!(code == expected, "container {number} has ended with {code} instead of {expected}");
        container.remove().await?;
    }
    let told = grown(warm, Some(Size::of(shim).await?), 0)?;
    pod.remove().await?;
    Ok(format!("{count} containers in one pod; {told}"))
}

/// Compares what the shim has now with what it had when it was warm.
fn grown(warm: Option<Size>, now: Option<Size>, scattered: u64) -> Result<String> {
    let (Some(warm), Some(now)) = (warm, now) else { bail!("the load was too small to see a growth") };
    match warm.growth(now, scattered) {
        Some(growth) => bail!(growth),
        None => Ok(format!("the shim had {warm}, and in the end {now}")),
    }
}

/// Each of [`EXECS`] clients runs one command after the other, until the time is over.
async fn execs(node: &Node<'_>, busy: Duration) -> Result<String> {
    let (pod, shim) = alone(node, "execs").await?;
    let container = pod.start(command("app", &["/bin/busybox", "sleep", "100000"])).await?;
    let burst = async |until: Instant| {
        let each = at_once((0..EXECS).map(|_| one_after_the_other(&container, until))).await?;
        anyhow::Ok(each.into_iter().sum::<u64>())
    };
    // What lies between the pages that an allocator can give back is another amount after each burst. The least of some
    // grows only where something is left of each command.
    let half = async || {
        let (mut done, mut sizes) = (0, Vec::new());
        for _ in 0..BURSTS {
            done += burst(Instant::now() + busy / 2 / BURSTS).await?;
            sizes.push(Size::of(shim).await?);
        }
        anyhow::Ok((done, sizes.into_iter().reduce(Size::least)))
    };
    let ((first, warm), (second, now)) = (half().await?, half().await?);
    let (done, told) = (first + second, grown(warm, now, SCATTERED)?);
    pod.remove().await?;
    Ok(format!("{done} commands by {EXECS} clients; {told}"))
}

async fn one_after_the_other(container: &Container<'_>, until: Instant) -> Result<u64> {
    let mut done = 0;
    loop {
        let output = container.exec(&["/bin/busybox", "echo", "said"]).await?;
        ensure!((output.code, output.stdout.as_str()) == (0, "said\n"), "exec echo: it has ended with {output:?}");
        done += 1;
        if Instant::now() >= until {
            return Ok(done);
        }
    }
}

/// Containers that have ended before anybody can have asked for them.
async fn instants(node: &Node<'_>, count: u32) -> Result<String> {
    const TOGETHER: u32 = 8;
    let directory = node.lab.directory("volumes", "instant")?;
    place(directory.join("instant"))?;
    let pod = node.pod("instants").run().await?;
    let one = async |number: u32| {
        let name = format!("app-{}", number % TOGETHER);
        let container = command(&name, &["/volume/instant"]).volume(&directory, "/volume").attempt(number);
        let container = pod.start(container).await?;
        let status = container.exited().await?;
        ensure!(status.exit_code == i32::from(instant::CODE), "container {number} has ended with {}", status.exit_code);
        container.remove().await
    };
    for first in (0..count).step_by(TOGETHER as usize) {
        at_once((first..count.min(first + TOGETHER)).map(one)).await?;
    }
    pod.remove().await?;
    Ok(format!("{count} containers, {TOGETHER} at a time; each exit code is there"))
}

fn place(path: PathBuf) -> Result<()> {
    fs::write(&path, instant::program())
        .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)))
        .with_context(|| format!("write {}", path.display()))
}

/// The first process is killed, and with it every command that still runs in its namespace.
async fn orphans(node: &Node<'_>) -> Result<String> {
    const STAYS: &[&str] = &["/bin/busybox", "sleep", "4913"];
    let (pod, shim) = alone(node, "orphans").await?;
    let container = pod.start(command("app", &["/bin/busybox", "sleep", "100000"])).await?;
    let init = container.pid().await?;
    let all = at_once((0..ORPHANS).map(|_| container.exec(STAYS)));
    let killer = async {
        let are_there = |count: usize| count == ORPHANS as usize;
        let running = || descendants(shim).iter().filter(|one| command_line(one).ends_with("sleep 4913")).count();
        eventually("all commands to run", async || Ok(are_there(running()).then_some(()))).await?;
        kill(Pid::from_raw(init), Signal::SIGKILL).context("kill the first process")
    };
    let both = async { tokio::try_join!(all, killer) };
    let answered = tokio::time::timeout(patience(Duration::from_secs(60)), both).await;
    let (ends, ()) = answered.context("a command whose container has ended is not answered")??;
    let codes: Vec<i32> = ends.into_iter().map(|output| output.code).collect();
    ensure!(codes.iter().all(|code| *code == 137), "the commands have ended with {codes:?}");
    let code = container.exited().await?.exit_code;
    ensure!(code == 137, "the container has ended with {code}");
    pod.remove().await?;
    Ok(format!("{ORPHANS} that ran when the first process was killed; each is answered with 137"))
}

/// All are there at the same time.
async fn pods(node: &Node<'_>, count: u32) -> Result<String> {
    let made = at_once((0..count).map(async |number| {
        let pod = node.pod(&format!("one-of-many-{number}")).run().await?;
        let container = pod.start(command("app", &["/bin/busybox", "sleep", "100000"])).await?;
        Ok((pod, container))
    }))
    .await?;
    at_once(made.iter().map(async |(_, container)| {
        let status = container.status().await?;
        ensure!(status.state() == ContainerState::ContainerRunning, "{} does not run", container.id);
        ensure!(container.exec(&["/bin/busybox", "true"]).await?.code == 0, "a command in {} fails", container.id);
        Ok(())
    }))
    .await?;
    at_once(made.into_iter().map(async |(pod, _)| pod.remove().await)).await?;
    Ok(format!("{count} pods with a container each, and a command in each"))
}
