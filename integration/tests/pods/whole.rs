//! A pod is there as a whole or not at all, wherever the command that makes it, makes it anew or deletes it is killed.

use std::{fs, path::Path, process::Stdio};

use anyhow::{Context as _, Result, ensure};
use loment_integration::{
    loment::Loment,
    patience,
    pod::{Node, eventually},
    programs,
};
use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};

use super::{
    command::shim_of,
    manifest::{Manifest, RUNS, sandbox},
};

/// The system calls by which a command changes something outside itself. Each time that one is made is a point at which
/// the command can be killed. strace counts each call by itself.
const EFFECTS: [&str; 26] = [
    "mkdir",
    "mkdirat",
    "rename",
    "renameat",
    "renameat2",
    "symlink",
    "symlinkat",
    "link",
    "linkat",
    "chmod",
    "fchmod",
    "fchmodat",
    "chown",
    "fchown",
    "fchownat",
    "unlink",
    "unlinkat",
    "rmdir",
    "mount",
    "umount2",
    "flock",
    "write",
    "writev",
    "sendto",
    "sendmsg",
    "connect",
];

/// More than any command here makes of one of them.
const MOST: u32 = 400;

/// How a command came to its end.
enum End {
    /// It was killed before its call number so many.
    Killed,
    /// It had fewer calls.
    Survived,
}

/// Runs `loment` with these words and kills it before its `number`th `call`.
async fn killed_at(node: &Node<'_>, call: &str, number: u32, words: &[&str]) -> Result<End> {
    let mut command = tokio::process::Command::from(node.lab.command("strace"));
    // Only the command itself: nothing that it starts is traced.
    command.args(["-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
    command.args(["-e", &format!("inject={call}:signal=SIGKILL:when={number}")]);
    command.arg(programs::COMMAND).args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let output = command.kill_on_drop(true).output();
    let output = tokio::time::timeout(patience(std::time::Duration::from_secs(40)), output).await;
    let output = output.context("a command that is to be killed does not end")?.context("run strace")?;
    // strace ends like the program that it traces.
    let killed = std::os::unix::process::ExitStatusExt::signal(&output.status) == Some(Signal::SIGKILL as i32);
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(killed || output.status.success(), "loment {} before {call} {number}: {said}", words.join(" "));
    Ok(if killed { End::Killed } else { End::Survived })
}

/// What is left of pods on the disk and in containerd.
async fn left(node: &Node<'_>) -> Result<Vec<String>> {
    let directories =
        ["/var/lib/loment/pods", "/var/lib/loment/locks", "/var/log/pods", "/sys/fs/cgroup/memory/loment"];
    let entries = directories.iter().filter_map(|directory| fs::read_dir(directory).ok()).flatten();
    // Of cgroups only the directories count.
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut left: Vec<String> = paths
        .filter(|path| !path.starts_with("/sys") || path.is_dir())
        .map(|path| path.display().to_string())
        .collect();
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("read the mounts")?;
    left.extend(
        mounts.lines().filter(|line| line.contains(" /var/lib/loment/pods/")).map(|line| format!("mount {line}")),
    );
    let snapshots = node.lab.ctr_output(&["snapshots", "list"], b"").await?;
    let snapshots = String::from_utf8_lossy(&snapshots.stdout).into_owned();
    left.extend(snapshots.lines().filter(|line| line.starts_with("loment-")).map(|line| format!("snapshot {line}")));
    let sandboxes = node.cri.list_pod_sandboxes(None).await?;
    left.extend(sandboxes.into_iter().map(|sandbox| format!("sandbox {}", sandbox.id)));
    Ok(left)
}

async fn exists(loment: &Loment<'_>, pod: &str) -> Result<bool> {
    let found = loment.run(&["get", "pod", pod, "--no-headers"], "").await?;
    ensure!(found.code == 0 || found.stderr.contains("not found"), "get says {:?}", found.stderr);
    Ok(found.code == 0)
}

/// The file of a pod with a sidecar and an app, and of what its volumes take: file systems that are mounted for it, and a
/// part of one.
fn file(node: &Node<'_>, name: &str) -> Result<String> {
    let mounts = json!([
        { "name": "secret", "mountPath": "/secret" },
        { "name": "memory", "mountPath": "/part", "subPath": "part" },
        { "name": "site", "mountPath": "/site" },
    ]);
    let app = json!({ "command": ["sh", "-c", RUNS], "volumeMounts": mounts });
    let pod = Manifest::new(node, name)?.sidecar("sidecar", RUNS).app_with("app", app);
    let pod = pod.with("volumes", json!({ "name": "secret", "secret": { "secretName": "s" } }));
    let pod = pod.with("volumes", json!({ "name": "memory", "emptyDir": { "medium": "Memory", "sizeLimit": "1Mi" } }));
    let image = json!({ "reference": "docker.io/gasbugs/http-go:latest", "pullPolicy": "IfNotPresent" });
    let pod = pod.with("volumes", json!({ "name": "site", "image": image }));
    let secret =
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "s" }, "stringData": { "p": "x" } });
    let path = node.lab.directory("manifests", name)?.join("pod.json");
    fs::write(&path, format!("{secret}\n---\n{}\n", pod.text()))?;
    Ok(path.display().to_string())
}

