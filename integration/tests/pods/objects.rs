//! The pod as an object, as kubectl has it: get, describe, annotate, label, wait, events, apply, replace, run, why,
//! timeline and explain against a real containerd.

use std::{fs, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, ensure};
use loment_integration::{
    loment::{Loment, container_status},
    pod::{Node, eventually},
    programs,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};

use super::command::shim_of;
use super::manifest::{COUNTED, Manifest, RUNS, sandbox, wait_for};

/// What a command prints while it runs. It ends with this.
struct Printing {
    lines: Lines<BufReader<tokio::process::ChildStdout>>,
    child: tokio::process::Child,
}

impl Printing {
    fn begin(node: &Node<'_>, words: &[&str]) -> Result<Self> {
        let mut command = tokio::process::Command::from(node.lab.command(programs::COMMAND));
        command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn().context("run loment")?;
        let stdout = child.stdout.take().context("the standard output of loment")?;
        Ok(Self { lines: BufReader::new(stdout).lines(), child })
    }

    /// Waits for a line that has all these words.
    async fn line(&mut self, words: &[&str]) -> Result<String> {
        let mut seen = Vec::new();
        let found = async {
            while let Some(line) = self.lines.next_line().await? {
                let here: Vec<&str> = line.split_whitespace().collect();
                if words.iter().all(|word| here.contains(word)) {
                    return Ok(line);
                }
                seen.push(line);
            }
            anyhow::bail!("the command ended")
        };
        let found = tokio::time::timeout(loment_integration::patience(Duration::from_secs(30)), found).await;
        let found = found.unwrap_or_else(|_| Err(anyhow::anyhow!("it was not printed")));
        found.with_context(|| format!("wait for a line with {words:?} after {seen:#?}"))
    }

    async fn end(mut self) -> Result<()> {
        self.child.kill().await.context("end loment")
    }
}

pub(crate) async fn s12_get_prints_a_pod_in_every_form(node: &Node<'_>) -> Result<()> {
    let pod = Manifest::new(node, "forms")?.sidecar("side", RUNS).app("app", RUNS);
    let loment = pod.create(node).await?;
    loment.ok(&["label", "pod", "forms", "app=web", "example.org/tier=front"]).await?;
    loment.ok(&["wait", "pod/forms", "--for=condition=Ready"]).await?;
    for (words, expected) in [
        (vec!["get", "pods", "-o", "name"], "pod/forms\n"),
        (vec!["get", "pod/forms", "-o", "jsonpath={.status.phase} {.metadata.labels.app}"], "Running web"),
        (vec!["get", "po", "-o", "jsonpath={.items[*].spec.containers[?(@.name=='app')].image}"], "busybox"),
        (
            vec!["get", "pods", "-o", "custom-columns=NAME:.metadata.name,PHASE:status.phase,NO:.spec.no"],
            "NAME    PHASE     NO\nforms   Running   <none>\n",
        ),
        (vec!["get", "pods", "-l", "app in (web,db),!old", "-o", "name"], "pod/forms\n"),
        (vec!["get", "pods", "-l", "app!=web", "-o", "name"], ""),
        (
            vec!["get", "pods", "--field-selector", "status.phase=Running,metadata.name=forms", "-o", "name"],
            "pod/forms\n",
        ),
        (vec!["get", "pods", "--field-selector", "status.phase!=Running", "-o", "name"], ""),
        (vec!["get", "pod", "nowhere", "--ignore-not-found"], ""),
    ] {
        let said = loment.ok(&words).await?;
        ensure!(said == expected, "loment {} says {said:?}", words.join(" "));
    }
    let wide = loment.ok(&["get", "pods", "-A", "-o", "wide", "--show-labels", "-L", "example.org/tier"]).await?;
    let header: Vec<&str> =
        wide.lines().next().unwrap_or_default().split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
    let columns = [
        "NAMESPACE",
        "NAME",
        "READY",
        "STATUS",
        "RESTARTS",
        "AGE",
        "IP",
        "NODE",
        "NOMINATED NODE",
        "READINESS GATES",
        "TIER",
        "LABELS",
    ];
    ensure!(header == columns, "the header is {header:?}");
    ensure!(
        wide.contains("2/2") && wide.contains("front") && wide.contains("app=web,example.org/tier=front"),
        "{wide}"
    );
    let yaml = loment.ok(&["get", "pod", "forms", "-o", "yaml"]).await?;
    for line in
        ["apiVersion: v1", "kind: Pod", "  generation: 1", "    app: web", "  phase: Running", "  qosClass: BestEffort"]
    {
        ensure!(yaml.lines().any(|one| one == line), "{line:?} is not in:\n{yaml}");
    }
    let some = loment.run(&["get", "pod", "forms", "nowhere", "-o", "name"], "").await?;
    ensure!(
        some.code == 1 && some.stdout == "pod/forms\n",
        "of one that is there and one that is not it says {some:?}"
    );
    ensure!(some.stderr == "Error from server (NotFound): pods \"nowhere\" not found\n", "it says {:?}", some.stderr);
    loment.delete("forms").await?;
    let none = loment.run(&["get", "pods"], "").await?;
    ensure!((none.code, none.stderr.as_str()) == (0, "No resources found in default namespace.\n"), "it says {none:?}");
    Ok(())
}

