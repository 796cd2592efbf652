//! Pods that use more local storage than they may.

use anyhow::{Result, ensure};
use loment_integration::{loment::container_status, pod::Node};
use serde_json::json;

use super::manifest::{Manifest, RUNS, wait_for};

const OFTEN: (&str, &str) = ("io.loment.pod.storage-interval", "100ms");

pub(crate) async fn v1_a_pod_whose_volume_is_over_its_limit_is_evicted(node: &Node<'_>) -> Result<()> {
    let script = format!("{}; dd if=/dev/zero of=/scratch/file bs=1M count=3 2>/dev/null; {RUNS}", wait_for("go"));
    let pod = Manifest::new(node, "evicted")?.annotation(OFTEN.0, OFTEN.1).app("app", &script).empty_dir(
        "scratch",
        "app",
        json!({ "sizeLimit": "2Mi" }),
    );
    let loment = pod.create(node).await?;
    loment.phase("evicted", "Running").await?;
    pod.touch("go")?;
    let status = loment.phase("evicted", "Failed").await?;
    ensure!(status["reason"] == "Evicted", "the status is {status}");
    let message = status["message"].as_str().unwrap_or_default();
    ensure!(
        message.starts_with("Usage of EmptyDir volume \"scratch\" exceeds the limit \"2Mi\"."),
        "it says {message:?}"
    );
    ensure!(container_status(&status, "app")?["state"]["terminated"].is_object(), "the status is {status}");
    loment.delete("evicted").await
}

pub(crate) async fn c11_a_pod_whose_container_writes_more_than_its_limit_is_evicted(node: &Node<'_>) -> Result<()> {
    let script = format!("{}; dd if=/dev/zero of=/file bs=1M count=3 2>/dev/null; {RUNS}", wait_for("go"));
    let resources = json!({ "limits": { "ephemeral-storage": "2Mi" } });
    let pod = Manifest::new(node, "writer")?
        .annotation(OFTEN.0, OFTEN.1)
        .app_with("app", json!({ "command": ["sh", "-c", script], "resources": resources }))
        .app_with(
            "other",
            json!({ "command": ["sh", "-c", RUNS], "resources": { "limits": { "ephemeral-storage": "1Gi" } } }),
        );
    let loment = pod.create(node).await?;
    loment.phase("writer", "Running").await?;
    pod.touch("go")?;
    let status = loment.phase("writer", "Failed").await?;
    let message = status["message"].as_str().unwrap_or_default();
    ensure!(status["reason"] == "Evicted", "the status is {status}");
    ensure!(
        message.starts_with("Container app exceeded its local ephemeral storage limit \"2Mi\"."),
        "it says {message:?}"
    );
    loment.delete("writer").await
}