/// Waits until both of its containers run.
async fn runs(loment: &Loment<'_>, pod: &str) -> Result<()> {
    let running = |status: &serde_json::Value, list: &str| status[list][0]["state"]["running"].is_object();
    let what = format!("pod {pod} to run as a whole");
    let is_it = |status: &serde_json::Value| {
        status["phase"] == "Running"
            && ["initContainerStatuses", "containerStatuses"].iter().all(|list| running(status, list))
    };
    loment.until(pod, &what, is_it).await.map(drop)
}

/// Kills `loment` with these words before each of its effects in turn. `before` is done before each time, `after` then, and
/// nothing may be left.
async fn at_each_effect(
    node: &Node<'_>,
    words: &[&str],
    before: impl AsyncFn() -> Result<()>,
    after: impl AsyncFn(u32) -> Result<()>,
) -> Result<()> {
    let mut kills = 0;
    for call in EFFECTS {
        for number in 1.. {
            ensure!(number < MOST, "the command makes more than {MOST} times {call}");
            before().await?;
            let end = killed_at(node, call, number, words).await?;
            let at = || format!("killed before {call} {number}");
            after(kills).await.with_context(at)?;
            let left = left(node).await?;
            ensure!(left.is_empty(), "{}: left behind: {}", at(), left.join(", "));
            if matches!(end, End::Survived) {
                break;
            }
            kills += 1;
        }
    }
    ensure!(kills > 20, "the command had {kills} effects only");
    Ok(())
}

pub(crate) async fn a_pod_whose_command_is_killed_anywhere_is_whole_or_absent(node: &Node<'_>) -> Result<()> {
    let loment = Loment::new(node.lab);
    let file = file(node, "cut")?;
    let after = async |kills: u32| {
        if exists(&loment, "cut").await? {
            runs(&loment, "cut").await?;
            loment.ok(&["delete", "pod", "cut", "--now"]).await?;
        } else if kills.is_multiple_of(2) {
            // What was begun is in nobody's way.
            loment.ok(&["create", "-f", &file]).await?;
            runs(&loment, "cut").await?;
            loment.ok(&["delete", "pod", "cut", "--now"]).await?;
        } else {
            let said = loment.run(&["delete", "pod", "cut"], "").await?;
            ensure!(said.code == 0 || said.stderr.contains("not found"), "delete says {:?}", said.stderr);
        }
        Ok(())
    };
    at_each_effect(node, &["create", "-f", &file], async || Ok(()), after).await
}

pub(crate) async fn a_deletion_that_is_killed_anywhere_is_ended_by_the_next(node: &Node<'_>) -> Result<()> {
    let loment = Loment::new(node.lab);
    let file = file(node, "half")?;
    let before = async || {
        loment.ok(&["create", "-f", &file]).await?;
        runs(&loment, "half").await
    };
    let after = async |_| {
        let again = loment.run(&["delete", "pod", "half", "--now"], "").await?;
        ensure!(again.code == 0 || again.stderr.contains("not found"), "the second delete says {:?}", again.stderr);
        Ok(())
    };
    at_each_effect(node, &["delete", "pod", "half", "--now"], before, after).await
}

pub(crate) async fn a_pod_that_is_being_made_is_listed_by_nobody(node: &Node<'_>) -> Result<()> {
    let loment = Loment::new(node.lab);
    let pod = node.pod("held");
    let uid = pod.uid().to_owned();
    let mut manifest: Value =
        serde_json::from_str(&Manifest::new(node, "held")?.app("app", "touch /shared/ran").text())?;
    (manifest["metadata"]["uid"], manifest["metadata"]["namespace"]) = (json!(uid), json!("default"));
    // As `loment create` makes it. Its containers wait at their gates: the message that begins the pod never comes.
    let held = Path::new("/var/lib/loment/pods").join(&uid);
    fs::create_dir_all(&held)?;
    fs::write(held.join("pod.json"), manifest.to_string())?;
    let annotations = [
        ("manifest", manifest.to_string()),
        ("directory", held.display().to_string()),
        ("held-in", held.display().to_string()),
        ("logs", format!("/var/log/pods/default_held_{uid}")),
    ];
    let pod = annotations.iter().fold(pod, |pod, (key, value)| pod.annotation(&format!("io.loment.pod.{key}"), value));
    let sandbox = pod.run().await?;
    ensure!(!exists(&loment, "held").await?, "a pod that has not begun is listed");
    ensure!(!held.join("begun").exists(), "it has begun");
    fs::write(held.join("begun"), "")?;
    ensure!(exists(&loment, "held").await?, "one that has begun is not listed");
    sandbox.remove().await?;
    Ok(fs::remove_dir_all(held)?)
}

