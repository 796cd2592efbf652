//! The sandbox of a pod that the shim runs, the pod as a whole, and what is written down of it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use loment_integration::{
    loment::container_status,
    pod::{Node, PodBuilder, eventually, shell},
};
use loment_shim::pod::{api::StatusResponse, client::PodShim};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

use super::manifest::{Manifest, RUNS, sandbox, wait_for};

/// The shim of the pod with this sandbox.
pub(crate) async fn shim(node: &Node<'_>, sandbox: &str) -> Result<PodShim> {
    PodShim::connect(&node.lab.socket(), "k8s.io", sandbox).await.context("connect to the pod's shim")
}

async fn ask(node: &Node<'_>, sandbox: &str) -> Result<StatusResponse> {
    shim(node, sandbox).await?.status().await.context("ask for the status")
}

async fn end_holder(node: &Node<'_>, pod: &str) -> Result<i32> {
    let holder = ask(node, &sandbox(node, pod).await?).await?.sandbox_pid;
    ensure!(holder > 0, "the pod has no holder");
    kill(Pid::from_raw(holder), Signal::SIGKILL).context("kill the holder")?;
    Ok(holder)
}

pub(crate) async fn sandbox_8_a_pod_whose_sandbox_was_lost_begins_anew_in_another_with_its_volumes_and_address(
    node: &Node<'_>,
) -> Result<()> {
    let pod = Manifest::new(node, "reborn")?
        .restart_policy("Always")
        .init("first", "echo first >> /shared/order; echo $(hostname) > /kept/name")
        .init("second", "echo second >> /shared/order")
        .app("app", &format!("echo app on $(cat /kept/name) >> /shared/order; {RUNS}"))
        .app("other", RUNS)
        .empty_dir("kept", "first", json!({}))
        .mount("kept", "app");
    let loment = pod.create(node).await?;
    let before = loment.phase("reborn", "Running").await?;
    let round = ["first", "second", "app on reborn"];
    eventually("the first round", async || Ok((pod.lines("order") == round).then_some(()))).await?;
    let old = end_holder(node, "reborn").await?;
    eventually("the second round", async || Ok((pod.lines("order") == [round, round].concat()).then_some(()))).await?;
    let after = loment.phase("reborn", "Running").await?;
    ensure!(after["podIP"] == before["podIP"], "its address was {} and is {}", before["podIP"], after["podIP"]);
    let status = ask(node, &sandbox(node, "reborn").await?).await?;
    ensure!(status.sandbox_pid > 0 && status.sandbox_pid != old, "the holder is {}", status.sandbox_pid);
    // Both apps are in the namespaces of the new holder.
    for kind in ["ipc", "uts", "net"] {
        let of = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/{kind}")).context("look at a namespace");
        let holder = of(status.sandbox_pid)?;
        for member in status.members.iter().filter(|member| ["app", "other"].contains(&member.name.as_str())) {
            ensure!(of(member.pid)? == holder, "{} is in another {kind} namespace", member.name);
        }
    }
    let said = loment.ok(&["exec", "reborn", "-c", "other", "--", "hostname"]).await?;
    ensure!(said == "reborn\n", "its name is {said:?}");
    ensure!(container_status(&after, "app")?["restartCount"] == 1, "the status is {after}");
    let story = loment.ok(&["events", "reborn"]).await?;
    ensure!(story.contains("sandbox"), "what happened is {story}");
    loment.delete("reborn").await
}

pub(crate) async fn sandbox_8_a_sandbox_that_takes_its_processes_with_it_is_made_again(node: &Node<'_>) -> Result<()> {
    let pod = Manifest::new(node, "shared-pids")?
        .restart_policy("Always")
        .share_pids()
        .init("init", "echo init >> /shared/order")
        .sidecar("sidecar", RUNS)
        .app("app", &format!("echo app >> /shared/order; {RUNS}"));
    let loment = pod.create(node).await?;
    let round = ["init", "app"];
    eventually("the first round", async || Ok((pod.lines("order") == round).then_some(()))).await?;
    // With it the kernel ends every process of the namespace.
    end_holder(node, "shared-pids").await?;
    eventually("the second round", async || Ok((pod.lines("order") == [round, round].concat()).then_some(()))).await?;
    let all_run = |status: &Value| {
        ["sidecar", "app"]
            .iter()
            .all(|name| container_status(status, name).is_ok_and(|container| container["state"]["running"].is_object()))
    };
    loment.until("shared-pids", "both to run", all_run).await?;
    let holder = ask(node, &sandbox(node, "shared-pids").await?).await?.sandbox_pid;
    let first = loment.ok(&["exec", "shared-pids", "-c", "app", "--", "cat", "/proc/1/comm"]).await?;
    ensure!(holder > 0 && first == "pause\n", "the first process is {first:?}");
    loment.delete("shared-pids").await
}