pub(crate) async fn s12_pods_are_sorted_by_a_field(node: &Node<'_>) -> Result<()> {
    let loment = Loment::new(node.lab);
    for (name, order) in [("sort-10", "b"), ("sort-9", "a")] {
        Manifest::new(node, name)?.annotation("order", order).app("app", RUNS).create(node).await?;
    }
    for (path, expected) in [
        (".metadata.name", "pod/sort-9\npod/sort-10\n"),
        ("{.metadata.annotations.order}", "pod/sort-9\npod/sort-10\n"),
    ] {
        let said = loment.ok(&["get", "pods", "--sort-by", path, "-o", "name"]).await?;
        ensure!(said == expected, "by {path} it says {said:?}");
    }
    let said = loment.refused(&["get", "pods", "--sort-by", ".nowhere"], "").await?;
    ensure!(said.contains("couldn't find any field with path"), "it says {said:?}");
    loment.ok(&["delete", "pods", "--all"]).await.map(drop)
}

pub(crate) async fn s12_pods_are_deleted_by_their_labels_and_a_dry_run_deletes_none(node: &Node<'_>) -> Result<()> {
    let loment = Loment::new(node.lab);
    for (name, app) in [("chosen", "web"), ("beside", "db")] {
        let pod = Manifest::new(node, name)?.app("app", RUNS);
        let mut value: Value = serde_json::from_str(&pod.text())?;
        value["metadata"]["labels"] = json!({ "app": app });
        loment.create(&value.to_string()).await?;
        loment.phase(name, "Running").await?;
    }
    let top = loment.ok(&["top", "-l", "app=web", "--no-headers", "--containers=true"]).await?;
    ensure!(top.starts_with("chosen ") && !top.contains("beside"), "top prints {top:?}");
    let events = loment.ok(&["events", "-l", "app=db"]).await?;
    ensure!(events.contains("Pod/beside") && !events.contains("Pod/chosen"), "events prints {events:?}");
    let dry = loment.ok(&["delete", "pods", "-l", "app=web", "--dry-run"]).await?;
    ensure!(dry == "pod \"chosen\" deleted from default namespace (dry run)\n", "it says {dry:?}");
    let said = loment.ok(&["delete", "pods", "-l", "app=web", "--now"]).await?;
    ensure!(said == "pod \"chosen\" deleted from default namespace\n", "it says {said:?}");
    let left = loment.ok(&["get", "pods", "-o", "name"]).await?;
    ensure!(left == "pod/beside\n", "there are {left:?}");
    let said = loment.ok(&["delete", "pods", "-A", "--field-selector", "metadata.name=beside", "--now=true"]).await?;
    ensure!(said == "pod \"beside\" deleted from default namespace\n", "it says {said:?}");
    Ok(())
}

