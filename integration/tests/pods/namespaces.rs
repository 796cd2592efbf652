//! `loment ns` of pods: what it says is what the kernel says, by inode.

use std::{fs, os::unix::fs::MetadataExt as _};

use anyhow::{Context as _, Result, ensure};
use loment_integration::{
    loment::Loment,
    pod::{Container, Node, shell},
};
use serde_json::Value;

const KINDS: [&str; 8] = ["user", "cgroup", "ipc", "net", "pid", "time", "uts", "mnt"];
/// Keeps a container there to be looked at.
const STAY: &str = "exec sleep 1000";

fn inode(pid: i32, kind: &str) -> Result<u64> {
    let path = format!("/proc/{pid}/ns/{kind}");
    Ok(fs::metadata(&path).with_context(|| format!("examine {path}"))?.ino())
}

/// What a map says of a container, which has to be one unit.
fn unit<'a>(map: &'a Value, pod: &str, container: &str) -> Result<&'a Value> {
    let pod = format!("default/{pod}");
    let groups = map["groups"].as_array().context("groups")?;
    let group = groups.iter().find(|group| group["kind"] == "pod" && group["name"] == *pod);
    let units = group.and_then(|group| group["units"].as_array()).with_context(|| format!("pod {pod} in {map}"))?;
    let mut found = units.iter().filter(|unit| unit["name"] == container);
    let unit = found.next().with_context(|| format!("{container} in {pod}"))?;
    ensure!(found.next().is_none(), "{container} of {pod} is there twice: {map}");
    Ok(unit)
}

/// A map tells each kind as the kernel does, the process, and what it uses.
async fn is_told(map: &Value, pod: &str, name: &str, container: &Container<'_>) -> Result<()> {
    let (unit, pid) = (unit(map, pod, name)?, container.pid().await?);
    ensure!(unit["processes"][0]["pid"] == pid, "{pod}/{name} is {pid}: {unit}");
    for kind in KINDS {
        let (told, known) = (unit["namespaces"][kind].as_u64(), inode(pid, kind)?);
        ensure!(told == Some(known), "{kind} of {pod}/{name} is {known}: {unit}");
    }
    ensure!(unit["usage"]["tasks"].as_u64() >= Some(1), "{pod}/{name} has no usage: {unit}");
    Ok(())
}

pub(crate) async fn a_map_of_two_pods_is_what_the_kernel_says(node: &Node<'_>) -> Result<()> {
    let (shared, apart) = (node.pod("shared").shared_pids().run().await?, node.pod("apart").run().await?);
    let (one, two) = (shared.start(shell("one", STAY)).await?, shared.start(shell("two", STAY)).await?);
    let (three, four) = (apart.start(shell("three", STAY)).await?, apart.start(shell("four", STAY)).await?);
    let loment = Loment::new(node.lab);
    let map: Value = serde_json::from_str(&loment.ok(&["ns", "map", "-o", "json"]).await?)?;
    for (pod, name, container) in
        [("shared", "one", &one), ("shared", "two", &two), ("apart", "three", &three), ("apart", "four", &four)]
    {
        is_told(&map, pod, name, container).await?;
    }
    let of = |pod: &str, name: &str| unit(&map, pod, name).map(|unit| unit["namespaces"].clone());
    let (one_is, two_is, three_is, four_is) =
        (of("shared", "one")?, of("shared", "two")?, of("apart", "three")?, of("apart", "four")?);
    for kind in ["net", "ipc", "uts"] {
        ensure!(one_is[kind] == two_is[kind] && three_is[kind] == four_is[kind], "{kind} is not shared: {map}");
        ensure!(one_is[kind] != three_is[kind], "{kind} is shared by pods: {map}");
    }
    ensure!(one_is["pid"] == two_is["pid"] && three_is["pid"] != four_is["pid"], "pids: {map}");
    ensure!(one_is["mnt"] != two_is["mnt"], "mounts: {map}");
    // Drawn, a namespace that is shared is one bar, or bars with the same label.
    let picture = loment.ok(&["ns", "map", "pod/shared", "pod/apart", "--svg", "-"]).await?;
    for kind in ["net", "ipc", "uts"] {
        ensure!(picture.contains(&format!(">{}</text>", one_is[kind])), "{kind} is not drawn: {picture}");
    }
    shared.remove().await?;
    apart.remove().await
}

pub(crate) async fn a_pods_network_is_joined_told_and_compared_by_its_name(node: &Node<'_>) -> Result<()> {
    let pod = node.pod("named").run().await?;
    let (one, _two) = (pod.start(shell("one", STAY)).await?, pod.start(shell("two", STAY)).await?);
    let network = inode(one.pid().await?, "net")?;
    let loment = Loment::new(node.lab);
    let inside =
        loment.ok(&["ns", "join", "pod/named", "--only", "net", "--", "readlink", "/proc/self/ns/net"]).await?;
    ensure!(inside == format!("net:[{network}]\n"), "the network is {network}, joined is {inside}");
    let why: Value = serde_json::from_str(&loment.ok(&["ns", "why", "pod/named/net", "-o", "json"]).await?)?;
    let told = &why["namespaces"][0];
    ensure!(told["inode"] == network, "the network is {network}: {told}");
    let whose = told["whose"].as_array().context("whose")?;
    for name in ["default/named/one", "default/named/two"] {
        ensure!(whose.iter().any(|one| one == name), "{name} has a share: {told}");
    }
    let words = ["ns", "diff", "pod/named/one", "pod/named/two", "-o", "json"];
    let diff: Value = serde_json::from_str(&loment.ok(&words).await?)?;
    for row in diff["namespaces"].as_array().context("rows")? {
        let own = ["pid", "mnt"].iter().any(|kind| row["type"] == *kind);
        ensure!(own || row["type"] == "cgroup" || row["shared"] == true, "{row}");
        ensure!(!own || row["shared"] == false, "{row}");
    }
    pod.remove().await
}
