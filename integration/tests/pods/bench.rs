//! `loment bench`: that it measures what it says, and leaves nothing behind.

use std::{collections::BTreeSet, fs, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, ensure};
use loment_cri::v1;
use loment_integration::{
    config,
    loment::Loment,
    patience,
    pod::{Node, eventually},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

/// How long a whole bench of a few rounds may take on a loaded machine. Only a failure takes this long.
const WHOLE_RUN: Duration = Duration::from_secs(150);
/// How long the bench may take to remove what it has made. Only a failure takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many pods there are, and how many of their containers run.
async fn census(node: &Node<'_>) -> Result<(usize, usize)> {
    let pods = node.cri.list_pod_sandboxes(None).await?.len();
    let containers = node.cri.list_containers(None).await?;
    let running = containers.iter().filter(|one| one.state() == v1::ContainerState::ContainerRunning);
    Ok((pods, running.count()))
}

/// Runs the bench until there are so many pods and running containers at the same time, sends it a signal, and compares.
async fn interrupted(node: &Node<'_>, words: &[&str], until: (usize, usize), signal: Signal) -> Result<()> {
    let (before, files) = (node.lab.census(), temporary()?);
    let words = [&["bench", "--handlers", &node.handler], words].concat();
    let mut bench = tokio::process::Command::from(Loment::new(node.lab).command(&words));
    bench.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let bench = bench.spawn().context("start loment bench")?;
    let pid = bench.id().and_then(|pid| i32::try_from(pid).ok()).context("the pid of loment bench")?;
    let what = format!("{until:?} pods and running containers");
    let moment = eventually(&what, async || {
        let now = census(node).await?;
        Ok((now.0 >= until.0 && now.1 >= until.1).then_some(()))
    });
    moment.await?;
    kill(Pid::from_raw(pid), signal).context("interrupt loment bench")?;
    let output = tokio::time::timeout(patience(PATIENCE), bench.wait_with_output()).await;
    let output = output.context("loment bench does not end")?.context("wait for loment bench")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(128 + signal as i32), "it ended with {}: {said}", output.status);
    ensure!(output.stdout.is_empty(), "it printed {:?}", String::from_utf8_lossy(&output.stdout));
    ensure!(said.contains("interrupted"), "it said {said:?}");
    // By itself, and not by what this test's end removes.
    let (pods, _) = census(node).await?;
    ensure!(pods == 0, "{pods} pods are left");
    let left = node.lab.left_since(&before);
    ensure!(left.is_empty(), "left behind: {left:?}");
    let left: Vec<_> = temporary()?.difference(&files).cloned().collect();
    ensure!(left.is_empty(), "temporary files are left: {left:?}");
    Ok(())
}

/// The bench's temporary files.
fn temporary() -> Result<BTreeSet<String>> {
    let files = fs::read_dir(std::env::temp_dir()).context("read the directory of temporary files")?;
    let names = files.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    Ok(names.filter(|name| name.starts_with("loment-bench")).collect())
}

pub(crate) async fn interrupted_in_a_round_it_leaves_nothing(node: &Node<'_>) -> Result<()> {
    let words = ["--rounds", "1000", "--parallel", "0", "--idle", "0"];
    interrupted(node, &words, (1, 0), Signal::SIGINT).await?;
    interrupted(node, &words, (1, 1), Signal::SIGTERM).await
}

pub(crate) async fn interrupted_among_many_pods_it_leaves_nothing(node: &Node<'_>) -> Result<()> {
    let at_once = ["--rounds", "20", "--parallel", "12", "--idle", "0"];
    interrupted(node, &at_once, (3, 1), Signal::SIGINT).await?;
    let present = ["--rounds", "10", "--parallel", "0", "--idle", "0", "--present", "0,40"];
    interrupted(node, &present, (10, 5), Signal::SIGINT).await
}

pub(crate) async fn a_handler_that_is_not_there_is_refused_with_those_that_are(node: &Node<'_>) -> Result<()> {
    let said = Loment::new(node.lab).refused(&["bench", "--handlers", "loment,imagined"], "").await?;
    ensure!(said.contains("imagined") && said.contains(config::RUNC) && said.contains(config::HANDLER), "{said:?}");
    let said = Loment::new(node.lab).refused(&["bench", "--image", "imagined"], "").await?;
    ensure!(said.contains("image imagined is not on this machine"), "{said:?}");
    Ok(())
}