pub(crate) async fn s12_a_watch_shows_each_change_until_the_pod_is_gone(node: &Node<'_>) -> Result<()> {
    let loment = Loment::new(node.lab);
    let mut watch = Printing::begin(node, &["get", "pods", "--watch", "--output-watch-events"])?;
    let pod = Manifest::new(node, "watched")?.init("init", &wait_for("go")).app("app", RUNS);
    pod.create(node).await?;
    watch.line(&["EVENT", "NAME", "STATUS"]).await?;
    watch.line(&["watched", "0/1", "Init:0/1"]).await?;
    pod.touch("go")?;
    watch.line(&["MODIFIED", "watched", "1/1", "Running"]).await?;
    loment.delete("watched").await?;
    watch.line(&["DELETED", "watched"]).await?;
    watch.end().await
}

pub(crate) async fn s10_a_pod_is_described_with_its_containers_conditions_and_events(node: &Node<'_>) -> Result<()> {
    let fails = format!("{COUNTED}; [ $n -ge 3 ]");
    let pod = Manifest::new(node, "described")?.annotation("key", "test1234").init("init", &fails).app("app", RUNS);
    let loment = pod.create(node).await?;
    loment.phase("described", "Running").await?;
    let text = loment.ok(&["describe", "pods", "describ"]).await?;
    let mut from = 0;
    for part in [
        "Name:             described\n",
        "Annotations:      io.loment.pod.backoff-initial: 20ms\n                  key: test1234\n",
        "Status:           Running\n",
        "Init Containers:\n  init:\n    Container ID:  containerd://",
        "    State:          Terminated\n      Reason:       Completed\n      Exit Code:    0\n",
        "    Last State:     Terminated\n      Reason:       Error\n      Exit Code:    1\n",
        "    Restart Count:  2\n",
        "      /shared from shared (rw)\n",
        "Containers:\n  app:\n",
        "    State:          Running\n",
        "Conditions:\n  Type ",
        "Volumes:\n  shared:\n",
        "QoS Class:         BestEffort\n",
        "Events:\n  Type ",
        "(x3 over ",
    ] {
        let at = text.get(from..).and_then(|rest| rest.find(part));
        from += at.with_context(|| format!("{part:?} does not come next in:\n{text}"))?;
    }
    loment.delete("described").await
}

pub(crate) async fn s10_annotations_and_labels_change_while_no_container_restarts(node: &Node<'_>) -> Result<()> {
    let pod = Manifest::new(node, "marked")?.app("app", RUNS);
    let loment = pod.create(node).await?;
    let before = loment.phase("marked", "Running").await?;
    let said = loment.ok(&["annotate", "pod", "marked", "key=test1234"]).await?;
    ensure!(said == "pod/marked annotated\n", "it says {said:?}");
    let yaml = loment.ok(&["get", "pod", "marked", "-o", "yaml"]).await?;
    ensure!(yaml.contains("    key: test1234\n"), "{yaml}");
    let said = loment.refused(&["annotate", "pod", "marked", "key=other"], "").await?;
    let expected = "error: --overwrite is false but found the following declared annotation(s): 'key' already has a value (test1234)\n";
    ensure!(said == expected, "it says {said:?}");
    loment.ok(&["annotate", "pods", "--all", "key=other", "--overwrite"]).await?;
    loment.ok(&["label", "pod/marked", "tier=front"]).await?;
    let list = loment.ok(&["label", "pod", "marked", "--list"]).await?;
    ensure!(list == "tier=front\n", "the labels are {list:?}");
    loment.ok(&["annotate", "pods", "-l", "tier=front", "key-"]).await?;
    let now = loment.get("marked").await?;
    ensure!(
        now["metadata"]["annotations"].get("key").is_none(),
        "the annotations are {}",
        now["metadata"]["annotations"]
    );
    ensure!(now["metadata"]["generation"] == 1, "the metadata is {}", now["metadata"]);
    let id = |status: &Value| status["containerStatuses"][0]["containerID"].clone();
    ensure!(id(&before) == id(&now["status"]) && now["status"]["containerStatuses"][0]["restartCount"] == 0, "{now}");
    loment.delete("marked").await
}

