//! The command for people: `loment create`, `get`, `logs`, `delete`, and how they refuse.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use loment_integration::{
    loment::{Loment, container_status},
    pod::{Node, eventually, shell},
    process,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;

use super::manifest::{Manifest, RUNS, example, sandbox, wait_for};

pub(crate) async fn the_manifest_with_three_busybox_containers_runs_unchanged(node: &Node<'_>) -> Result<()> {
    let loment = Loment::new(node.lab);
    let said = loment.ok(&["create", "-f", &example("busybox.yaml")]).await?;
    ensure!(said == "pod/busybox created\n", "create says {said:?}");
    loment.phase("busybox", "Running").await?;
    eventually("three running containers", async || {
        let row = loment.ok(&["get", "pod", "busybox", "--no-headers"]).await?;
        let columns: Vec<&str> = row.split_whitespace().take(4).collect();
        Ok((columns == ["busybox", "3/3", "Running", "0"]).then_some(()))
    })
    .await?;
    let root = "bin\ndev\netc\nhome\nproc\nroot\nsys\ntmp\nusr\nvar\n";
    for (container, expected) in
        [("busybox1", root), ("busybox2", "Hello world\n"), ("busybox3", "this is third container\n")]
    {
        eventually("what the container says", async || {
            let text = loment.ok(&["logs", "busybox", "-c", container]).await?;
            ensure!(expected.starts_with(&text), "{container} says {text:?}");
            Ok((text == expected).then_some(()))
        })
        .await?;
    }
    // `sleep` as the first process takes no signal but SIGKILL.
    loment.ok(&["delete", "pod", "busybox", "--now"]).await.map(drop)
}

pub(crate) async fn the_manifest_with_a_web_server_runs_unchanged_and_other_pods_reach_it(
    node: &Node<'_>,
) -> Result<()> {
    let loment = Loment::new(node.lab);
    loment.ok(&["create", "-f", &example("http-go-pod.yaml")]).await?;
    let status = loment.phase("http-go", "Running").await?;
    let address = status["podIP"].as_str().context("the pod's address")?.to_owned();
    let client = node.pod("client").run().await?;
    let ask = format!("until wget -q -O - http://{address}:8080/; do sleep 0.05; done 2>/dev/null");
    let page = client.output_of(shell("client", &ask)).await?;
    ensure!(page.contains("http-go"), "the page is {page:?}");
    client.remove().await?;
    loment.ok(&["delete", "pod", "http-go", "--now"]).await.map(drop)
}

pub(crate) async fn the_demonstration_pod_succeeds(node: &Node<'_>) -> Result<()> {
    let loment = Loment::new(node.lab);
    loment.ok(&["create", "-f", &example("demo.yaml")]).await?;
    let story = loment.ok(&["events", "demo", "--timeline", "--follow"]).await?;
    let status = loment.phase("demo", "Succeeded").await?;
    ensure!(container_status(&status, "third-time-lucky")?["restartCount"] == 2, "the status is {status}");
    ensure!(story.contains("back-off 400ms"), "what happened is {story}");
    let said = loment.ok(&["logs", "demo", "-c", "app"]).await?;
    ensure!(said == "localhost:8080 says: written by an init container\n".repeat(3), "the app says {said:?}");
    let said = loment.ok(&["logs", "demo", "-c", "third-time-lucky"]).await?;
    ensure!(said == "attempt 3 finds these traces of earlier ones: []\n", "the third attempt says {said:?}");
    loment.delete("demo").await
}

pub(crate) async fn an_unknown_field_is_named_with_its_place_and_what_was_meant(node: &Node<'_>) -> Result<()> {
    let loment = Loment::new(node.lab);
    let file = node.lab.directory("manifests", "unknown")?.join("pod.yaml");
    let text = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: unknown\nspec:\n  containers:\n  - name: app\n    \
                imgae: busybox\n    image: busybox\n  restartpolicy: Never\n";
    fs::write(&file, text)?;
    let file = file.display().to_string();
    let said = loment.refused(&["create", "-f", &file], "").await?;
    let expected = [
        format!("{file}:8:5: unknown field \"spec.containers[0].imgae\" (did you mean \"image\"?)"),
        format!("{file}:10:3: unknown field \"spec.restartpolicy\" (did you mean \"restartPolicy\"?)"),
    ];
    for line in expected {
        ensure!(said.contains(&line), "{line:?} is not in {said:?}");
    }
    let gone = loment.refused(&["get", "pod", "unknown"], "").await?;
    ensure!(gone.contains("not found"), "get says {gone:?}");
    Ok(())
}

