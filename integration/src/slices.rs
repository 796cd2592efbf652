//! Pods in slices of systemd's, as a kubelet with the systemd cgroup driver puts them.

use std::{env, process::Command};

use anyhow::{Context as _, Result, ensure};

/// Set to have every pod in a slice of its own: only where systemd is pid 1.
const VARIABLE: &str = "LOMENT_TEST_SLICES";

/// The slice above those of the pods.
const TOP: &str = "lomentpods";

/// Whether pods are put into slices.
pub fn are_used() -> bool {
    env::var_os(VARIABLE).is_some_and(|value| !value.is_empty())
}

/// The slice of a pod, as the cgroup parent that makes containerd name scopes in it.
pub fn of_pod(uid: &str) -> String {
    format!("/{TOP}.slice/{TOP}-{}.slice", uid.replace('-', "_"))
}

/// Whether a cgroup parent is a slice: systemd makes it with the first scope in it.
pub fn is_slice(parent: &str) -> bool {
    parent.ends_with(".slice")
}

/// Stops the slice of a pod, and the one above when it was the last.
pub fn remove(parent: &str) -> Result<()> {
    let unit = parent.rsplit('/').next().unwrap_or_default();
    for unit in [unit, &format!("{TOP}.slice")] {
        let output = Command::new("systemctl").args(["stop", unit]).output().context("run systemctl")?;
        ensure!(output.status.success(), "stop {unit}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