pub(crate) async fn v3_files_about_the_pod_follow_its_labels_and_annotations(node: &Node<'_>) -> Result<()> {
    let seen = |file: &str, text: &str| {
        format!("until grep -q '{text}' /about/{file}; do sleep 0.02; done; touch /shared/{file}")
    };
    let script = format!("{}; {}; {RUNS}", seen("labels", "tier=\"front\""), seen("annotations", "key=\"test1234\""));
    let pod = Manifest::new(node, "told")?.app("app", &script);
    let mut value: Value = serde_json::from_str(&pod.text())?;
    let item = |path: &str| json!({ "path": path, "fieldRef": { "fieldPath": format!("metadata.{path}") } });
    let about = json!({ "name": "about", "downwardAPI": { "items": [item("labels"), item("annotations")] } });
    value["spec"]["volumes"].as_array_mut().context("volumes")?.push(about);
    let mounts = value["spec"]["containers"][0]["volumeMounts"].as_array_mut().context("mounts")?;
    mounts.push(json!({ "name": "about", "mountPath": "/about" }));
    let loment = Loment::new(node.lab);
    loment.create(&value.to_string()).await?;
    loment.ok(&["label", "pod", "told", "tier=front"]).await?;
    eventually("the label in the volume", async || Ok(pod.has("labels").then_some(()))).await?;
    loment.ok(&["annotate", "pod", "told", "key=test1234"]).await?;
    eventually("the annotation in the volume", async || Ok(pod.has("annotations").then_some(()))).await?;
    loment.delete("told").await
}

pub(crate) async fn s9_of_annotations_no_more_than_256_kib_are_kept(node: &Node<'_>) -> Result<()> {
    let loment = Manifest::new(node, "large")?.app("app", RUNS).create(node).await?;
    // An argument of a command may have 128 KiB.
    let part = "x".repeat(100 << 10);
    for key in ["a", "b"] {
        loment.ok(&["annotate", "pod", "large", &format!("{key}={part}")]).await?;
    }
    let said = loment.refused(&["annotate", "pod", "large", &format!("c={part}")], "").await?;
    ensure!(said.contains("metadata.annotations: Too long: may not be more than 262144 bytes"), "it says {said:?}");
    let kept = loment.ok(&["get", "pod", "large", "-o", "jsonpath={.metadata.annotations.b}"]).await?;
    ensure!(kept == part, "{} bytes are kept", kept.len());
    loment.delete("large").await
}

pub(crate) async fn s10_wait_ends_with_the_state_that_is_waited_for(node: &Node<'_>) -> Result<()> {
    let pod = Manifest::new(node, "awaited")?.init("init", &wait_for("go")).app("app", &wait_for("end"));
    let mut there = Printing::begin(node, &["wait", "pod/awaited", "--for=create"])?;
    let loment = pod.create(node).await?;
    there.line(&["pod/awaited", "condition", "met"]).await?;
    let late = loment.run(&["wait", "pod/awaited", "--for=condition=Ready", "--timeout=100ms"], "").await?;
    let said = "error: timed out waiting for the condition on pods/awaited\n";
    ensure!((late.code, late.stderr.as_str()) == (1, said), "it says {late:?}");
    let mut ready = Printing::begin(node, &["wait", "pods", "--all", "--for=condition=Ready"])?;
    let mut gone = Printing::begin(node, &["wait", "pod/awaited", "--for=delete"])?;
    pod.touch("go")?;
    ready.line(&["pod/awaited", "condition", "met"]).await?;
    let mut over = Printing::begin(node, &["wait", "pod/awaited", "--for=jsonpath={.status.phase}=Succeeded"])?;
    pod.touch("end")?;
    over.line(&["pod/awaited", "condition", "met"]).await?;
    loment.ok(&["wait", "pod/awaited", "--for=condition=ready=FALSE"]).await?;
    loment.delete("awaited").await?;
    gone.line(&["pod/awaited", "condition", "met"]).await?;
    let said = loment.refused(&["wait", "pod/awaited", "--for=condition=Ready"], "").await?;
    ensure!(said == "Error from server (NotFound): pods \"awaited\" not found\n", "it says {said:?}");
    Ok(())
}

