//! What the shim has noted of its starts, told by `loment trace`.

use anyhow::{Context as _, Result, ensure};
use loment_integration::{
    loment::Loment,
    pod::{Node, eventually, shell},
};
use serde_json::Value;

use super::manifest::{COUNTED, Manifest, RUNS};

/// The parts of a start of this kind: the name of each, and the phases in it.
fn parts(trace: &Value, kind: &str, attempt: u64) -> Vec<(String, Vec<String>)> {
    let starts = trace["starts"].as_array().into_iter().flatten();
    let found = starts.filter(|start| start["kind"] == kind && start["attempt"] == attempt);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let phases = |part: &Value| {
        let spans = part["spans"].as_array().into_iter().flatten();
        (text(&part["name"]), spans.map(|span| text(&span["phase"])).collect())
    };
    found.flat_map(|start| start["parts"].as_array().into_iter().flatten()).map(phases).collect()
}

async fn trace(loment: &Loment<'_>, words: &[&str]) -> Result<Value> {
    let words = [&["trace", "-o", "json"], words].concat();
    serde_json::from_str(&loment.ok(&words).await?).context("trace prints JSON")
}

pub(crate) async fn a_trace_has_every_phase_of_any_clients_pod(node: &Node<'_>) -> Result<()> {
    let pod = node.pod("seen").run().await?;
    let main = pod.start(shell("main", "exec sleep 1000")).await?;
    main.exec(&["true"]).await?;
    let loment = Loment::new(node.lab);
    let told = trace(&loment, &["seen", "--all"]).await?;
    ensure!(told["sandbox"] == pod.id.as_str(), "the trace is {told:#}");
    let names =
        |kind: &str| parts(&told, kind, 0).into_iter().map(|(name, phases)| (name, phases.len())).collect::<Vec<_>>();
    let expect = |kind: &str, expected: &[(&str, usize)]| {
        let found = names(kind);
        let expected: Vec<_> = expected.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        ensure!(found == expected, "{kind}: {found:?}\n{told:#}");
        Ok(())
    };
    expect("shim", &[("begin", 4)])?;
    expect("container", &[("create", 13), ("start", 5)])?;
    expect("exec", &[("start", 9)])?;
    // When its holder enters its root depends on how soon it is started.
    let sandbox = names("sandbox");
    // Without one, what makes the namespaces ends when they are there.
    let phases = if node.has_pause() { 15 } else { 9 };
    ensure!(sandbox.iter().map(|(_, count)| count).sum::<usize>() == phases, "sandbox: {sandbox:?}\n{told:#}");
    let own = trace(&loment, &["pod/seen", "-c", "main"]).await?;
    ensure!(own["starts"].as_array().map(Vec::len) == Some(1), "of one container, without execs: {own:#}");
    let said = loment.refused(&["trace", "seen", "-c", "nobody"], "").await?;
    ensure!(said.contains("no start of a container \"nobody\""), "it says {said:?}");
    let said = loment.refused(&["trace", "nobody"], "").await?;
    ensure!(said.contains("(NotFound)"), "it says {said:?}");
    pod.remove().await
}

pub(crate) async fn each_attempt_of_a_container_has_its_trace(node: &Node<'_>) -> Result<()> {
    let again = format!("{COUNTED}; [ $n -ge 3 ] || exit 1; : > /shared/up; {RUNS}");
    let manifest = Manifest::new(node, "again")?.annotation("io.loment.pod.backoff-initial", "1ms").app("app", &again);
    let loment = manifest.create(node).await?;
    eventually("the third attempt", async || Ok(manifest.has("up").then_some(()))).await?;
    let told = trace(&loment, &["again", "--all"]).await?;
    for attempt in 0..3 {
        let found = parts(&told, "container", attempt);
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        ensure!(names == ["create", "start"], "attempt {attempt}: {found:?}");
    }
    let newest = trace(&loment, &["again"]).await?;
    let attempts = newest["starts"].as_array().into_iter().flatten().filter(|start| start["kind"] == "container");
    ensure!(attempts.map(|start| start["attempt"].as_u64()).eq([Some(2)]), "the newest is kept: {newest:#}");
    loment.delete("again").await
}

pub(crate) async fn a_trace_is_drawn_and_told_to_opentelemetry(node: &Node<'_>) -> Result<()> {
    let loment = Manifest::new(node, "drawn")?.app("app", RUNS).create(node).await?;
    loment.phase("drawn", "Running").await?;
    let drawing = loment.ok(&["trace", "drawn", "--width", "80"]).await?;
    for line in ["shim: begin", "sandbox: create", "app: create", "app: start", "  gather mounts"] {
        ensure!(drawing.lines().any(|found| found.starts_with(line)), "{line:?} is missing in\n{drawing}");
    }
    ensure!(drawing.lines().all(|line| line.chars().count() <= 80), "too wide:\n{drawing}");
    let request: Value = serde_json::from_str(&loment.ok(&["trace", "drawn", "-o", "otlp"]).await?)?;
    let spans = request["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().context("spans")?;
    ensure!(spans.iter().any(|span| span["name"] == "gather mounts"), "the spans are {spans:?}");
    let said = loment.refused(&["trace", "drawn", "--otlp", "http://127.0.0.1:1"], "").await?;
    ensure!(said.contains("send the trace to http://127.0.0.1:1/: connect"), "it says {said:?}");
    loment.delete("drawn").await
}
