//! `loment logs`: which lines, of which container, and for how long.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, Result, ensure};
use loment_integration::{
    loment::container_status,
    pod::{Node, eventually},
};
use serde_json::json;

use super::manifest::{COUNTED, Manifest, RUNS, container, wait_for};

pub(crate) async fn lines_are_chosen_by_attempt_time_number_and_bytes(node: &Node<'_>) -> Result<()> {
    let script = format!("{COUNTED}; echo first $n; echo second $n; echo third $n; [ $n = 1 ] && exit 1; {RUNS}");
    let pod = Manifest::new(node, "chosen")?.app("app", &script);
    let loment = pod.create(node).await?;
    loment
        .until("chosen", "the second attempt", |status| {
            container_status(status, "app")
                .is_ok_and(|app| app["restartCount"] == 1 && app["state"]["running"].is_object())
        })
        .await?;
    let logs = async |words: &[&str]| loment.ok(&[&["logs", "chosen"], words].concat()).await;
    eventually("the second attempt's lines", async || Ok((logs(&[]).await?.lines().count() == 3).then_some(())))
        .await?;
    ensure!(logs(&[]).await? == "first 2\nsecond 2\nthird 2\n", "{}", logs(&[]).await?);
    ensure!(logs(&["-p"]).await? == "first 1\nsecond 1\nthird 1\n", "{}", logs(&["-p"]).await?);
    ensure!(logs(&["--previous", "--tail=1", "-c", "app"]).await? == "third 1\n", "{}", logs(&["-p"]).await?);
    ensure!(logs(&["app", "--tail", "2"]).await? == "second 2\nthird 2\n", "{}", logs(&["--tail=2"]).await?);
    ensure!(logs(&["--limit-bytes=10"]).await? == "first 2\nse", "{}", logs(&["--limit-bytes=10"]).await?);
    let stamped = logs(&["--timestamps"]).await?;
    let times: Vec<&str> = stamped.lines().filter_map(|line| line.split_once(' ')).map(|(time, _)| time).collect();
    ensure!(times.len() == 3 && times.is_sorted() && times[0].ends_with('Z'), "{stamped}");
    let since = logs(&["--since-time", times[1]]).await?;
    ensure!(since == "second 2\nthird 2\n", "since {}: {since}", times[1]);
    ensure!(logs(&["--since=1h"]).await?.lines().count() == 3, "nothing is younger than an hour");
    ensure!(logs(&["--since-time=2100-01-01T00:00:00Z"]).await?.is_empty(), "something is of the future");
    loment.delete("chosen").await
}

pub(crate) async fn a_followed_log_goes_on_through_restarts_and_files_and_ends_with_the_pod(
    node: &Node<'_>,
) -> Result<()> {
    let script = format!("{COUNTED}; echo attempt $n; {}; echo end $n; [ $n = 2 ]", wait_for("end-$n"));
    let pod = Manifest::new(node, "followed")?.init("before", &wait_for("go")).app("app", &script);
    let loment = pod.create(node).await?;
    let mut child = loment.command(&["logs", "-f", "followed", "-c", "app"]).stdout(Stdio::piped()).spawn()?;
    let said = Arc::new(Mutex::new(String::new()));
    let (stdout, sink) = (child.stdout.take().context("its output")?, Arc::clone(&said));
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            *sink.lock().unwrap_or_else(PoisonError::into_inner) += &(line + "\n");
        }
    });
    let says = async |text: &str| {
        let now = || said.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let found = eventually(text, async || Ok((now() == text).then_some(()))).await;
        found.with_context(|| format!("it says {:?}", now()))
    };
    pod.touch("go")?;
    says("attempt 1\n").await?;
    pod.touch("end-1")?;
    says("attempt 1\nend 1\nattempt 2\n").await?;
    // Moved away and begun anew, as a rotation does.
    let status = container(node, "followed", "app").await?;
    fs::rename(&status.log_path, Path::new(&status.log_path).with_extension("old"))?;
    node.cri.reopen_container_log(&status.id).await?;
    pod.touch("end-2")?;
    says("attempt 1\nend 1\nattempt 2\nend 2\n").await?;
    let ended = eventually("the end of the log", async || Ok(child.try_wait()?)).await?;
    reader.join().ok().context("the reader")?;
    ensure!(ended.success(), "it ended with {ended}");
    // The log of a pod that is over is there as long as the pod is.
    let again = loment.ok(&["logs", "followed", "-f", "-c", "app"]).await?;
    ensure!(again == "end 2\n", "it says {again:?}");
    loment.delete("followed").await
}

