//! `loment install` and `loment uninstall`: containerd is given a class, shows a pod of it, and has its configuration
//! back byte for byte.

use std::{fs, path::Path, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use loment_integration::{
    loment::Loment,
    patience,
    pod::{Node, shell},
    results::LeftOut,
};
use serde_json::Value;

use super::manifest::RUNS;

/// The configuration of a lab's containerd.
const CONFIG: &str = "/run/loment-lab/config.toml";
/// Where this installation keeps its record and puts its programs.
const STATE: &str = "/run/loment-lab/installed/state";
const PROGRAMS: &str = "/run/loment-lab/installed/bin";
const ABOVE: &str = "/run/loment-lab/installed";
/// A class that the lab has not.
const FRESH: &str = "fresh";

pub(crate) async fn a_class_is_given_shows_a_pod_and_every_byte_is_taken_back(node: &Node<'_>) -> Result<()> {
    let before = fs::read(CONFIG).context("read the lab's configuration")?;
    let done = there_and_back(node, &before).await;
    if fs::read(CONFIG).context("read the lab's configuration")? != before {
        // The tests that come next need it as it was.
        fs::write(CONFIG, &before).context("write the lab's configuration back")?;
        node.lab.restart_containerd().await?;
    }
    done
}

async fn there_and_back(node: &Node<'_>, before: &[u8]) -> Result<()> {
    let own = ["--runtime-handler", FRESH, "--state-dir", STATE, "-o", "json"];
    let loment = Loment::new(node.lab).within(Duration::from_secs(90));
    let run = async |words: &[&str]| -> Result<Value> {
        let text = loment.ok(&[words, &own].concat()).await?;
        serde_json::from_str(&text).with_context(|| format!("read what loment {words:?} prints"))
    };
    let planned = run(&["install", "--bin-dir", PROGRAMS, "--dry-run"]).await?;
    ensure!(planned["changes"].as_array().is_some_and(|all| all.len() == 3), "it would do {planned}");
    ensure!(fs::read(CONFIG)? == before && !Path::new(PROGRAMS).exists(), "a dry run has changed something");

    let installed = run(&["install", "--bin-dir", PROGRAMS]).await?;
    ensure!(installed["pod"].is_null() && installed["changes"] == planned["changes"], "it has done {installed}");
    node.lab.restart_containerd().await?;
    let again = run(&["install", "--bin-dir", PROGRAMS]).await?;
    ensure!(again["changes"].as_array().is_some_and(Vec::is_empty), "the second one has done {again}");
    ensure!(again["pod"]["memoryKiB"].as_u64().is_some_and(|memory| memory > 0), "it shows the pod {}", again["pod"]);
    ensure!(
        again["runtimeClass"]["overhead"]["podFixed"]["memory"].is_string(),
        "the class is {}",
        again["runtimeClass"]
    );

    let others = Node::connect(node.lab, FRESH).await?;
    let pod = others.pod("of-the-class").run().await?;
    pod.start(shell("app", RUNS)).await?;
    let refused = loment.refused(&[&["uninstall"], own.as_slice()].concat(), "").await?;
    ensure!(refused.contains("of-the-class") && refused.contains("delete it first"), "uninstall says {refused}");
    pod.remove().await?;

    let removed = run(&["uninstall"]).await?;
    ensure!(removed["changes"].as_array().is_some_and(|all| all.len() == 3), "it has taken back {removed}");
    ensure!(fs::read(CONFIG)? == before, "the configuration is another one than before");
    ensure!(!Path::new(PROGRAMS).exists(), "programs, or the directory that was made for them, are left");
    let nothing = loment.refused(&[&["uninstall"], own.as_slice()].concat(), "").await?;
    ensure!(nothing.contains("no record"), "a second uninstall says {nothing}");
    node.lab.restart_containerd().await?;
    ensure!(!Path::new(STATE).join("installed").exists(), "the record is left");
    // What `loment create` keeps of pods is not the installation's.
    fs::remove_dir_all(STATE).and_then(|()| fs::remove_dir(ABOVE)).context("remove the directories above")
}

/// A dockerd on the lab's containerd. /etc is covered by a copy, and all that it writes is gone with the mount namespace.
const BESIDE_DOCKER: &str = r#"
set -eu
mount -t tmpfs none $T
mkdir $T/upper $T/work
mount -t overlay -o lowerdir=/etc,upperdir=$T/upper,workdir=$T/work none /etc
mkdir -p /etc/docker
printf '{\n\t"data-root": "%s/data",\n  "iptables": false, "bridge": "none"}' $T > /etc/docker/daemon.json
cp /etc/docker/daemon.json $T/daemon.json
cp $CONFIG $T/config.toml
dockerd --containerd $CONTAINERD_ADDRESS -H unix://$T/docker.sock --exec-root $T/exec -p $T/pid > $T/log 2>&1 &
trap 'kill $!; wait $! || true' EXIT
ask() { docker -H unix://$T/docker.sock info --format '{{json .Runtimes}} {{.DefaultRuntime}}'; }
for _ in $(seq 100); do
    if ask > $T/before 2>/dev/null; then break; fi
    sleep 0.1
done
ask > $T/before || { cat $T/log >&2; exit 1; }
loment install --runtime-handler beside --state-dir $T/state --bin-dir $T/bin
cmp /etc/docker/daemon.json $T/daemon.json
if cmp -s $CONFIG $T/config.toml; then echo "nothing is installed" >&2; exit 1; fi
loment uninstall --runtime-handler beside --state-dir $T/state
cmp /etc/docker/daemon.json $T/daemon.json
cmp $CONFIG $T/config.toml
ask | cmp - $T/before
"#;

pub(crate) async fn docker_beside_it_keeps_every_byte_and_answers_as_before(node: &Node<'_>) -> Result<()> {
    if !["/usr/bin/dockerd", "/usr/sbin/dockerd"].iter().any(|path| Path::new(path).exists()) {
        bail!(LeftOut("no dockerd is installed".to_owned()));
    }
    let directory = node.lab.directory("docker", "beside")?;
    let mut command = tokio::process::Command::from(node.lab.command("unshare"));
    command.args(["--mount", "--propagation", "private", "sh", "-c", BESIDE_DOCKER]);
    command.env("T", &directory).env("CONFIG", CONFIG).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(patience(Duration::from_secs(60)), command.output()).await;
    let output = output.context("dockerd and an installation: no end within a minute")??;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {}", output.status, said.trim());
    Ok(())
}
