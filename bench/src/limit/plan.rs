//! What a pod made by hand is made of: as a container of containerd's is.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use oci_spec::runtime::{LinuxSeccomp, Mount, Spec};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    pod::Maker,
    settings::{Network, Operation},
};

/// All that the process that makes pods by hand has to know.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Plan {
    /// Read-only layers of the image, the topmost first.
    pub(super) layers: Vec<PathBuf>,
    pub(super) mounts: Vec<Mount>,
    pub(super) masked: Vec<PathBuf>,
    pub(super) readonly: Vec<PathBuf>,
    pub(super) seccomp: Option<LinuxSeccomp>,
    pub(super) arguments: Vec<String>,
    pub(super) environment: Vec<String>,
    /// Whether a pod has a network namespace.
    pub(super) own_network: bool,
    pub(super) containers: u32,
    pub(super) execs: bool,
    /// The cgroup below which it makes its own.
    pub(super) cgroup: String,
}

/// As this container is made.
pub(super) async fn of(maker: &Maker<'_>, container: &str) -> Result<Plan> {
    let status = maker.client.container_status_verbose(container, true).await?;
    let info = status.info.get("info").context("containerd tells nothing of a container's specification")?;
    let mut info: Value = serde_json::from_str(info).context("parse what containerd tells of a container")?;
    let pid = info["pid"].as_i64().context("find the pid of a container")?;
    let spec: Spec = serde_json::from_value(info["runtimeSpec"].take()).context("parse a container's specification")?;
    let table = format!("/proc/{pid}/mountinfo");
    let table = fs::read_to_string(&table).with_context(|| format!("read {table}"))?;
    let layers = layers(&table).context("find the layers of a container's root: is its snapshotter overlayfs?")?;
    ensure!(layers.iter().all(|layer| layer.is_absolute()), "the layers of a container's root have relative names");
    let (linux, process) = (spec.linux().clone(), spec.process().clone().context("a process to run")?);
    let linux = linux.context("a specification for Linux")?;
    let paths = |paths: &Option<Vec<String>>| paths.iter().flatten().map(PathBuf::from).collect();
    Ok(Plan {
        layers,
        mounts: spec.mounts().clone().unwrap_or_default(),
        masked: paths(linux.masked_paths()),
        readonly: paths(linux.readonly_paths()),
        seccomp: linux.seccomp().clone(),
        arguments: process.args().clone().unwrap_or_default(),
        environment: process.env().clone().unwrap_or_default(),
        own_network: maker.settings.network == Network::Cni,
        containers: maker.settings.containers,
        execs: maker.settings.times(Operation::Exec),
        cgroup: maker.cgroup(),
    })
}

/// The lower directories of the overlay that is mounted as the root. proc_pid_mountinfo(5)
fn layers(mountinfo: &str) -> Option<Vec<PathBuf>> {
    let root = mountinfo.lines().rev().find(|line| line.split(' ').nth(4) == Some("/"))?;
    let mut fields = root.split_once(" - ")?.1.split(' ');
    let (kind, options) = (fields.next()?, fields.nth(1)?);
    if kind != "overlay" {
        return None;
    }
    let lower =
        |option: &str| option.strip_prefix("lowerdir=").or(option.strip_prefix("lowerdir+=")).map(str::to_owned);
    let layers: Vec<PathBuf> = options
        .split(',')
        .filter_map(lower)
        .flat_map(|list| list.split(':').map(PathBuf::from).collect::<Vec<_>>())
        .collect();
    (!layers.is_empty()).then_some(layers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_those_of_the_root_in_either_way_to_write_them() {
        let line = |options: &str| {
            format!(
                "1 0 0:1 / / rw - overlay overlay rw,{options},upperdir=/u,workdir=/w\n2 1 0:2 / /proc rw - proc proc rw\n"
            )
        };
        let expected = Some(vec![PathBuf::from("/a"), PathBuf::from("/b")]);
        assert_eq!(layers(&line("lowerdir=/a:/b")), expected);
        assert_eq!(layers(&line("lowerdir+=/a,lowerdir+=/b")), expected);
        assert_eq!(layers("1 0 0:1 / / rw - ext4 /dev/sda rw\n"), None);
    }
}
