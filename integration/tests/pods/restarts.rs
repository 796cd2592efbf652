//! containerd is restarted again and again, under pods of all kinds.

use anyhow::{Context as _, Result, ensure};
use loment_integration::{
    loment::{Loment, container_status},
    pod::{Container, Node, Pod, eventually, shell, text_of},
};

use super::manifest::{COUNTED, Manifest, RUNS};

/// How often.
const RESTARTS: i32 = 50;

/// A line every few milliseconds.
const COUNTS: &str = "n=0; while :; do n=$((n+1)); echo $n; sleep 0.02; done";

/// A container that ends by itself while containerd is away, or a moment before or after.
async fn short<'a>(pod: &Pod<'a>, round: i32) -> Result<Container<'a>> {
    let script = format!("sleep 0.{}; echo last words of {round}; exit {round}", 1 + round % 5);
    pod.start(shell("short", &script).attempt(u32::try_from(round)?)).await
}

/// It ended as it did, and said what it said.
async fn check(short: &Container<'_>, round: i32) -> Result<()> {
    let status = short.exited().await.with_context(|| format!("the container of round {round}"))?;
    ensure!(status.exit_code == round, "round {round}: the exit code is {}", status.exit_code);
    let said = format!("last words of {round}\n");
    eventually("its last line", async || Ok((text_of(&short.logs()?, "stdout") == said).then_some(())))
        .await
        .with_context(|| format!("round {round}: its log is {:?}", short.logs()))?;
    short.remove().await
}

pub(crate) async fn fifty_restarts_of_containerd_lose_no_pod_no_exit_code_and_no_line(node: &Node<'_>) -> Result<()> {
    let plain = node.pod("plain").run().await?;
    let counts = plain.start(shell("counts", COUNTS)).await?;
    let shared = node.pod("shared").shared_pids().run().await?;
    let stays = shared.start(shell("stays", RUNS)).await?;
    let counted = Manifest::new(node, "hosted")?
        .restart_policy("Always")
        .annotation("io.loment.pod.backoff-max", "50ms")
        .app("again", &format!("{COUNTED}; sleep 0.3; exit 3"))
        .app("stays", RUNS);
    let loment: Loment<'_> = counted.create(node).await?;
    let pids = (counts.pid().await?, stays.pid().await?);
    for round in 1..=RESTARTS {
        let pod = if round % 2 == 0 { &plain } else { &shared };
        let short = short(pod, round).await?;
        node.lab.restart_containerd().await?;
        check(&short, round).await?;
        let ready = node.cri.list_pod_sandboxes(None).await?;
        let lost = ready.iter().filter(|pod| pod.state != 0).count();
        ensure!(ready.len() == 3 && lost == 0, "round {round}: of {} pods {lost} are not ready", ready.len());
    }
    ensure!((counts.pid().await?, stays.pid().await?) == pids, "a container was started again");
    let status = &loment.get("hosted").await?["status"];
    let app = container_status(status, "stays")?;
    ensure!(app["restartCount"] == 0, "a container of the pod that the shim runs was started again: {app}");
    counts.stop(std::time::Duration::ZERO).await?;
    let lines = text_of(&counts.logs()?, "stdout");
    let numbers: Vec<_> = lines.lines().collect();
    ensure!(numbers.iter().zip(1..).all(|(line, number)| *line == format!("{number}")), "lines are missing: {lines}");
    ensure!(numbers.len() > RESTARTS as usize, "there are {} lines", numbers.len());
    loment.delete("hosted").await?;
    plain.remove().await?;
    shared.remove().await
}
