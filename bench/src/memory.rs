//! What an idle pod keeps: its shim, and the process that holds its namespaces.

use anyhow::{Context as _, Result, bail};
use loment_cri::Client;
use serde::Serialize;
use serde_json::Value;

use crate::{process, statistics};

/// The processes of a pod beside those of its containers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Processes {
    /// The pause container's process, or what else holds the pod's namespaces.
    pub(crate) sandbox: i32,
    /// Its parent; absent when that is no shim but process 1, which adopts whom nobody else does.
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
/// Errors: containerd does not tell the sandbox's process, or it has ended.
pub(crate) async fn processes(client: &Client, sandbox: &str) -> Result<Processes> {
    let status = client.pod_sandbox_status(sandbox, true).await?;
    let info = status.info.get("info").context("containerd tells nothing of the sandbox's process")?;
    let info: Value = serde_json::from_str(info).context("parse what containerd tells of a sandbox")?;
    let pid = info["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 0);
    let Some(pid) = pid else { bail!("containerd tells no process of sandbox {sandbox}") };
    let parent = process::parent(pid)?;
    Ok(Processes { sandbox: pid, shim: (parent > 1).then_some(parent) })
}

/// What a pod's processes keep now. Nobody is asked, so that they stay idle.
///
/// Errors: the pod has no shim of its own that can be seen from here.
pub(crate) fn read(found: Processes) -> Result<Idle> {
    let shim = found.shim.context("find the shim of a sandbox: process 1 is its parent")?;
    let (shim_memory, sandbox_memory) = (process::memory(shim)?, process::memory(found.sandbox)?);
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