pub(crate) async fn s10_events_are_listed_as_kubectl_lists_them(node: &Node<'_>) -> Result<()> {
    let pod = Manifest::new(node, "eventful")?.restart_policy("Never").app("app", "exit 3");
    let loment = pod.create(node).await?;
    loment.phase("eventful", "Failed").await?;
    let table = loment.ok(&["events", "--for", "pod/eventful"]).await?;
    let header: Vec<&str> =
        table.lines().next().unwrap_or_default().split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
    ensure!(header == ["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"], "the header is {header:?}");
    for words in [["Normal", "Started", "Pod/eventful"], ["Warning", "Exited", "Pod/eventful"]] {
        let is_it = |line: &str| words.iter().all(|word| line.split_whitespace().any(|one| one == *word));
        ensure!(table.lines().any(is_it), "{words:?} is not in:\n{table}");
    }
    let list: Value = serde_json::from_str(&loment.ok(&["events", "-o", "json", "--types=Warning"]).await?)?;
    let items = list["items"].as_array().context("items")?;
    ensure!(!items.is_empty() && items.iter().all(|one| one["type"] == "Warning" && one["kind"] == "Event"), "{list}");
    loment.delete("eventful").await?;
    let none = loment.run(&["events"], "").await?;
    ensure!(none.stderr == "No events found in default namespace.\n", "it says {none:?}");
    Ok(())
}

pub(crate) async fn s5_a_pod_whose_shim_is_gone_is_unknown_with_what_was_last_known(node: &Node<'_>) -> Result<()> {
    let loment = Manifest::new(node, "lost")?.app("app", RUNS).create(node).await?;
    loment.ok(&["wait", "pod/lost", "--for=condition=Ready"]).await?;
    let uid = loment.ok(&["get", "pod", "lost", "-o", "jsonpath={.metadata.uid}"]).await?;
    let file = format!("/var/lib/loment/pods/{uid}/status.json");
    eventually("the status on the disk", async || {
        Ok(fs::read_to_string(&file).is_ok_and(|text| text.contains("\"ready\":true")).then_some(()))
    })
    .await?;
    kill(shim_of(&sandbox(node, "lost").await?)?, Signal::SIGKILL).context("kill the shim")?;
    eventually("an unknown state", async || {
        let row = loment.ok(&["get", "pod", "lost", "--no-headers"]).await?;
        let columns: Vec<&str> = row.split_whitespace().take(3).collect();
        Ok((columns == ["lost", "1/1", "Unknown"]).then_some(()))
    })
    .await?;
    let pod = loment.get("lost").await?;
    ensure!(
        pod["status"]["phase"] == "Unknown" && pod["status"]["containerStatuses"][0]["name"] == "app",
        "{}",
        pod["status"]
    );
    let why = loment.ok(&["why", "lost"]).await?;
    ensure!(why.starts_with("Nobody can tell how the pod is: "), "it says {why:?}");
    let timeline = loment.ok(&["timeline", "lost", "-o", "lines"]).await?;
    ensure!(timeline.contains("app       started"), "the timeline is\n{timeline}");
    loment.delete("lost").await
}