pub(crate) async fn all_containers_of_selected_pods_are_shown_with_their_origin(node: &Node<'_>) -> Result<()> {
    let labelled = |name: &str| -> Result<String> {
        let pod =
            Manifest::new(node, name)?.init("before", "echo begin").app("one", "echo a; echo b").app("two", "seq 1 20");
        let mut value: serde_json::Value = serde_json::from_str(&pod.text())?;
        value["metadata"]["labels"] = json!({ "app": "shop" });
        Ok(value.to_string())
    };
    let loment = loment_integration::loment::Loment::new(node.lab);
    for name in ["first", "second"] {
        loment.create(&labelled(name)?).await?;
        loment.phase(name, "Succeeded").await?;
    }
    let all = loment.ok(&["logs", "-l", "app=shop", "--all-containers", "--prefix", "--tail=2"]).await?;
    let of = |pod: &str| {
        format!(
            "[pod/{pod}/before] begin\n[pod/{pod}/one] a\n[pod/{pod}/one] b\n[pod/{pod}/two] 19\n[pod/{pod}/two] 20\n"
        )
    };
    ensure!(all == of("first") + &of("second"), "it says {all}");
    let ten = loment.ok(&["logs", "-l", "app=shop", "-c", "two"]).await?;
    ensure!(ten.lines().count() == 20, "of each there are ten lines: {ten}");
    let followed = loment.ok(&["logs", "-f", "first", "--all-containers"]).await?;
    ensure!(followed.lines().count() == 23, "it says {followed}");
    let many = loment.refused(&["logs", "-f", "-l", "app=shop", "--all-containers"], "").await?;
    let said = "error: you are attempting to follow 6 log streams, but maximum allowed concurrency is 5, use \
                --max-log-requests to increase the limit\n";
    ensure!(many == said, "{many:?}");
    let none = loment.run(&["logs", "-l", "app=none"], "").await?;
    ensure!(none.code == 0 && none.stderr == "No resources found in default namespace.\n", "{none:?}");
    loment.ok(&["delete", "pod", "first", "second"]).await.map(drop)
}

pub(crate) async fn a_container_without_a_log_is_told_of_in_kubectls_words(node: &Node<'_>) -> Result<()> {
    let pod = Manifest::new(node, "silent")?
        .init("before", &format!("echo here; {}", wait_for("go")))
        .app("a", RUNS)
        .app("b", &format!("echo running; {RUNS}"))
        .annotation("kubectl.kubernetes.io/default-container", "b");
    let loment = pod.create(node).await?;
    let waiting = loment.refused(&["logs", "silent"], "").await?;
    let said = |rest: &str| format!("Error from server (BadRequest): {rest}\n");
    let expected = said("container \"b\" in pod \"silent\" is waiting to start: PodInitializing");
    ensure!(waiting == expected, "{waiting:?}");
    let other = loment.run(&["logs", "silent", "--all-containers", "--ignore-errors"], "").await?;
    ensure!(other.code == 0 && other.stdout == "here\n" && other.stderr.contains(&expected), "{other:?}");
    let unknown = loment.refused(&["logs", "silent", "-c", "c"], "").await?;
    ensure!(unknown == "error: container c is not valid for pod silent\n", "{unknown:?}");
    pod.touch("go")?;
    loment.phase("silent", "Running").await?;
    eventually("a line", async || {
        let output = loment.run(&["logs", "silent"], "").await?;
        ensure!(output.code == 0 && output.stderr.is_empty(), "{output:?}");
        Ok((output.stdout == "running\n").then_some(()))
    })
    .await?;
    let previous = loment.refused(&["logs", "silent", "-p"], "").await?;
    ensure!(previous == said("previous terminated container \"b\" in pod \"silent\" not found"), "{previous:?}");
    loment.delete("silent").await
}
