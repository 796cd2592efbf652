//! What an idle pod keeps: its shim, and the process that holds its namespaces.

use std::collections::HashMap;

use anyhow::{Context as _, Result};
use loment_cri::{Client, v1};
use serde::Serialize;
use serde_json::Value;

use crate::{process, statistics};

/// The processes of a pod beside those of its containers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Processes {
    /// The pause container's process, or what else holds the pod's namespaces; absent when only the shim does.
    pub(crate) sandbox: Option<i32>,
    /// Its parent, or that of a container; absent when that is no shim but process 1, which adopts whom nobody else does.
    pub(crate) shim: Option<i32>,
}

/// One pod's processes.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Idle {
    pub(crate) shim_pss_kib: u64,
    /// Private memory: what would be free if the process ended.
    pub(crate) shim_uss_kib: u64,
    pub(crate) sandbox_pss_kib: u64,
    pub(crate) sandbox_uss_kib: u64,
    pub(crate) shim_threads: u64,
    pub(crate) shim_descriptors: u64,
}

impl Idle {
    /// Both processes together.
    pub(crate) fn pss_kib(&self) -> u64 {
        self.shim_pss_kib + self.sandbox_pss_kib
    }

    /// The same of private memory.
    pub(crate) fn uss_kib(&self) -> u64 {
        self.shim_uss_kib + self.sandbox_uss_kib
    }

    /// The median pod of several, field by field; `None` without any.
    pub(crate) fn median(pods: &[Self]) -> Option<Self> {
        let of = |field: fn(&Self) -> u64| {
            statistics::median(pods.iter().map(|pod| field(pod) as f64).collect()).map(|median| median.round() as u64)
        };
        Some(Self {
            shim_pss_kib: of(|pod| pod.shim_pss_kib)?,
            shim_uss_kib: of(|pod| pod.shim_uss_kib)?,
            sandbox_pss_kib: of(|pod| pod.sandbox_pss_kib)?,
            sandbox_uss_kib: of(|pod| pod.sandbox_uss_kib)?,
            shim_threads: of(|pod| pod.shim_threads)?,
            shim_descriptors: of(|pod| pod.shim_descriptors)?,
        })
    }
}

/// The processes of a pod, as containerd tells them.
///
/// Errors: containerd tells neither the sandbox's process nor one of a container, or it has ended.
pub(crate) async fn processes(client: &Client, sandbox: &str) -> Result<Processes> {
    let status = client.pod_sandbox_status(sandbox, true).await?;
    let own = pid(&status.info)?;
    let child = match own {
        Some(pid) => pid,
        None => container(client, sandbox).await?,
    };
    let parent = process::parent(child)?;
    Ok(Processes { sandbox: own, shim: (parent > 1).then_some(parent) })
}

/// The process of one of a pod's containers.
async fn container(client: &Client, sandbox: &str) -> Result<i32> {
    let filter = v1::ContainerFilter { pod_sandbox_id: sandbox.to_owned(), ..v1::ContainerFilter::default() };
    let containers = client.list_containers(Some(filter)).await?;
    let first = containers.first().with_context(|| format!("find a container of sandbox {sandbox}"))?;
    let status = client.container_status_verbose(&first.id, true).await?;
    pid(&status.info)?.with_context(|| format!("containerd tells no process of sandbox {sandbox}, nor of a container"))
}

/// The pid in what containerd tells of a sandbox or a container.
fn pid(info: &HashMap<String, String>) -> Result<Option<i32>> {
    let info = info.get("info").context("containerd tells nothing of a process")?;
    let info: Value = serde_json::from_str(info).context("parse what containerd tells of a process")?;
    Ok(info["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 0))
}

/// What a pod's processes keep now. Nobody is asked, so that they stay idle.
///
/// Errors: the pod has no shim of its own that can be seen from here.
pub(crate) fn read(found: Processes) -> Result<Idle> {
    let shim = found.shim.context("find the shim of a sandbox: process 1 is its parent")?;
    let shim_memory = process::memory(shim)?;
    let sandbox_memory = found.sandbox.map(process::memory).transpose()?.unwrap_or_default();
    Ok(Idle {
        shim_pss_kib: shim_memory.proportional,
        shim_uss_kib: shim_memory.private,
        sandbox_pss_kib: sandbox_memory.proportional,
        sandbox_uss_kib: sandbox_memory.private,
        shim_threads: process::threads(shim)?,
        shim_descriptors: process::descriptors(shim)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_pod_is_that_of_each_field() {
        let pod = |shim, threads| Idle {
            shim_pss_kib: shim,
            shim_uss_kib: 1,
            sandbox_pss_kib: 100,
            sandbox_uss_kib: 2,
            shim_threads: threads,
            shim_descriptors: 20,
        };
        let found = Idle::median(&[pod(900, 1), pod(300, 2), pod(400, 9)]).unwrap();
        assert_eq!((found.pss_kib(), found.uss_kib(), found.shim_threads), (500, 3, 2));
        assert!(Idle::median(&[]).is_none());
    }
}