pub(crate) async fn s9_apply_makes_a_pod_and_changes_it_as_far_as_it_may_change(node: &Node<'_>) -> Result<()> {
    let loment = Loment::new(node.lab);
    let file = node.lab.directory("manifests", "applied")?.join("pod.json");
    let path = file.display().to_string();
    let pod = Manifest::new(node, "applied")?.app("app", RUNS);
    let mut value: Value = serde_json::from_str(&pod.text())?;
    value["metadata"]["labels"] = json!({ "a": "1", "b": "2" });
    let apply = async |value: &Value| {
        fs::write(&file, value.to_string())?;
        loment.run(&["apply", "-f", &path], "").await
    };
    let dry = async |how: &str| {
        fs::write(&file, value.to_string())?;
        loment.ok(&["apply", "-f", &path, how]).await
    };
    let said = dry("--dry-run=server").await?;
    ensure!(said == "pod/applied created (server dry run)\n", "it says {said:?}");
    let said = apply(&value).await?;
    ensure!(said.stdout == "pod/applied created\n", "it says {said:?}");
    loment.phase("applied", "Running").await?;
    loment.ok(&["label", "pod", "applied", "theirs=x"]).await?;
    let said = apply(&value).await?;
    ensure!(said.stdout == "pod/applied unchanged\n" && said.stderr.is_empty(), "it says {said:?}");
    value["metadata"]["labels"] = json!({ "a": "3" });
    value["spec"]["activeDeadlineSeconds"] = json!(3600);
    fs::write(&file, value.to_string())?;
    for (verb, done) in [("apply", "configured"), ("replace", "replaced")] {
        let said = loment.ok(&[verb, "-f", &path, "--dry-run"]).await?;
        ensure!(said == format!("pod/applied {done} (dry run)\n"), "it says {said:?}");
    }
    let taken = loment.refused(&["create", "-f", &path, "--dry-run=server"], "").await?;
    ensure!(taken.contains("(AlreadyExists)"), "it says {taken:?}");
    let said = apply(&value).await?;
    ensure!(said.stdout == "pod/applied configured\n", "it says {said:?}");
    let now = loment.get("applied").await?;
    ensure!(
        now["metadata"]["labels"] == json!({ "a": "3", "theirs": "x" }),
        "the labels are {}",
        now["metadata"]["labels"]
    );
    ensure!(now["metadata"]["generation"] == 2, "the metadata is {}", now["metadata"]);
    value["spec"]["hostname"] = json!("other");
    let said = apply(&value).await?;
    ensure!(
        said.code == 1 && said.stderr.contains("spec: Forbidden: pod updates may not change fields other than"),
        "{said:?}"
    );
    let said = loment.refused(&["replace", "-f", &path], "").await?;
    ensure!(said.contains("spec: Forbidden"), "it says {said:?}");
    let uid = now["metadata"]["uid"].clone();
    let said = loment.ok(&["replace", "--force", "-f", &path]).await?;
    ensure!(said.ends_with("pod/applied replaced\n"), "it says {said:?}");
    let new = loment.get("applied").await?;
    ensure!(new["metadata"]["uid"] != uid && new["spec"]["hostname"] == "other", "{}", new["metadata"]);
    loment.delete("applied").await
}

pub(crate) async fn a7_a_container_whose_image_changes_is_started_anew_and_its_sibling_lives_on(
    node: &Node<'_>,
) -> Result<()> {
    let says = "echo started >> /shared/$HOSTNAME-starts; trap 'echo stopped >> /shared/stops; exit 0' TERM; sleep 1000 & wait";
    let pod = Manifest::new(node, "renewed")?.restart_policy("Never").app("app", says).app("sibling", RUNS);
    let loment = pod.create(node).await?;
    let before = loment.phase("renewed", "Running").await?;
    eventually("the first start", async || Ok((pod.lines("renewed-starts").len() == 1).then_some(()))).await?;
    let said = loment.ok(&["set", "image", "pod/renewed", "app=docker.io/library/busybox:latest"]).await?;
    ensure!(said == "pod/renewed image updated\n", "it says {said:?}");
    let status = loment
        .until("renewed", "the container to be started anew", |status| {
            let own = container_status(status, "app").ok();
            own.is_some_and(|own| own["restartCount"] == 1 && own["state"]["running"].is_object())
        })
        .await?;
    eventually("the second start", async || Ok((pod.lines("renewed-starts").len() >= 2).then_some(()))).await?;
    ensure!(pod.lines("renewed-starts").len() == 2, "it started {} times", pod.lines("renewed-starts").len());
    ensure!(pod.lines("stops") == ["stopped"], "it was stopped as {:?}", pod.lines("stops"));
    let id = |status: &Value, name: &str| anyhow::Ok(container_status(status, name)?["containerID"].clone());
    ensure!(
        id(&before, "app")? != id(&status, "app")? && id(&before, "sibling")? == id(&status, "sibling")?,
        "{status}"
    );
    ensure!(container_status(&status, "sibling")?["restartCount"] == 0, "{status}");
    let said = loment.refused(&["set", "image", "pod/renewed", "app=localhost/no/such:1"], "").await?;
    ensure!(said.contains("ErrImagePull"), "it says {said:?}");
    let said = loment.ok(&["patch", "pod", "renewed", "-p", "metadata: {labels: {patched: really}}"]).await?;
    ensure!(said == "pod/renewed patched\n", "it says {said:?}");
    let named = loment.ok(&["get", "pods", "-l", "patched=really", "-o", "name"]).await?;
    ensure!(named == "pod/renewed\n", "with the label there are {named:?}");
    let image = loment.ok(&["get", "pod", "renewed", "-o", "jsonpath={.spec.containers[0].image}"]).await?;
    ensure!(image == "docker.io/library/busybox:latest", "an image that is not there is in the pod: {image}");
    loment.delete("renewed").await
}