pub(crate) async fn every_figure_that_is_asked_for_is_there_for_every_handler(node: &Node<'_>) -> Result<()> {
    let before = node.lab.census();
    let directory = node.lab.directory("volumes", "bench")?;
    let (page, charts) = (directory.join("bench.html"), directory.join("charts"));
    let words =
        ["bench", "--rounds", "2", "--warmup", "1", "--containers", "2", "--seed", "7", "--seccomp", "-o", "json"];
    let more = ["--parallel", "1,2", "--present", "0,2", "--idle", "2"];
    let files = ["--html", &page.display().to_string(), "--svg", &charts.display().to_string()];
    let text = Loment::new(node.lab).within(WHOLE_RUN).ok(&[&words[..], &more, &files].concat()).await?;
    let report: Value = serde_json::from_str(&text).context("parse the report")?;
    ensure!(
        report["settings"]["seed"] == 7 && report["settings"]["baseline"] == config::RUNC,
        "{}",
        report["settings"]
    );
    check_phases(&report)?;
    for place in ["/at_once/0/wall", "/at_once/1/pod", "/present/1/phases/0/by_handler", "/cpu/by_handler"] {
        let found = report.pointer(place).and_then(Value::as_array).with_context(|| format!("find {place}"))?;
        for name in [config::HANDLER, config::RUNC] {
            let one =
                found.iter().find(|one| one["handler"] == name).with_context(|| format!("find {name} in {place}"))?;
            ensure!(one["figures"]["p50_us"].as_f64().is_some_and(|took| took > 0.0), "{place}: {one}");
        }
    }
    ensure!(report["at_once"][1]["pod"][0]["figures"]["count"] == 4, "two rounds of two pods: {}", report["at_once"]);
    for memory in report["memory"].as_array().context("memory")? {
        let (shim, private) = (&memory["median"]["shim_pss_kib"], &memory["median"]["shim_uss_kib"]);
        ensure!(private.as_u64() > Some(0) && shim.as_u64() >= private.as_u64(), "{memory}");
    }
    let traced = report["traces"].as_array().context("traces")?;
    ensure!(traced.iter().any(|step| step["part"] == "container, called"), "{traced:?}");
    ensure!(traced.iter().all(|step| step["handler"] == config::HANDLER), "{traced:?}");
    check_page(&fs::read_to_string(&page).context("read the page")?)?;
    ensure!(fs::read_dir(&charts).context("read the charts")?.count() == 6, "not all charts are there");
    fs::remove_dir_all(&directory).context("remove what was written")?;
    let left = node.lab.left_since(&before);
    ensure!(left.is_empty(), "left behind: {left:?}");
    Ok(())
}

/// Each phase has a sample of every round, or of every container of every round, and what is made by hand has its own.
fn check_phases(report: &Value) -> Result<()> {
    let phases = report["phases"].as_array().context("phases")?;
    ensure!(phases.len() == 7, "there are {} phases", phases.len());
    for phase in phases {
        let by_handler = phase["by_handler"].as_array().context("by_handler")?;
        let names: Vec<_> = by_handler.iter().filter_map(|one| one["handler"].as_str()).collect();
        ensure!(
            names == [config::HANDLER, config::RUNC, "limit"],
            "{}: {names:?}: {}",
            phase["phase"],
            report["limit"]
        );
        let name = phase["phase"].as_str().unwrap_or_default();
        let each = ["CreateContainer", "StartContainer", "ExecSync true", "StopContainer by kill"].contains(&name);
        for one in by_handler {
            let count = one["samples_us"].as_array().map_or(0, Vec::len);
            ensure!(count == if each { 4 } else { 2 }, "{name} of {} has {count} samples", one["handler"]);
            let has_ratio = one["ratio"]["median"].as_f64().is_some_and(|ratio| ratio > 0.0);
            ensure!(has_ratio == (one["handler"] != config::RUNC), "{name} of {}: {}", one["handler"], one["ratio"]);
        }
    }
    Ok(())
}

/// The page is complete in itself.
fn check_page(page: &str) -> Result<()> {
    ensure!(page.matches("<svg").count() == 6, "the page has {} charts", page.matches("<svg").count());
    ensure!(page.matches("<title id=").count() == 6, "a chart has no title");
    for word in ["src=", "href=", "url(", "<script", "@import"] {
        ensure!(!page.contains(word), "the page fetches something: {word}");
    }
    Ok(())
}
