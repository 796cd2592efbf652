//! `loment gc`: what is left of pods that are gone is found, named and removed, and nothing else is.

use std::{
    fs,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result, ensure};
use loment_integration::{
    config, hierarchy,
    loment::Loment,
    pod::{Node, Output, shell},
};
use nix::{
    mount::{MsFlags, mount},
    sys::signal::{Signal, kill},
};
use serde_json::{Value, json};

use super::{
    command::shim_of,
    ctr::Detached,
    manifest::{Manifest, RUNS, sandbox},
    run::Run,
};

/// What containerd knows, on the disk of a lab.
const METADATA: &str = "/run/loment-lab/root/io.containerd.metadata.v1.bolt/meta.db";
/// Bundles of CRI's containers in a lab.
const BUNDLES: &str = "/run/loment-lab/state/io.containerd.runtime.v2.task/k8s.io";
/// How `--dry-run` ends when something is left.
const LEFT: i32 = 2;

/// What `loment gc` says, as JSON.
struct Said(Value);

impl Said {
    async fn of(loment: &Loment<'_>, words: &[&str], code: i32) -> Result<Self> {
        let output: Output = loment.run(&[&["gc", "-o", "json"], words].concat(), "").await?;
        let (out, err) = (output.stdout.trim(), output.stderr.trim());
        ensure!(output.code == code, "loment gc {words:?}: exit code {}: {err}\n{out}", output.code);
        Ok(Self(serde_json::from_str(out).context("read what loment gc prints")?))
    }