pub(crate) async fn s13_run_follows_a_pod_and_ends_as_it_does(node: &Node<'_>) -> Result<()> {
    let loment = Loment::new(node.lab);
    let pod = |name: &str, code: u8| -> Result<String> {
        let script = format!("for i in 1 2 3; do echo line $i; done; exit {code}");
        let pod = Manifest::new(node, name)?.restart_policy("Never").init("init", "echo first").app("app", &script);
        Ok(pod.app("other", "echo beside").text())
    };
    let failed = loment.run(&["run", "-f", "-"], &pod("fails", 7)?).await?;
    ensure!(failed.code == 7, "it ended with {failed:?}");
    let app: Vec<&str> = failed.stdout.lines().filter(|line| line.starts_with("[app]")).collect();
    ensure!(app == ["[app] line 1", "[app] line 2", "[app] line 3"], "the app says {app:?}");
    ensure!(
        failed.stdout.contains("[init] first\n") && failed.stdout.contains("[other] beside\n"),
        "{}",
        failed.stdout
    );
    ensure!(
        failed.stderr.contains("exited with code 7") && failed.stderr.contains("the pod is Failed"),
        "{}",
        failed.stderr
    );
    let kept = loment.run(&["run", "--quiet", "--prefix=false", "--keep", "-f", "-"], &pod("succeeds", 0)?).await?;
    ensure!(kept.code == 0 && kept.stdout.contains("line 3\n"), "it ended with {kept:?}");
    let left = loment.ok(&["get", "pods", "-o", "name"]).await?;
    ensure!(left == "pod/succeeds\n", "left are {left:?}");
    loment.delete("succeeds").await
}

pub(crate) async fn s13_an_interrupted_run_deletes_its_pod(node: &Node<'_>) -> Result<()> {
    let loment = Loment::new(node.lab);
    let file = node.lab.directory("manifests", "interrupted")?.join("pod.json");
    let script = "trap 'echo asked > /shared/asked; exit 0' TERM; echo ready; sleep 1000 & wait";
    let pod = Manifest::new(node, "interrupted")?.app("app", script);
    fs::write(&file, pod.text())?;
    let mut run = Printing::begin(node, &["run", "-f", &file.display().to_string()])?;
    run.line(&["[app]", "ready"]).await?;
    let pid = run.child.id().and_then(|pid| i32::try_from(pid).ok()).context("the pid of loment")?;
    kill(Pid::from_raw(pid), Signal::SIGINT).context("interrupt loment")?;
    let status = run.child.wait().await?;
    ensure!(status.code() == Some(130), "it ended with {status}");
    ensure!(pod.has("asked"), "the app was not asked to end");
    let left = loment.ok(&["get", "pods", "-o", "name"]).await?;
    ensure!(left.is_empty(), "left are {left:?}");
    Ok(())
}

pub(crate) async fn s13_why_names_the_one_cause_and_the_next_attempt(node: &Node<'_>) -> Result<()> {
    let pod = Manifest::new(node, "stuck")?
        .annotation("io.loment.pod.backoff-initial", "300s")
        .init("init", "echo no database > /dev/termination-log; exit 4")
        .app("app", RUNS);
    let loment = pod.create(node).await?;
    loment
        .until("stuck", "the back-off", |status| {
            container_status(status, "init").is_ok_and(|own| own["state"]["waiting"]["reason"] == "CrashLoopBackOff")
        })
        .await?;
    let text = loment.ok(&["why", "pod/stuck"]).await?;
    ensure!(text.starts_with("The init container \"init\" has ended with exit code 4"), "it says {text:?}");
    ensure!(text.contains("It is tried again in "), "it says {text:?}");
    let cause: Value = serde_json::from_str(&loment.ok(&["why", "stuck", "-o", "json"]).await?)?;
    ensure!(
        cause["blocked"] == true && cause["container"] == "init" && cause["reason"] == "CrashLoopBackOff",
        "{cause}"
    );
    let left = cause["secondsUntil"].as_f64().unwrap_or_default();
    ensure!((1.0..=300.0).contains(&left), "{cause}");
    loment.ok(&["delete", "pod", "stuck", "--now"]).await?;
    let gone = loment.refused(&["why", "stuck"], "").await?;
    ensure!(gone.contains("(NotFound)"), "it says {gone:?}");
    Ok(())
}