pub(crate) async fn a_pod_whose_shim_does_not_answer_is_not_made_anew(node: &Node<'_>) -> Result<()> {
    let loment = Manifest::new(node, "slow")?.app("app", RUNS).create(node).await?;
    loment.phase("slow", "Running").await?;
    let id = sandbox(node, "slow").await?;
    let shim = shim_of(&id)?;
    kill(shim, Signal::SIGSTOP).context("stop a shim")?;
    let said = loment.refused(&["resume", "slow"], "").await;
    kill(shim, Signal::SIGCONT).context("continue a shim")?;
    let said = said?;
    ensure!(said.contains("does not answer"), "resume says {said}");
    loment.phase("slow", "Running").await?;
    ensure!(sandbox(node, "slow").await? == id, "it has another sandbox");
    loment.delete("slow").await
}

/// One waits for the pod's grace, and the other one does not want to.
pub(crate) async fn a_pod_that_two_commands_delete_is_gone_for_both(node: &Node<'_>) -> Result<()> {
    let stays = "trap '' TERM; while :; do sleep 1; done";
    let loment = Manifest::new(node, "twice")?.grace(600).app("app", stays).create(node).await?;
    loment.phase("twice", "Running").await?;
    let uid = loment.get("twice").await?["metadata"]["uid"].as_str().context("a uid")?.to_owned();
    let mark = Path::new("/var/lib/loment/pods").join(uid).join("deletion-timestamp");
    let other = async {
        eventually("the first deletion", async || Ok(mark.exists().then_some(()))).await?;
        loment.run(&["delete", "pod", "twice", "--force"], "").await
    };
    let (one, other) = tokio::join!(loment.run(&["delete", "pod", "twice"], ""), other);
    for output in [one?, other?] {
        ensure!(output.code == 0, "a delete ends with {}: {}", output.code, output.stderr);
    }
    ensure!(!exists(&loment, "twice").await?, "it is still there");
    Ok(())
}

pub(crate) async fn a_pod_that_has_lost_its_sandbox_is_resumed_with_its_volumes_and_counts(
    node: &Node<'_>,
) -> Result<()> {
    let pod = Manifest::new(node, "rebooted")?
        .init("prepare", "echo prepared >> /shared/story")
        .app_with(
            "app",
            json!({
                "command": ["sh", "-c", format!("echo app $WORD $(cat /files/word) >> /shared/story; echo x >> /kept/lines; {RUNS}")],
                "env": [{ "name": "WORD", "valueFrom": { "secretKeyRef": { "name": "words", "key": "word" } } }],
                "volumeMounts": [
                    { "name": "shared", "mountPath": "/shared" },
                    { "name": "kept", "mountPath": "/kept" },
                    { "name": "files", "mountPath": "/files" },
                ],
            }),
        )
        .with("volumes", json!({ "name": "kept", "emptyDir": {} }))
        .with("volumes", json!({ "name": "files", "secret": { "secretName": "words" } }));
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "words" }, "stringData": { "word": "hush" } });
    let loment = Loment::new(node.lab);
    loment.create(&format!("{secret}\n---\n{}\n", pod.text())).await?;
    loment.phase("rebooted", "Running").await?;
    let uid = loment.get("rebooted").await?["metadata"]["uid"].clone();
    ensure!(loment.ok(&["resume", "rebooted"]).await? == "pod/rebooted unchanged\n", "a pod that lives is resumed");
    kill(shim_of(&sandbox(node, "rebooted").await?)?, Signal::SIGKILL).context("kill the shim")?;
    eventually("an unknown state", async || {
        let row = loment.ok(&["get", "pod", "rebooted", "--no-headers"]).await?;
        Ok((row.split_whitespace().nth(2) == Some("Unknown")).then_some(()))
    })
    .await?;
    let said = loment.ok(&["resume", "--all"]).await?;
    ensure!(said == "pod/rebooted resumed\n", "resume says {said:?}");
    loment.phase("rebooted", "Running").await?;
    eventually("the second start of the app", async || {
        Ok((pod.lines("story") == ["prepared", "app hush hush", "prepared", "app hush hush"]).then_some(()))
    })
    .await?;
    let kept = loment.ok(&["exec", "rebooted", "--", "cat", "/kept/lines"]).await?;
    ensure!(kept == "x\nx\n", "the volume has {kept:?}");
    ensure!(loment.get("rebooted").await?["metadata"]["uid"] == uid, "it is another pod");
    loment.delete("rebooted").await
}