pub(crate) async fn sandbox_8_under_never_a_pod_whose_sandbox_was_lost_ends(node: &Node<'_>) -> Result<()> {
    let pod = Manifest::new(node, "lost")?.restart_policy("Never").app("app", RUNS);
    let loment = pod.create(node).await?;
    loment.phase("lost", "Running").await?;
    end_holder(node, "lost").await?;
    let ended =
        |status: &Value| container_status(status, "app").is_ok_and(|app| app["state"]["terminated"].is_object());
    let status = loment.until("lost", "its end", ended).await?;
    ensure!(["Failed", "Succeeded"].iter().any(|phase| status["phase"] == *phase), "the status is {status}");
    loment.delete("lost").await
}

/// A manifest for a pod that is made by hand.
fn by_hand(name: &str, containers: &[&str]) -> String {
    let containers: Vec<_> = containers.iter().map(|name| json!({ "name": name, "image": "busybox" })).collect();
    json!({ "metadata": { "name": name }, "spec": { "containers": containers } }).to_string()
}

/// A pod that the shim runs and whose files are in a directory of its own: it has the pod's record, as `loment create` makes
/// it.
pub(crate) fn kept<'a>(node: &'a Node<'_>, name: &str, manifest: &str, directory: &Path) -> Result<PodBuilder<'a>> {
    let pod = node.pod(name);
    let mut manifest: Value = serde_json::from_str(manifest)?;
    manifest["metadata"]["uid"] = json!(pod.uid());
    fs::write(directory.join("pod.json"), manifest.to_string()).context("write a record")?;
    Ok(pod.annotation("io.loment.pod.manifest", &manifest.to_string()))
}

pub(crate) async fn the_processes_of_a_pod_and_its_address_are_told(node: &Node<'_>) -> Result<()> {
    let manifest = by_hand("told-pids", &["one", "two"]);
    let pod = node.pod("told-pids").annotation("io.loment.pod.manifest", &manifest).run().await?;
    let status = ask(node, &pod.id).await?;
    ensure!((status.sandbox_pid > 0) == node.has_pause(), "it is {status}");
    ensure!(status.members.iter().all(|member| member.pid == 0), "it is {status}");
    ensure!(status.address == pod.address().await?, "its address is {}", status.address);
    pod.start(shell("one", RUNS)).await?;
    let two = pod.start(shell("two", RUNS)).await?;
    let status = eventually("both to run", async || {
        let status = ask(node, &pod.id).await?;
        Ok(status.members.iter().all(|member| member.pid > 0).then_some(status))
    })
    .await?;
    ensure!(status.members[1].pid == two.pid().await?, "its members are {:?}", status.members);
    pod.remove().await
}

pub(crate) async fn a_held_pod_begins_by_one_message_when_its_maker_says_so(node: &Node<'_>) -> Result<()> {
    let volume = node.lab.directory("volumes", "held-back")?;
    let manifest = by_hand("held-back", &["one", "two"]);
    let pod = kept(node, "held-back", &manifest, &volume)?;
    let pod = pod.annotation("io.loment.pod.held-in", &volume.display().to_string()).run().await?;
    let script = |name: &str| format!("touch /data/{name}; {RUNS}");
    for name in ["one", "two"] {
        pod.start(shell(name, &script(name)).volume(&volume, "/data")).await?;
    }
    let phase = ask(node, &pod.id).await?.status;
    ensure!(phase.contains("Pending") && !volume.join("begun").exists(), "it has begun: {phase}");
    shim(node, &pod.id).await?.start().await?;
    ensure!(volume.join("begun").exists(), "that it has begun is not on the disk");
    eventually("both to run", async || Ok((volume.join("one").exists() && volume.join("two").exists()).then_some(())))
        .await?;
    shim(node, &pod.id).await?.start().await?;
    pod.remove().await
}