pub(crate) async fn s13_a_timeline_is_drawn_and_kept_after_the_deletion(node: &Node<'_>) -> Result<()> {
    let fails = format!("{COUNTED}; [ $n -ge 2 ]");
    let pod = Manifest::new(node, "drawn")?.restart_policy("Never").init("init", "true").app("app", RUNS);
    let pod = pod.app("other", &fails);
    let loment = pod.create(node).await?;
    loment.phase("drawn", "Running").await?;
    let chart = loment.ok(&["timeline", "drawn", "--width", "80"]).await?;
    ensure!(chart.starts_with("default/drawn: Running after "), "{chart}");
    let row =
        |chart: &str, name: &str| chart.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    ensure!(row(&chart, "init (init)").contains('✓') && row(&chart, "app").ends_with('█'), "{chart}");
    ensure!(!chart.contains('\x1b'), "there are colours where there is no terminal");
    let file = node.lab.directory("pictures", "drawn")?.join("drawn.svg");
    loment.ok(&["timeline", "drawn", "--svg", &file.display().to_string()]).await?;
    let picture = fs::read_to_string(&file)?;
    ensure!(picture.starts_with("<svg ") && picture.contains("init (init)"), "{picture}");
    loment.delete("drawn").await?;
    let list = loment.ok(&["timeline", "--list"]).await?;
    ensure!(list.lines().any(|line| line.split_whitespace().take(2).eq(["default", "drawn"])), "{list}");
    let chart = loment.ok(&["timeline", "drawn", "--width", "80"]).await?;
    ensure!(row(&chart, "init (init)").contains('✓') && row(&chart, "app").contains('▾'), "{chart}");
    let steps: Value = serde_json::from_str(&loment.ok(&["timeline", "drawn", "-o", "json"]).await?)?;
    let reasons: Vec<&str> =
        steps.as_array().into_iter().flatten().filter_map(|step| step["reason"].as_str()).collect();
    ensure!(reasons.contains(&"Started") && reasons.contains(&"Stopping"), "{reasons:?}");
    Ok(())
}

pub(crate) async fn s13_a_manifest_is_explained_and_nothing_is_made(node: &Node<'_>) -> Result<()> {
    let loment = Loment::new(node.lab);
    let pod = Manifest::new(node, "explained")?.init("init", "true").sidecar("side", RUNS).app("app", RUNS);
    let mut value: Value = serde_json::from_str(&pod.text())?;
    value["spec"]["nodeSelector"] = json!({ "disk": "ssd" });
    let output = loment.run(&["explain", "-f", "-"], &value.to_string()).await?;
    ensure!(output.code == 0, "it says {output:?}");
    for part in [
        "quality of service BestEffort",
        "Filled in\n",
        "─ init",
        "─ side",
        "─ app",
        "app, then side",
        "Mounts\n",
        "spec.nodeSelector",
    ] {
        ensure!(output.stdout.contains(part), "{part:?} is not in:\n{}", output.stdout);
    }
    let gone = loment.refused(&["get", "pod", "explained"], "").await?;
    ensure!(gone.contains("(NotFound)"), "it says {gone:?}");
    value["spec"]["containers"][0]["envFrom"] = json!([{ "configMapRef": { "name": "none" } }]);
    let output = loment.run(&["explain", "-f", "-"], &value.to_string()).await?;
    ensure!(output.code == 1 && output.stdout.contains("Missing: the pod could not be made"), "it says {output:?}");
    let pods = loment.ok(&["explain", "pods"]).await?;
    ensure!(pods.starts_with("KIND:       Pod\nVERSION:    v1\n\nDESCRIPTION:\n"), "{pods}");
    Ok(())
}
