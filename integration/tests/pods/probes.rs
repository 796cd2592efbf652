//! Probes of containers: by a program in them, and from the pod's network by the shim and its prober.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use loment_integration::{
    loment::{Loment, container_status},
    pod::{Node, eventually},
};
use serde_json::{Value, json};

use super::manifest::{Manifest, RUNS, wait_for};

/// A probe that is made every second and believes its first result.
fn probe(handler: Value) -> Value {
    let mut probe = json!({ "periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": 1 });
    if let (Some(probe), Value::Object(handler)) = (probe.as_object_mut(), handler) {
        probe.extend(handler);
    }
    probe
}

/// A probe that succeeds as long as a file of the shared volume exists.
fn exists(file: &str) -> Value {
    probe(json!({ "exec": { "command": ["test", "-e", format!("/shared/{file}")] } }))
}

fn remove(node: &Node<'_>, pod: &str, file: &str) -> Result<()> {
    let path = node.lab.directory("volumes", pod)?.join(file);
    fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))
}

/// Waits until a container of the pod is ready, or is not.
async fn until_ready(loment: &Loment<'_>, pod: &str, container: &str, ready: bool) -> Result<Value> {
    let what = if ready { "the container to be ready" } else { "the container not to be ready" };
    loment
        .until(pod, what, |status| {
            container_status(status, container)
                .is_ok_and(|container| container["ready"] == ready && container["state"]["running"].is_object())
        })
        .await
}

fn condition<'a>(status: &'a Value, kind: &str) -> Option<&'a str> {
    status["conditions"].as_array()?.iter().find(|one| one["type"] == kind)?["status"].as_str()
}

async fn told(loment: &Loment<'_>, pod: &str, words: &[&str]) -> Result<()> {
    let said = eventually("an event", async || {
        let text = loment.ok(&["events", pod]).await?;
        Ok(text.lines().any(|line| words.iter().all(|word| line.contains(word))).then_some(()))
    });
    match said.await {
        Ok(()) => Ok(()),
        Err(error) => Err(error.context(format!("{words:?} in {}", loment.ok(&["events", pod]).await?))),
    }
}

pub(crate) async fn p1_a_container_is_ready_when_its_readiness_probe_says_so_and_as_long(
    node: &Node<'_>,
) -> Result<()> {
    let pod = Manifest::new(node, "readiness")?
        .app_with("app", json!({ "command": ["sh", "-c", RUNS], "readinessProbe": exists("ready") }));
    let loment = pod.create(node).await?;
    let status = until_ready(&loment, "readiness", "app", false).await?;
    ensure!(status["phase"] == "Running" && condition(&status, "Ready") == Some("False"), "the status is {status}");
    pod.touch("ready")?;
    let status = until_ready(&loment, "readiness", "app", true).await?;
    ensure!(condition(&status, "Ready") == Some("True"), "the status is {status}");
    remove(node, "readiness", "ready")?;
    let status = until_ready(&loment, "readiness", "app", false).await?;
    ensure!(container_status(&status, "app")?["restartCount"] == 0, "readiness restarts nothing: {status}");
    told(&loment, "readiness", &["Readiness probe failed"]).await?;
    loment.delete("readiness").await
}

pub(crate) async fn s2_what_comes_after_a_sidecar_waits_for_its_startup_probe(node: &Node<'_>) -> Result<()> {
    let pod = Manifest::new(node, "startup")?
        .sidecar_with(
            "sidecar",
            &format!("echo sidecar >> /shared/order; {RUNS}"),
            json!({ "startupProbe": { "exec": { "command": ["test", "-e", "/shared/up"] }, "periodSeconds": 1, "failureThreshold": 100 } }),
        )
        .init("init", "echo init >> /shared/order")
        .app("app", &format!("echo app >> /shared/order; {RUNS}"));
    let loment = pod.create(node).await?;
    told(&loment, "startup", &["Startup probe failed"]).await?;
    let status = &loment.get("startup").await?["status"];
    let sidecar = container_status(status, "sidecar")?;
    ensure!(sidecar["started"] == false && sidecar["state"]["running"].is_object(), "it is {sidecar}");
    ensure!(status["phase"] == "Pending" && pod.lines("order") == ["sidecar"], "the status is {status}");
    pod.touch("up")?;
    let status = loment.phase("startup", "Running").await?;
    ensure!(container_status(&status, "sidecar")?["started"] == true, "the status is {status}");
    eventually("the app", async || Ok((pod.lines("order") == ["sidecar", "init", "app"]).then_some(()))).await?;
    loment.delete("startup").await
}

