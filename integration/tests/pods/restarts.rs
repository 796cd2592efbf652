//! containerd is restarted again and again, under pods of all kinds.
//!
//! A line that containerd has read and not yet written when it ends is lost with it, whatever a shim does. So nothing is
//! written here at the moment in which it is told to end: while it is away, and while it begins.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use loment_integration::{
    loment::{Loment, container_status},
    pod::{Container, Node, Pod, eventually, shell, text_of},
};

use super::manifest::{COUNTED, Manifest, RUNS};

/// How often.
const RESTARTS: i32 = 50;

/// Ten lines whenever they are asked for.
const COUNTS: &str = "n=0; while :; do until [ -e /data/more ]; do sleep 0.02; done
    for i in 0 1 2 3 4 5 6 7 8 9; do n=$((n+1)); echo $n; done; rm /data/more; done";

/// A container that ends by itself when it is told: at once, or some tenths of a second later.
async fn short<'a>(pod: &Pod<'a>, data: &Path, round: i32) -> Result<Container<'a>> {
    let script = format!(
        "until [ -e /data/go ]; do sleep 0.01; done; sleep 0.{}; echo last words of {round}; exit {round}",
        round % 4
    );
    pod.start(shell("short", &script).attempt(u32::try_from(round)?).volume(data, "/data")).await
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
    let data = node.lab.directory("volumes", "restarts")?;
    let (more, go) = (data.join("more"), data.join("go"));
    let plain = node.pod("plain").run().await?;
    let counts = plain.start(shell("counts", COUNTS).volume(&data, "/data")).await?;
    let shared = node.pod("shared").shared_pids().run().await?;
    let stays = shared.start(shell("stays", RUNS)).await?;
    let hosted = Manifest::new(node, "hosted")?
        .restart_policy("Always")
        .annotation("io.loment.pod.backoff-max", "50ms")
        .app("again", &format!("{COUNTED}; sleep 0.3; exit 3"))
        .app("stays", RUNS);
    let loment: Loment<'_> = hosted.create(node).await?;
    let pids = (counts.pid().await?, stays.pid().await?);
    for round in 1..=RESTARTS {
        let pod = if round % 2 == 0 { &plain } else { &shared };
        let short = short(pod, &data, round).await?;
        let away = async || {
            fs::write(&go, "")?;
            fs::write(&more, "")?;
            eventually("ten more lines", async || Ok((!more.exists()).then_some(()))).await
        };
        node.lab.restart_containerd_after(away).await?;
        check(&short, round).await?;
        fs::remove_file(&go)?;
        let lines: String = (1..=round * 10).map(|number| format!("{number}\n")).collect();
        eventually("the lines", async || Ok((text_of(&counts.logs()?, "stdout") == lines).then_some(())))
            .await
            .with_context(|| {
                format!("round {round}: the log is {:?}", text_of(&counts.logs().unwrap_or_default(), "stdout"))
            })?;
        let pods = node.cri.list_pod_sandboxes(None).await?;
        let lost = pods.iter().filter(|pod| pod.state != 0).count();
        ensure!(pods.len() == 3 && lost == 0, "round {round}: of {} pods {lost} are not ready", pods.len());
    }
    ensure!((counts.pid().await?, stays.pid().await?) == pids, "a container was started again");
    let status = &loment.get("hosted").await?["status"];
    let app = container_status(status, "stays")?;
    ensure!(app["restartCount"] == 0, "a container of the pod that the shim runs was started again: {app}");
    ensure!(container_status(status, "again")?["restartCount"].as_i64() > Some(5), "nobody has run it again: {status}");
    loment.delete("hosted").await?;
    plain.remove().await?;
    shared.remove().await
}
