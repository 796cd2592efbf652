//! The manifests of `examples`: each does what the comment above it says, with the commands that stand there.

use std::{collections::BTreeSet, fs};

use anyhow::{Context as _, Result, ensure};
use loment_integration::{
    loment::{Loment, container_status},
    pod::Node,
};

use super::manifest::example;

/// Those that tests of this module run.
const HERE: [&str; 4] = ["init-retry", "probes", "shared-memory", "sidecar"];

/// Those that others run: `command`, `seed`, `command_forward`; and `users` has a pod like the last.
const ELSEWHERE: [&str; 4] = ["busybox", "demo", "http-go-pod", "user-namespaces"];

pub(crate) async fn each_is_run_by_a_test(_: &Node<'_>) -> Result<()> {
    let entries = fs::read_dir(example("")).context("list the examples")?;
    let names = entries.map(|entry| Ok(entry.context("list the examples")?.file_name().to_string_lossy().into_owned()));
    let found = names.collect::<Result<BTreeSet<_>>>()?;
    let known = HERE.iter().chain(&ELSEWHERE).map(|name| format!("{name}.yaml")).collect();
    ensure!(found == known, "there are {found:?}, and known to tests are {known:?}");
    Ok(())
}

pub(crate) async fn an_init_container_is_retried_and_the_volume_remembers(node: &Node<'_>) -> Result<()> {
    let loment = Loment::new(node.lab);
    let lines = run(&loment, "init-retry").await?;
    let attempts: Vec<_> = lines.iter().filter(|line| line.starts_with("[third-time-lucky]")).collect();
    let expected: Vec<_> = (1..=3).map(|number| format!("[third-time-lucky] attempt {number}")).collect();
    ensure!(attempts.iter().copied().eq(&expected), "the attempts say {attempts:?}");
    ensure!(lines.last().is_some_and(|line| line == "[app] started after 3 attempts"), "it prints {lines:?}");
    Ok(())
}

pub(crate) async fn a_timeline_has_the_attempts_of_the_one_that_is_retried(node: &Node<'_>) -> Result<()> {
    let loment = Loment::new(node.lab);
    loment.ok(&["create", "-f", &example("init-retry.yaml")]).await?;
    let status = loment.phase("init-retry", "Succeeded").await?;
    let timeline = loment.ok(&["timeline", "init-retry"]).await?;
    for word in ["third-time-lucky (init)", "app", "✗·", "✓"] {
        ensure!(timeline.contains(word), "{word:?} is not in\n{timeline}");
    }
    ensure!(container_status(&status, "third-time-lucky")?["restartCount"] == 2, "the status is {status}");
    loment.delete("init-retry").await
}

pub(crate) async fn a_sidecar_serves_the_app_and_ends_after_it(node: &Node<'_>) -> Result<()> {
    let lines = run(&Loment::new(node.lab), "sidecar").await?;
    ensure!(lines == ["[app] hello from the sidecar"], "it prints {lines:?}");
    Ok(())
}

pub(crate) async fn a_container_that_breaks_is_ready_and_then_restarted(node: &Node<'_>) -> Result<()> {
    let loment = Loment::new(node.lab);
    loment.ok(&["create", "-f", &example("probes.yaml")]).await?;
    let ready = |ready: bool, restarts: i64| {
        move |status: &serde_json::Value| {
            let web = &status["containerStatuses"][0];
            web["ready"] == ready && web["restartCount"].as_i64() >= Some(restarts)
        }
    };
    loment.until("probes", "the container to be ready", ready(true, 0)).await?;
    loment.until("probes", "a restart by the liveness probe", ready(false, 1)).await?;
    loment.until("probes", "the next attempt to be ready", ready(true, 1)).await?;
    let events = loment.ok(&["events", "probes"]).await?;
    ensure!(
        events.contains("Liveness probe failed: HTTP probe failed with statuscode: 404"),
        "the events are\n{events}"
    );
    loment.delete("probes").await
}

pub(crate) async fn containers_share_memory_in_two_ways(node: &Node<'_>) -> Result<()> {
    let lines = run(&Loment::new(node.lab), "shared-memory").await?;
    let [ready, greeting, size] = &lines[..] else { anyhow::bail!("it prints {lines:?}") };
    ensure!(ready == "[reader] shared-memory is ready" && greeting == "[reader] from the writer", "{lines:?}");
    ensure!(size.contains("8.0M") && size.ends_with("/in"), "the volume is {size:?}");
    Ok(())
}

/// What the pod's containers print when it is run to its end, which must be a success.
async fn run(loment: &Loment<'_>, name: &str) -> Result<Vec<String>> {
    let said = loment.ok(&["run", "-f", &example(&format!("{name}.yaml"))]).await?;
    Ok(said.lines().map(str::to_owned).collect())
}