pub(crate) async fn a7_a_second_container_of_a_name_takes_over_from_the_first_and_leaves_the_others_alone(
    node: &Node<'_>,
) -> Result<()> {
    let volume = node.lab.directory("volumes", "successor")?;
    let manifest = by_hand("successor", &["app", "other"]);
    let pod = node.pod("successor").annotation("io.loment.pod.manifest", &manifest).run().await?;
    let script = |name: &str| {
        format!("echo {name} >> /data/order; trap 'echo {name} ends >> /data/order; exit 0' TERM; sleep 1000 & wait")
    };
    let old = pod.create(shell("app", &script("old")).volume(&volume, "/data")).await?;
    let other = pod.start(shell("other", RUNS)).await?;
    old.start().await?;
    let lines = || fs::read_to_string(volume.join("order")).unwrap_or_default();
    eventually("the old one", async || Ok((lines() == "old\n").then_some(()))).await?;
    let other_pid = other.pid().await?;
    let new = pod.start(shell("app", &script("new")).attempt(1).volume(&volume, "/data")).await?;
    eventually("the new one", async || Ok((lines() == "old\nold ends\nnew\n").then_some(()))).await?;
    let ended = old.exited().await?;
    ensure!(ended.exit_code == 0, "the old one ended with {}", ended.exit_code);
    ensure!(new.exec(&["echo", "here"]).await?.stdout == "here\n", "no exec in the new one");
    ensure!(other.pid().await? == other_pid, "the other one was started again");
    let status: Value = serde_json::from_str(&ask(node, &pod.id).await?.status)?;
    ensure!(container_status(&status, "app")?["restartCount"] == 1, "the status is {status}");
    old.remove().await?;
    ensure!(new.exec(&["echo", "here"]).await?.stdout == "here\n", "the new one went with the old one");
    pod.remove().await
}

pub(crate) async fn status_and_timeline_are_written_into_the_directory_of_the_pod(node: &Node<'_>) -> Result<()> {
    let directory = node.lab.directory("pods", "written")?;
    let manifest = by_hand("written", &["app"]);
    let pod = kept(node, "written", &manifest, &directory)?
        .annotation("io.loment.pod.directory", &directory.display().to_string())
        .run()
        .await?;
    let app = pod.start(shell("app", &wait_for("go").replace("shared", "data")).volume(&directory, "/data")).await?;
    let phase = |phase: &str| read(&directory.join("status.json")).is_some_and(|status| status["phase"] == phase);
    eventually("Running on disk", async || Ok(phase("Running").then_some(()))).await?;
    let status = read(&directory.join("status.json")).context("the status")?;
    let id = &container_status(&status, "app")?["containerID"];
    ensure!(*id == format!("containerd://{}", app.id), "its id is {id}");
    let told = shim(node, &pod.id).await?.timeline(0, std::time::Duration::ZERO).await?.entries;
    let lines = || fs::read_to_string(directory.join("timeline.jsonl")).unwrap_or_default();
    eventually("all that is told", async || Ok((lines().lines().count() >= told.len()).then_some(()))).await?;
    for (line, entry) in lines().lines().zip(&told) {
        let line: Value = serde_json::from_str(line)?;
        ensure!(line["index"] == entry.index && line["reason"] == entry.reason, "{line} is not {entry}");
        ensure!(
            line["at_unix_nanos"] == entry.at_unix_nanos && line["message"] == entry.message,
            "{line} is not {entry}"
        );
    }
    fs::write(directory.join("go"), "")?;
    pod.remove().await
}

fn read(path: &Path) -> Option<Value> {
    serde_json::from_str(&fs::read_to_string(path).ok()?).ok()
}