    /// The kinds of leftovers of the pod with this name, each once, sorted.
    fn kinds(&self, pod: &str) -> Vec<&str> {
        let all = self.0["leftovers"].as_array().into_iter().flatten();
        let mut kinds: Vec<&str> =
            all.filter(|one| one["pod"]["name"] == pod).filter_map(|one| one["kind"].as_str()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }

    /// What of this kind is told with this word in its name.
    fn find(&self, list: &str, kind: &str, word: &str) -> Option<&Value> {
        let mut all = self.0[list].as_array()?.iter();
        all.find(|one| one["kind"] == kind && one["object"].as_str().is_some_and(|object| object.contains(word)))
    }
}

pub(crate) async fn nothing_is_left_while_pods_of_all_kinds_live_and_others_come_and_go(node: &Node<'_>) -> Result<()> {
    let own = Manifest::new(node, "lives")?.share_pids().sidecar("sidecar", RUNS).app("app", RUNS);
    let loment = own.create(node).await?;
    loment.phase("lives", "Running").await?;
    let others = Node::connect(node.lab, config::RUNC).await?;
    let foreign = others.pod("foreign").run().await?;
    foreign.start(shell("app", RUNS)).await?;
    let kubelets = node.pod("kubelets").run().await?;
    kubelets.start(shell("app", RUNS)).await?;
    let plain = Detached::run(node, "plain", &["--annotation", "io.containerd.runc.v2.group=plain"]).await?;
    let coming = async {
        for round in 0..6 {
            let name = format!("comes-{round}");
            let pod = Manifest::new(node, &name)?.app("app", RUNS);
            pod.create(node).await?.ok(&["delete", "pod", &name, "--now"]).await?;
            let foreign = others.pod("goes").run().await?;
            foreign.start(shell("app", RUNS)).await?;
            foreign.remove().await?;
        }
        anyhow::Ok(())
    };
    let looking = async {
        for _ in 0..3 {
            let said = loment.ok(&["gc", "--dry-run"]).await?;
            ensure!(said.starts_with("Nothing is left\n"), "gc says {said}");
        }
        loment.ok(&["gc", "--force"]).await
    };
    let (came, said) = tokio::join!(coming, looking);
    came?;
    said?;
    loment.phase("lives", "Running").await?;
    let used = loment.ok(&["gc", "--dry-run", "--usage"]).await?;
    ensure!(used.contains("containerd") && used.contains("default/lives"), "usage is {used}");
    plain.remove().await?;
    foreign.remove().await?;
    kubelets.remove().await?;
    loment.delete("lives").await
}

/// What a pod of another runtime says of itself by annotations: no directory becomes a pod's by it, and no other pod is hidden.
pub(crate) async fn annotations_of_somebody_elses_pod_lead_no_command_to_a_directory_of_the_machine(
    node: &Node<'_>,
) -> Result<()> {
    let loment = Loment::new(node.lab);
    let others = Node::connect(node.lab, config::RUNC).await?;
    let victim = node.lab.directory("volumes", "victim")?;
    fs::write(victim.join("precious"), "")?;
    let here = victim.display().to_string();
    let sandbox = |name: &str, manifest: &str, annotations: &[(&str, &str)]| {
        let pod = others.pod(name).annotation("io.loment.pod.manifest", manifest);
        let pod = pod.with(|config| {
            if let Some(metadata) = &mut config.metadata {
                "bait".clone_into(&mut metadata.namespace);
            }
        });
        annotations.iter().fold(pod, |pod, (key, value)| pod.annotation(&format!("io.loment.pod.{key}"), value))
    };
    let manifest = |name: &str, uid: &str| {
        let metadata = json!({ "name": name, "namespace": "bait", "uid": uid });
        json!({ "metadata": metadata, "spec": { "containers": [{ "name": "a", "image": "busybox" }] } }).to_string()
    };
    let unbegun = [("held-in", "/nonexistent"), ("directory", "/x")];
    let pods = [
        sandbox("path", &manifest("path", &here), &unbegun).run().await?,
        sandbox("named", &manifest("named", "victim"), &[("directory", here.as_str())]).run().await?,
        sandbox("garbage", "{", &[]).run().await?,
    ];
    let own = Manifest::new(node, "own")?.app("app", RUNS);
    own.create(node).await?.phase("own", "Running").await?;
    let listed = loment.ok(&["get", "pods", "-A"]).await?;
    ensure!(listed.contains("own") && !listed.contains("bait"), "it lists {listed}");
    loment.run(&["delete", "pod", "--all", "--now", "-n", "bait"], "").await?;
    loment.run(&["delete", "pod", "path", "named", "--now", "-n", "bait"], "").await?;
    for name in ["path", "named"] {
        let mut manifest: Value = serde_json::from_str(&Manifest::new(node, name)?.app("app", RUNS).text())?;
        manifest["metadata"]["namespace"] = json!("bait");
        let made = loment.run(&["create", "-f", "-"], &manifest.to_string()).await?;
        ensure!(made.code == 0, "a pod of the name is not made: {}", made.stderr);
    }
    loment.ok(&["gc", "--force"]).await?;
    loment.ok(&["delete", "pod", "--all", "--now", "-n", "bait"]).await?;
    ensure!(victim.join("precious").exists(), "the directory is gone");
    for pod in pods {
        pod.start(shell("app", RUNS)).await.context("the sandbox of another runtime was touched")?;
        pod.remove().await?;
    }
    fs::remove_dir_all(&victim)?;
    loment.delete("own").await
}

/// Reaps what has lost its parent, as a node's init does.
async fn adopts<T>(node: &Node<'_>) -> T {
    loop {
        let _taken = node.lab.census();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// containerd comes back with what it knew before these pods were made. Of one the shim was killed and the bundles are lost
/// too: all that tells of it are its processes and where they are.
pub(crate) async fn what_containerd_has_forgotten_is_named_by_its_pod_and_removed_and_other_pods_live_on(
    node: &Node<'_>,
) -> Result<()> {
    let loment = Loment::new(node.lab);
    let lives = node.pod("lives").run().await?;
    let app = lives.start(shell("app", RUNS)).await?;
    let pid = app.pid().await?;
    let backup = PathBuf::from(format!("{METADATA}.backup"));
    let copy = async || fs::copy(METADATA, &backup).map(drop).context("copy containerd's metadata");
    node.lab.restart_containerd_after(copy).await?;
    let before = node.lab.census();
    let killed = node.pod("killed").shared_pids().run().await?;
    let app_of_killed = killed.start(shell("app", "trap '' TERM; while :; do sleep 1; done")).await?;
    let leaked = node.pod("leaked").run().await?;
    leaked.start(shell("app", RUNS)).await?;
    let kept = Manifest::new(node, "kept")?.sidecar("sidecar", RUNS).app("app", RUNS);
    kept.create(node).await?.phase("kept", "Running").await?;
    let shim = shim_of(&killed.id)?;
    let forget = async || {
        kill(shim, Signal::SIGKILL).context("kill a shim")?;
        for id in [&killed.id, &app_of_killed.id] {
            fs::remove_dir_all(Path::new(BUNDLES).join(id)).context("lose a bundle")?;
        }
        fs::rename(&backup, METADATA).context("put containerd's metadata back")
    };
    node.lab.restart_containerd_after(forget).await?;

    let said = Said::of(&loment, &["--dry-run"], LEFT).await?;
    for (pod, expected) in [
        ("killed", ["cgroup", "cni", "interface", "netns", "process"].as_slice()),
        ("leaked", &["cgroup", "cni", "interface", "netns", "process", "shim", "socket"]),
        ("kept", &["cgroup", "cni", "interface", "netns", "process", "shim", "socket"]),
    ] {
        let kinds = said.kinds(pod);
        ensure!(expected.iter().all(|kind| kinds.contains(kind)), "of {pod} these are told: {kinds:?}\n{:#}", said.0);
    }
    ensure!(said.kinds("lives").is_empty(), "something of a pod that lives is told: {:#}", said.0);
    ensure!(loment.phase("kept", "Unknown").await.is_ok(), "the pod that has lost its sandbox is none any more");

    let removed = tokio::select! {
        removed = Said::of(&loment, &["--force"], 0) => removed,
        never = adopts(node) => never,
    };
    removed?;
    let again = loment.ok(&["gc", "--dry-run"]).await?;
    ensure!(again.starts_with("Nothing is left\n"), "a second look finds {again}");
    ensure!(app.pid().await? == pid && Path::new(&format!("/proc/{pid}")).exists(), "the pod that lives was touched");
    // It is a pod still, with its files: it goes as pods go.
    loment.delete("kept").await?;
    // What a kubelet has made for a pod it removes by itself.
    for pod in [&killed, &leaked] {
        let linux = pod.config.linux.as_ref().context("the pod's cgroup")?;
        hierarchy::remove_everywhere(&linux.cgroup_parent)?;
    }
    let left = node.lab.left_since(&before);
    ensure!(left.is_empty(), "left behind:\n  {}", left.join("\n  "));
    lives.remove().await
}

/// What a container of a `loment create` pod leaves when everything else of it has gone.
struct Remains {
    id: String,
    cgroup: String,
    bundle: PathBuf,
    socket: PathBuf,
}

impl Remains {
    /// A cgroup, a bundle with a record and a mount, and a socket that nobody listens on.
    fn make(number: u8) -> Result<Self> {
        let id = format!("{number:064x}");
        let uid = format!("0000-{number}");
        let cgroup = format!("/loment/pod{uid}/{id}");
        hierarchy::create_everywhere(&cgroup)?;
        let bundle = Path::new(BUNDLES).join(&id);
        fs::create_dir_all(bundle.join("shm"))?;
        let record = serde_json::json!({ "id": id, "pid": 0, "start_time": 0, "cgroup": cgroup });
        fs::write(bundle.join("loment.json"), record.to_string())?;
        let none: Option<&str> = None;
        mount(Some("shm"), &bundle.join("shm"), Some("tmpfs"), MsFlags::empty(), none).context("mount on a bundle")?;
        let socket = Path::new("/run/containerd/s").join(format!("{number:064x}"));
        fs::write(bundle.join("address"), format!("unix://{}", socket.display()))?;
        fs::create_dir_all("/run/containerd/s")?;
        drop(UnixListener::bind(&socket).context("make a socket")?);
        Ok(Self { id, cgroup, bundle, socket })
    }

    fn directories(&self) -> Vec<PathBuf> {
        let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let all = hierarchy::parse_mountinfo(&mountinfo).into_iter();
        all.map(|one| one.mountpoint.join(self.cgroup.trim_start_matches('/'))).filter(|path| path.exists()).collect()
    }
}

pub(crate) async fn a_stale_socket_a_mount_and_an_empty_cgroup_are_found_one_by_one_and_removed(
    node: &Node<'_>,
) -> Result<()> {
    let loment = Loment::new(node.lab);
    let remains = Remains::make(7)?;
    // What nothing tells of is told, and left alone; so is a link, whatever it is called.
    let stranger = Path::new("/run/containerd/s").join("f".repeat(64));
    drop(UnixListener::bind(&stranger)?);
    let link = Path::new("/run/netns/cni-x");
    std::os::unix::fs::symlink("/etc/hostname", link)?;
    let hostile = Path::new(BUNDLES).join("..hostile");
    fs::create_dir_all(&hostile)?;
    fs::write(hostile.join("loment.json"), r#"{"id":"../../etc","pid":1,"start_time":0,"cgroup":"/"}"#)?;
    let said = Said::of(&loment, &["--dry-run"], LEFT).await?;
    for kind in ["bundle", "cgroup", "mount", "socket"] {
        ensure!(said.find("leftovers", kind, &remains.id).is_some(), "no {kind} is told: {:#}", said.0);
    }
    ensure!(said.find("leftAlone", "socket", "ffff").is_some(), "the other socket is not told: {:#}", said.0);
    Said::of(&loment, &["--force"], 0).await?;
    let there = [stranger.exists(), link.is_symlink(), hostile.exists(), Path::new("/etc/hostname").exists()];
    ensure!(there == [true; 4], "what is nobody's to remove is gone: {there:?}");
    fs::remove_file(&stranger)?;
    fs::remove_file(link)?;
    fs::remove_dir_all(&hostile)?;
    ensure!(
        !remains.socket.exists() && !remains.bundle.exists() && remains.directories().is_empty(),
        "something is left"
    );
    let again = loment.ok(&["gc", "--dry-run"]).await?;
    ensure!(again == "Nothing is left\n", "a second look finds {again}");
    Ok(())
}

/// A process that goes with this.
struct Sleeper(Child);

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ended = self.0.kill().and_then(|()| self.0.wait());
    }
}

pub(crate) async fn a_process_that_somebody_has_put_into_a_cgroup_that_is_left_is_told_and_not_killed(
    node: &Node<'_>,
) -> Result<()> {
    let loment = Loment::new(node.lab);
    let remains = Remains::make(8)?;
    let mut sleeper = Sleeper(Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().context("run sleep")?);
    for directory in remains.directories() {
        fs::write(directory.join("cgroup.procs"), sleeper.0.id().to_string())
            .with_context(|| format!("put it into {}", directory.display()))?;
    }
    let pid = sleeper.0.id().to_string();
    let said = Said::of(&loment, &["--dry-run"], LEFT).await?;
    ensure!(said.find("leftAlone", "process", &pid).is_some(), "it is not told: {:#}", said.0);
    let cgroup = said.find("leftAlone", "cgroup", &remains.id).context("its cgroup is not told")?;
    ensure!(cgroup["kept"].as_str().is_some_and(|why| why.contains(&pid)), "the reason is {}", cgroup["kept"]);
    Said::of(&loment, &["--force"], 0).await?;
    ensure!(sleeper.0.try_wait()?.is_none(), "it was killed");
    ensure!(!remains.directories().is_empty(), "its cgroup is gone");
    drop(sleeper);
    Said::of(&loment, &["--force"], 0).await?;
    ensure!(remains.directories().is_empty(), "its cgroup is still there");
    Ok(())
}

pub(crate) async fn without_a_terminal_it_says_what_to_type_and_does_nothing(node: &Node<'_>) -> Result<()> {
    let loment = Loment::new(node.lab);
    let remains = Remains::make(9)?;
    let said = loment.refused(&["gc"], "y\n").await?;
    ensure!(said.lines().count() == 1 && said.contains("--force") && said.contains("--dry-run"), "it says {said:?}");
    ensure!(remains.socket.exists() && remains.bundle.exists(), "something was removed");
    let done = loment.ok(&["gc", "-f"]).await?;
    ensure!(done.ends_with("leftovers removed\n"), "it says {done:?}");
    ensure!(!remains.socket.exists() && !remains.bundle.exists(), "something is left");
    Ok(())
}

/// A pod whose shim has been killed and that containerd still knows is a pod: `loment delete` removes it.
pub(crate) async fn a_pod_that_is_unknown_is_no_leftover(node: &Node<'_>) -> Result<()> {
    let loment = Manifest::new(node, "unknown")?.app("app", RUNS).create(node).await?;
    loment.phase("unknown", "Running").await?;
    kill(shim_of(&sandbox(node, "unknown").await?)?, Signal::SIGKILL).context("kill the shim")?;
    loment.phase("unknown", "Unknown").await?;
    let said = loment.ok(&["gc", "--dry-run"]).await?;
    ensure!(said == "Nothing is left\n", "gc says {said}");
    loment.delete("unknown").await
}

/// As containerd leaves it when a client hangs up in a RunPodSandbox: with CRI's label, and in no list of CRI's.
pub(crate) async fn what_cri_has_lost_is_seen_and_cleared_and_only_when_it_is_old_a_leftover(
    node: &Node<'_>,
) -> Result<()> {
    let pod = node.pod("listed").run().await?;
    let run = Run::new(node, "lost")?;
    run.started(&["--null-io", "--label", "io.cri-containerd.kind=sandbox"], "exec sleep 1000").await?;
    let unlisted = node.cri.list_unlisted().await?;
    ensure!(unlisted.iter().map(|one| one.id.as_str()).eq(["lost"]), "unlisted are {unlisted:?}");
    ensure!(unlisted[0].created.is_some_and(|created| created <= SystemTime::now()), "it was made {unlisted:?}");
    // It may be one that is just being made.
    let said = Said::of(&Loment::new(node.lab), &["--dry-run"], 0).await?;
    ensure!(said.0["leftovers"].as_array().is_some_and(Vec::is_empty), "left is {}", said.0);
    node.cri.clear_unlisted("lost").await?;
    node.cri.clear_unlisted("lost").await?;
    ensure!(node.cri.list_unlisted().await?.is_empty(), "it is still there");
    pod.remove().await
}
