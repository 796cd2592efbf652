//! A pod through the new runtime class: started, measured, removed.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::args::Filenames;
use crate::commands::create;
use crate::commands::delete::{self, Grace};
use crate::commands::note;
use crate::leaks::usage;
use crate::manifest;
use crate::pod;
use crate::session::{Found, Session};

/// How long the pod may take to run, once its image is there.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);
/// After this the shim of an idle pod has given back what its start took.
const SETTLES: Duration = Duration::from_secs(2);
/// The image where containerd tells of none.
const IMAGE: &str = "registry.k8s.io/pause:3.10";
const NAMESPACE: &str = "loment-install";

/// What the pod showed.
#[derive(Clone, Debug)]
pub(super) struct Trial {
    pub(super) image: String,
    /// From the beginning of its sandbox until its container ran.
    pub(super) started: Duration,
    /// What the pod takes beside its container: PSS of its shim, and of its sandbox's process.
    pub(super) memory_kib: u64,
}

impl Trial {
    /// As a quantity: whole mebibytes, rounded up.
    pub(super) fn overhead(&self) -> String {
        format!("{}Mi", self.memory_kib.div_ceil(1024).max(1))
    }

    pub(super) fn line(&self, handler: &str) -> String {
        format!(
            "a pod of {} with the runtime class {handler:?} ran {:.1} ms after its sandbox was begun, took {} KiB beside its \
             container, and is removed",
            self.image,
            self.started.as_secs_f64() * 1000.0,
            self.memory_kib
        )
    }

    pub(super) fn json(&self) -> Value {
        json!({ "image": self.image, "startedMilliseconds": self.started.as_secs_f64() * 1000.0, "memoryKiB": self.memory_kib })
    }
}

/// Starts a pod, waits until it runs, measures and removes it.
pub(super) async fn run(session: &Session, image: Option<&str>, host_network: bool) -> anyhow::Result<Trial> {
    let image = image.unwrap_or(IMAGE);
    let text = manifest_of(image, host_network);
    let objects = manifest::load("the pod of loment install", &text)?;
    let mut global = session.global.clone();
    global.namespace = None;
    let made = create::create(&global, objects, &Filenames::default(), None).await.with_context(|| {
        format!("start a pod of {image} (another image is named with --image, --no-pod starts none)")
    })?;
    let Some(name) = made.first().and_then(|pod| pod.metadata.name.clone()) else { bail!("no pod was made") };
    let Some(found) = session.find(NAMESPACE, &name).await? else { bail!("pod {name:?} has gone") };
    let measured = measure(session, &found, image).await;
    if let Err(error) = delete::delete(session, &found, Grace::Seconds(1)).await {
        note(&format!("Warning: `loment delete pod {name} -n {NAMESPACE}` has to remove the pod: {error:#}"));
    }
    measured
}

async fn measure(session: &Session, found: &Found, image: &str) -> anyhow::Result<Trial> {
    let end = Instant::now() + PATIENCE;
    loop {
        let status = pod::status(session, found).await?;
        if status["phase"] == "Running" {
            break;
        }
        if Instant::now() > end {
            bail!("the pod does not run after {PATIENCE:?}: {}", status["containerStatuses"][0]["state"]);
        }
        sleep(PAUSE).await;
    }
    let timeline = pod::timeline(session, found).await?;
    let started = timeline.iter().find(|one| one.reason == "Started").map(|one| one.since_start).unwrap_or_default();
    sleep(SETTLES).await;
    let memory_kib = memory(&found.sandbox.id).context("read what the pod's shim takes")?;
    Ok(Trial { image: image.to_owned(), started, memory_kib })
}

/// Of all processes that have the sandbox's id on their command line: the shim, and the holder of its namespaces.
fn memory(sandbox: &str) -> anyhow::Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir("/proc").context("read /proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if command.split(|byte| *byte == 0).any(|word| word == sandbox.as_bytes()) {
            sum += usage::of(pid, String::new(), String::new()).map_or(0, |used| used.memory_kib);
        }
    }
    if sum == 0 {
        bail!("no process has sandbox {sandbox} on its command line");
    }
    Ok(sum)
}

/// On the host's network: whether CNI works is another question (`loment doctor`). Not where the shim makes the sandbox:
/// containerd 2.1 ends with a nil pointer then (its issue 12983).
fn manifest_of(image: &str, host_network: bool) -> String {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "generateName": "trial-", "namespace": NAMESPACE },
        "spec": {
            "hostNetwork": host_network, "terminationGracePeriodSeconds": 1,
            "containers": [{ "name": "trial", "image": image, "imagePullPolicy": "IfNotPresent" }],
        },
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_of_the_pod_is_one() {
        let objects = manifest::load("x", &manifest_of("example/pause:1", true)).unwrap();
        assert_eq!(objects.pods.len(), 1);
    }

    #[test]
    fn overhead_is_rounded_up_to_mebibytes() {
        let of = |memory_kib| Trial { image: String::new(), started: Duration::ZERO, memory_kib }.overhead();
        assert_eq!([of(1), of(1024), of(1025)], ["1Mi", "1Mi", "2Mi"]);
    }
}