pub(crate) async fn of_a_file_with_one_bad_pod_none_is_made(node: &Node<'_>) -> Result<()> {
    let loment = Loment::new(node.lab);
    let good = Manifest::new(node, "good")?.app("app", RUNS).text();
    let bad = Manifest::new(node, "bad")?
        .app_with("app", json!({ "volumeMounts": [{ "name": "nowhere", "mountPath": "/d" }] }))
        .text();
    let said = loment.refused(&["create", "-f", "-"], &format!("{good}\n---\n{bad}\n")).await?;
    ensure!(said.contains("spec.containers[0].volumeMounts[0].name: Not found: \"nowhere\""), "create says {said:?}");
    let gone = loment.refused(&["get", "pod", "good"], "").await?;
    ensure!(gone.contains("not found"), "get says {gone:?}");
    Ok(())
}

pub(crate) async fn a_bad_manifest_in_the_annotation_fails_the_sandbox_and_leaves_nothing(
    node: &Node<'_>,
) -> Result<()> {
    for (manifest, reason) in [
        ("{ no manifest", "line 1"),
        (r#"{"kind":"Pod","metadata":{"name":"a"},"spec":{"containers":"none"}}"#, "expected a sequence"),
        (r#"{"kind":"Pod","metadata":{"name":"a"},"spec":{"containers":[]}}"#, "spec.containers"),
        (
            r#"{"kind":"Pod","metadata":{"name":"a"},"spec":{"restartPolicy":"Sometimes","containers":[{"name":"a"}]}}"#,
            "Sometimes",
        ),
    ] {
        let pod = node.pod("annotated").annotation("io.loment.pod.manifest", manifest).run().await;
        let Err(error) = pod else { bail!("a sandbox was made of {manifest}") };
        let text = format!("{error:#}");
        ensure!(text.contains("io.loment.pod.manifest") && text.contains(reason), "of {manifest} it says {text}");
    }
    Ok(())
}

pub(crate) async fn a_pod_with_an_unknown_capability_is_refused_and_leaves_nothing(node: &Node<'_>) -> Result<()> {
    let loment = Loment::new(node.lab);
    let flying = json!({ "securityContext": { "capabilities": { "add": ["FLYING"] } } });
    let pod = Manifest::new(node, "flying")?.sidecar("sidecar", RUNS).app_with("app", flying);
    let said = loment.refused(&["create", "-f", "-"], &pod.text()).await?;
    ensure!(said.contains("FLYING"), "create says {said:?}");
    let gone = loment.refused(&["get", "pod", "flying"], "").await?;
    ensure!(gone.contains("not found"), "get says {gone:?}");
    Ok(())
}

pub(crate) async fn a_pod_whose_program_does_not_exist_is_refused_and_leaves_nothing(node: &Node<'_>) -> Result<()> {
    let loment = Loment::new(node.lab);
    let missing = json!({ "command": ["/no/such/program"] });
    let pod = Manifest::new(node, "missing")?.sidecar("sidecar", RUNS).app("good", RUNS).app_with("bad", missing);
    let said = loment.refused(&["create", "-f", "-"], &pod.text()).await?;
    ensure!(said.contains("container \"bad\""), "create says {said:?}");
    ensure!(said.contains("/no/such/program") && said.contains("no such file"), "create says {said:?}");
    let gone = loment.refused(&["get", "pod", "missing"], "").await?;
    ensure!(gone.contains("not found"), "get says {gone:?}");
    Ok(())
}

pub(crate) async fn a_pod_of_a_name_that_exists_is_refused_and_the_first_one_lives_on(node: &Node<'_>) -> Result<()> {
    let pod = Manifest::new(node, "twice")?.app("app", RUNS);
    let loment = pod.create(node).await?;
    let said = loment.refused(&["create", "-f", "-"], &pod.text()).await?;
    ensure!(said.contains("(AlreadyExists)"), "create says {said:?}");
    loment.phase("twice", "Running").await?;
    loment.delete("twice").await
}

pub(crate) async fn delete_stops_the_app_before_the_sidecar_and_removes_everything(node: &Node<'_>) -> Result<()> {
    let polite = |name: &str| {
        format!("trap 'echo {name} >> /shared/stopped; exit 0' TERM; touch /shared/{name}; sleep 1000 & wait")
    };
    let pod = Manifest::new(node, "order")?
        .restart_policy("Always")
        .sidecar("sidecar", &polite("sidecar"))
        .app("app", &polite("app"));
    let loment = pod.create(node).await?;
    eventually("both traps", async || Ok((pod.has("sidecar") && pod.has("app")).then_some(()))).await?;
    let said = loment.ok(&["delete", "pod", "order"]).await?;
    ensure!(said == "pod \"order\" deleted from default namespace\n", "delete says {said:?}");
    ensure!(pod.lines("stopped") == ["app", "sidecar"], "they stopped as {:?}", pod.lines("stopped"));
    let gone = loment.refused(&["get", "pod", "order"], "").await?;
    ensure!(gone.contains("(NotFound)"), "get says {gone:?}");
    Ok(())
}

pub(crate) async fn a_pod_is_deleted_while_its_init_container_runs(node: &Node<'_>) -> Result<()> {
    let pod = Manifest::new(node, "early")?
        .init("init", &format!("trap 'echo asked >> /shared/order; exit 0' TERM; touch /shared/up; {}", wait_for("go")))
        .app("app", "echo app >> /shared/order");
    let loment = pod.create(node).await?;
    eventually("the trap", async || Ok(pod.has("up").then_some(()))).await?;
    loment.delete("early").await?;
    ensure!(pod.lines("order") == ["asked"], "they ran as {:?}", pod.lines("order"));
    Ok(())
}

pub(crate) async fn a_pod_whose_shim_was_killed_is_deleted_completely(node: &Node<'_>) -> Result<()> {
    let pod = Manifest::new(node, "orphaned")?.sidecar("sidecar", RUNS).app("app", RUNS);
    let loment = pod.create(node).await?;
    loment.phase("orphaned", "Running").await?;
    kill(shim_of(&sandbox(node, "orphaned").await?)?, Signal::SIGKILL).context("kill the shim")?;
    // containerd notices by itself and asks for the clean-up.
    eventually("an unknown state", async || {
        let row = loment.ok(&["get", "pod", "orphaned", "--no-headers"]).await?;
        Ok((row.split_whitespace().nth(2) == Some("Unknown")).then_some(()))
    })
    .await?;
    loment.delete("orphaned").await?;
    let sockets = fs::read_dir("/run/containerd/s").into_iter().flatten().count();
    ensure!(sockets == 0, "{sockets} sockets are left");
    Ok(())
}

/// The shim of a sandbox, among the processes of this lab.
pub(crate) fn shim_of(sandbox: &str) -> Result<Pid> {
    process::shim_of(sandbox).map(Pid::from_raw).with_context(|| format!("find the shim of sandbox {sandbox}"))
}

pub(crate) async fn delete_of_a_pod_that_takes_no_signal_ends_with_its_grace(node: &Node<'_>) -> Result<()> {
    let pod = Manifest::new(node, "deaf")?.app("app", "trap '' TERM; touch /shared/up; while :; do sleep 0.1; done");
    let loment = pod.create(node).await?;
    eventually("the trap", async || Ok(pod.has("up").then_some(()))).await?;
    let since = std::time::Instant::now();
    loment.ok(&["delete", "pod", "deaf", "--grace-period=1"]).await?;
    ensure!(since.elapsed() >= Duration::from_secs(1), "it had no grace");
    Ok(())
}