pub(crate) async fn p4_a_liveness_probe_that_fails_restarts_its_container_within_the_grace_of_the_probe(
    node: &Node<'_>,
) -> Result<()> {
    let mut liveness = exists("alive");
    liveness["terminationGracePeriodSeconds"] = json!(1);
    // The pod would give it 60 s, and it takes no signal.
    let script = "echo run >> /shared/runs; trap '' TERM; touch /shared/alive; while :; do sleep 0.1; done";
    let pod = Manifest::new(node, "liveness")?
        .grace(60)
        .app_with("app", json!({ "command": ["sh", "-c", script], "livenessProbe": liveness }));
    let loment = pod.create(node).await?;
    loment.phase("liveness", "Running").await?;
    eventually("its start", async || Ok(pod.has("alive").then_some(()))).await?;
    remove(node, "liveness", "alive")?;
    let restarted = |status: &Value| {
        container_status(status, "app").is_ok_and(|app| app["restartCount"] == 1 && app["state"]["running"].is_object())
    };
    let status = loment.until("liveness", "its restart", restarted).await?;
    let last = &container_status(&status, "app")?["lastState"]["terminated"];
    ensure!(last["exitCode"] == 137, "it ended as {last}");
    told(&loment, "liveness", &["Liveness probe failed"]).await?;
    told(&loment, "liveness", &["Container app failed liveness probe, will be restarted"]).await?;
    loment.ok(&["delete", "pod", "liveness", "--now"]).await.map(drop)
}

pub(crate) async fn p6_an_exec_probe_that_takes_too_long_has_failed_and_is_gone(node: &Node<'_>) -> Result<()> {
    let mut liveness = probe(json!({ "exec": { "command": ["sh", "-c", "touch /shared/probed; exec sleep 4714"] } }));
    liveness["timeoutSeconds"] = json!(1);
    liveness["failureThreshold"] = json!(1000);
    let pod = Manifest::new(node, "slow-probe")?
        .app_with("app", json!({ "command": ["sh", "-c", RUNS], "livenessProbe": liveness }));
    let loment = pod.create(node).await?;
    told(&loment, "slow-probe", &["Liveness probe failed", "timed out"]).await?;
    ensure!(pod.has("probed"), "the probe did not run");
    // One at a time, and none that is over: of those that have timed out nothing is left.
    let pids = loment.ok(&["exec", "slow-probe", "--", "ps"]).await?;
    let sleeping = pids.lines().filter(|line| line.contains("sleep 4714")).count();
    ensure!(sleeping <= 1, "these run: {pids}");
    loment.delete("slow-probe").await
}

pub(crate) async fn p6_the_output_of_a_failed_exec_probe_is_told(node: &Node<'_>) -> Result<()> {
    // What is read-only, and another user, are as for the container: the probe sees both.
    let script = "echo out of order as $(id -u) >&2; touch /forbidden 2>/dev/null || echo and confined; exit 3";
    let fields = json!({
        "command": ["sh", "-c", RUNS],
        "securityContext": { "runAsUser": 1234, "readOnlyRootFilesystem": true },
        "readinessProbe": probe(json!({ "exec": { "command": ["sh", "-c", script] } })),
    });
    let loment = Manifest::new(node, "says")?.app_with("app", fields).create(node).await?;
    told(&loment, "says", &["Readiness probe failed", "out of order as 1234"]).await?;
    loment.delete("says").await
}

pub(crate) async fn p6_an_http_probe_asks_the_pod_at_a_named_port(node: &Node<'_>) -> Result<()> {
    let fields = json!({
        "command": ["httpd", "-f", "-p", "8080", "-h", "/shared"],
        "ports": [{ "name": "web", "containerPort": 8080 }],
        "readinessProbe": probe(json!({ "httpGet": { "path": "/page", "port": "web" } })),
    });
    let pod = Manifest::new(node, "http")?.app_with("app", fields);
    let loment = pod.create(node).await?;
    until_ready(&loment, "http", "app", false).await?;
    told(&loment, "http", &["Readiness probe failed: HTTP probe failed with statuscode: 404"]).await?;
    pod.touch("page")?;
    until_ready(&loment, "http", "app", true).await?;
    loment.ok(&["delete", "pod", "http", "--now"]).await.map(drop)
}

