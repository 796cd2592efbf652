//! The pod's own cgroup, above those of its containers: made and limited by whoever makes the pod (a kubelet elsewhere),
//! removed by whoever deletes it.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use loment_cgroups::{Cgroup, Layout};
use loment_cri::v1::LinuxContainerResources;
use oci_spec::runtime::{LinuxCpuBuilder, LinuxMemoryBuilder, LinuxResources, LinuxResourcesBuilder};

/// Makes the cgroup in which the runtime makes those of the sandbox and the containers, with the limits of the pod.
pub(crate) fn make(path: &str, total: &LinuxContainerResources) -> anyhow::Result<()> {
    let layout = Layout::detect()?;
    let cgroup = Cgroup::create(&layout, Path::new(path))?;
    cgroup.apply(&limits(total)?)?;
    Ok(())
}

fn limits(total: &LinuxContainerResources) -> anyhow::Result<LinuxResources> {
    let number = |value: i64| u64::try_from(value).unwrap_or_default();
    let mut cpu = LinuxCpuBuilder::default().shares(number(total.cpu_shares));
    if total.cpu_quota > 0 {
        cpu = cpu.period(number(total.cpu_period)).quota(total.cpu_quota);
    }
    let mut limits = LinuxResourcesBuilder::default().cpu(cpu.build().context("limit the pod's cpu")?);
    if total.memory_limit_in_bytes > 0 {
        let memory = LinuxMemoryBuilder::default().limit(total.memory_limit_in_bytes).build();
        limits = limits.memory(memory.context("limit the pod's memory")?);
    }
    limits.build().context("limit the pod")
}

/// Removes the pod's cgroup, and the one above it when this was the last pod. One that is gone is removed.
pub(crate) fn remove(path: &str) -> anyhow::Result<()> {
    let layout = Layout::detect()?;
    Cgroup::open(&layout, Path::new(path))?.remove()?;
    let Some(parent) = Path::new(path).parent().filter(|parent| parent.components().count() > 1) else { return Ok(()) };
    for directory in Cgroup::open(&layout, parent)?.directories() {
        // The kernel refuses while another pod is in it, and that is what is wanted.
        let _ = fs::remove_dir(directory);
    }
    Ok(())
}