pub(crate) async fn a_pod_that_comes_back_with_its_directory_counts_its_restarts_on(node: &Node<'_>) -> Result<()> {
    let directory = node.lab.directory("pods", "resumed")?;
    let status = json!({
        "phase": "Running",
        "startTime": "2020-01-01T00:00:00Z",
        "containerStatuses": [{
            "name": "app", "ready": true, "restartCount": 4, "image": "busybox", "imageID": "",
            "state": { "running": { "startedAt": "2020-01-01T00:00:00Z" } }, "lastState": {},
        }],
    });
    fs::write(directory.join("status.json"), status.to_string())?;
    fs::write(directory.join("timeline.jsonl"), "{\"index\":41}\n")?;
    let pod = kept(node, "resumed", &by_hand("resumed", &["app"]), &directory)?
        .annotation("io.loment.pod.directory", &directory.display().to_string())
        .run()
        .await?;
    pod.start(shell("app", RUNS)).await?;
    let status: Value = eventually("its start", async || {
        let status: Value = serde_json::from_str(&ask(node, &pod.id).await?.status)?;
        Ok((status["phase"] == "Running").then_some(status))
    })
    .await?;
    ensure!(status["startTime"] == "2020-01-01T00:00:00Z", "the status is {status}");
    ensure!(container_status(&status, "app")?["restartCount"] == 5, "the status is {status}");
    let told = shim(node, &pod.id).await?.timeline(0, std::time::Duration::ZERO).await?.entries;
    ensure!(told.first().is_some_and(|entry| entry.index == 42), "the first entry is {:?}", told.first());
    pod.remove().await
}

pub(crate) async fn i14_a_deadline_that_is_changed_is_taken_over(node: &Node<'_>) -> Result<()> {
    let pod = Manifest::new(node, "sooner")?.restart_policy("Always").app("app", RUNS);
    let loment = pod.create(node).await?;
    loment.phase("sooner", "Running").await?;
    let id = sandbox(node, "sooner").await?;
    let mut changed = loment.get("sooner").await?;
    changed["spec"]["activeDeadlineSeconds"] = json!(1);
    shim(node, &id).await?.update(&changed.to_string()).await?;
    let status = loment.phase("sooner", "Failed").await?;
    ensure!(status["reason"] == "DeadlineExceeded", "the status is {status}");
    let refused = shim(node, &id).await?.update(&by_hand("another", &["app"])).await;
    ensure!(refused.is_err_and(|error| error.to_string().contains("runs another one")), "another pod is taken");
    loment.delete("sooner").await
}

pub(crate) async fn a_pod_of_a_client_without_a_directory_leaves_nothing_on_disk(node: &Node<'_>) -> Result<()> {
    let absent: PathBuf = node.lab.directory("pods", "parent")?.join("absent");
    let pod = node
        .pod("absent")
        .annotation("io.loment.pod.manifest", &by_hand("absent", &["app"]))
        .annotation("io.loment.pod.directory", &absent.display().to_string())
        .run()
        .await?;
    pod.start(shell("app", RUNS)).await?;
    eventually("its start", async || {
        let status: Value = serde_json::from_str(&ask(node, &pod.id).await?.status)?;
        Ok((status["phase"] == "Running").then_some(()))
    })
    .await?;
    shim(node, &pod.id).await?.terminate(None).await?;
    ensure!(!absent.exists(), "a directory was made");
    pod.remove().await
}

pub(crate) async fn an_annotation_that_names_a_directory_of_the_machine_fails_the_sandbox_and_nothing_is_written_there(
    node: &Node<'_>,
) -> Result<()> {
    let victim = node.lab.directory("pods", "victim")?;
    let others = node.lab.directory("pods", "others")?;
    fs::write(others.join("pod.json"), json!({ "metadata": { "uid": "others" } }).to_string())?;
    for (key, directory, reason) in [
        ("directory", &victim, "pod.json"),
        ("held-in", &victim, "pod.json"),
        ("directory", &others, "is not the record of this pod"),
        ("logs", &victim, "is not named"),
    ] {
        let pod = node.pod("hostile");
        let mut manifest: Value = serde_json::from_str(&by_hand("hostile", &["app"]))?;
        manifest["metadata"]["uid"] = json!(pod.uid());
        let pod = pod
            .annotation("io.loment.pod.manifest", &manifest.to_string())
            .annotation(&format!("io.loment.pod.{key}"), &directory.display().to_string());
        let Err(error) = pod.run().await else { bail!("a sandbox was made with {key} {}", directory.display()) };
        let text = format!("{error:#}");
        ensure!(text.contains(&format!("io.loment.pod.{key}")) && text.contains(reason), "of {key} it says {text}");
    }
    let left = |directory: &Path| fs::read_dir(directory).map(Iterator::count);
    ensure!(left(&victim)? == 0 && left(&others)? == 1, "something was written");
    fs::remove_dir_all(victim)?;
    Ok(fs::remove_dir_all(others)?)
}