pub(crate) async fn p6_an_https_probe_does_not_verify_the_server(node: &Node<'_>) -> Result<()> {
    let fields = json!({
        "command": ["loment-probe", "serve-https", "8443"],
        "readinessProbe": probe(json!({ "httpGet": { "port": 8443, "scheme": "HTTPS" } })),
    });
    let loment = Manifest::new(node, "https")?.app_with("app", fields).create(node).await?;
    until_ready(&loment, "https", "app", true).await?;
    loment.ok(&["delete", "pod", "https", "--now"]).await.map(drop)
}

pub(crate) async fn p6_a_tcp_probe_connects_to_the_pod(node: &Node<'_>) -> Result<()> {
    let script = format!("{}; exec httpd -f -p 8080 -h /shared", wait_for("go"));
    let fields = json!({
        "command": ["sh", "-c", script],
        "readinessProbe": probe(json!({ "tcpSocket": { "port": 8080 } })),
    });
    let pod = Manifest::new(node, "tcp")?.app_with("app", fields);
    let loment = pod.create(node).await?;
    told(&loment, "tcp", &["Readiness probe failed: dial tcp", "connect: connection refused"]).await?;
    pod.touch("go")?;
    until_ready(&loment, "tcp", "app", true).await?;
    loment.ok(&["delete", "pod", "tcp", "--now"]).await.map(drop)
}

pub(crate) async fn p6_a_grpc_probe_asks_the_health_service(node: &Node<'_>) -> Result<()> {
    let fields = json!({
        "command": ["loment-probe", "serve-grpc", "5000", "/shared/serving"],
        "readinessProbe": probe(json!({ "grpc": { "port": 5000, "service": "test" } })),
    });
    let pod = Manifest::new(node, "grpc")?.app_with("app", fields);
    let loment = pod.create(node).await?;
    told(&loment, "grpc", &["Readiness probe failed", "NOT_SERVING"]).await?;
    pod.touch("serving")?;
    until_ready(&loment, "grpc", "app", true).await?;
    loment.ok(&["delete", "pod", "grpc", "--now"]).await.map(drop)
}

pub(crate) async fn p5_a_probe_that_cannot_be_made_changes_nothing(node: &Node<'_>) -> Result<()> {
    let fields = json!({
        "command": ["sh", "-c", RUNS],
        "livenessProbe": probe(json!({ "tcpSocket": { "port": "nowhere" } })),
        "readinessProbe": probe(json!({ "exec": { "command": ["/no/such/program"] } })),
    });
    let loment = Manifest::new(node, "errors")?.app_with("app", fields).create(node).await?;
    told(&loment, "errors", &["Liveness probe errored", "nowhere"]).await?;
    told(&loment, "errors", &["Readiness probe errored", "/no/such/program"]).await?;
    let status = &loment.get("errors").await?["status"];
    let app = container_status(status, "app")?;
    ensure!(app["restartCount"] == 0 && app["state"]["running"].is_object(), "it is {app}");
    loment.delete("errors").await
}

pub(crate) async fn p6_the_host_network_is_probed_from_the_node(node: &Node<'_>) -> Result<()> {
    let fields = json!({
        "command": ["httpd", "-f", "-p", "18080", "-h", "/shared"],
        "readinessProbe": probe(json!({ "httpGet": { "path": "/page", "port": 18080, "host": "127.0.0.1" } })),
        "startupProbe": probe(json!({ "tcpSocket": { "port": 18080, "host": "localhost" }, "failureThreshold": 30 })),
    });
    let pod = Manifest::new(node, "on-host")?.host_network().app_with("app", fields);
    pod.touch("page")?;
    let loment = pod.create(node).await?;
    until_ready(&loment, "on-host", "app", true).await?;
    loment.ok(&["delete", "pod", "on-host", "--now"]).await.map(drop)
}
