//! Puts the calling process, and with it containerd and every pod, into namespaces of its own.
//!
//! The shim's socket directory is fixed (`/run/containerd/s`), as are CNI's caches and the places for network
//! namespaces: two labs, or a lab and the machine's own containerd, would meet there. In a lab, `/run` is an empty
//! tmpfs and `/var` an overlay, so that nothing is written to the machine; bridges and veth pairs live in its own network
//! namespace, cgroups below its own cgroup. All of it ends with the lab's last process.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

use crate::{
    hierarchy::{self, LabCgroups},
    lab::Options,
    requirements::{self, Machine},
    slices,
};

/// Everything that the lab itself makes is below this directory, on the lab's own tmpfs.
pub const LAB_DIR: &str = "/run/loment-lab";

const NONE: Option<&str> = None;

/// Where systemd listens, and what says that it runs.
const SYSTEMD: &str = "/run/systemd";

/// Enters the lab's namespaces. The calling process must have one thread.
///
/// Where pods are put into systemd's slices (see [`crate::slices`]), the lab sees the machine's cgroups, as systemd does.
pub fn enter(id: &str, machine: &Machine, options: &Options) -> Result<()> {
    let cgroups = LabCgroups::locate(id)?;
    cgroups.enter()?;
    if slices::are_used() {
        unshare(CloneFlags::CLONE_NEWNS).context("enter a new mount namespace")?;
        mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE).context("make every mount private")?;
        // It is hidden below, and looked up again.
        mount(Some(SYSTEMD), "/mnt", NONE, MsFlags::MS_BIND, NONE).context("keep what systemd has in /run")?;
    }
    let resolver = resolver_below_run();
    let cgroup = if slices::are_used() { CloneFlags::empty() } else { CloneFlags::CLONE_NEWCGROUP };
    let namespaces = CloneFlags::CLONE_NEWNS
        | cgroup
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    unshare(namespaces).context("enter new mount, cgroup, network, IPC and UTS namespaces")?;
    // First private, so that nothing reaches the machine; then shared, so that volumes with propagation work inside.
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE).context("make every mount private")?;
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_SHARED, NONE).context("make every mount shared")?;
    if !slices::are_used() {
        cgroups.remount()?;
    }
    if options.legacy_cgroups {
        hierarchy::hide_v2()?;
    }
    tmpfs("/run", "mode=755")?;
    tmpfs("/dev/shm", "mode=1777")?;
    for directory in ["/run/containerd", "/run/lock", "/run/netns", LAB_DIR] {
        fs::create_dir_all(directory).with_context(|| format!("create {directory}"))?;
    }
    if slices::are_used() {
        fs::create_dir(SYSTEMD).context("create /run/systemd")?;
        mount(Some("/mnt"), SYSTEMD, NONE, MsFlags::MS_BIND, NONE).context("show what systemd has in /run")?;
    }
    overlay("/var")?;
    offer_plugins(machine)?;
    restore(resolver)?;
    loopback_up()
}

fn tmpfs(target: &str, options: &str) -> Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), target, Some("tmpfs"), flags, Some(options))
        .with_context(|| format!("mount tmpfs on {target}"))
}

/// containerd, CNI and commands for pods write below `/var` in places that are not all configurable.
fn overlay(place: &str) -> Result<()> {
    let name = place.trim_start_matches('/');
    let (upper, work) = (Path::new(LAB_DIR).join(name), Path::new(LAB_DIR).join(format!("{name}-work")));
    for directory in [&upper, &work] {
        fs::create_dir(directory).with_context(|| format!("create {}", directory.display()))?;
    }
    fs::set_permissions(&upper, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("make the upper {place} readable"))?;
    let options = format!("lowerdir={place},upperdir={},workdir={}", upper.display(), work.display());
    mount(Some("overlay"), place, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
        .with_context(|| format!("mount overlay on {place} (is overlayfs in this kernel?)"))
}

/// containerd's own client looks for CNI's plugins in one place only, which some distributions have changed in some
/// versions: there they are.
fn offer_plugins(machine: &Machine) -> Result<()> {
    let place = Path::new(requirements::CNI_DEFAULT);
    if place.exists() || !Path::new("/opt").is_dir() {
        return Ok(());
    }
    overlay("/opt")?;
    let made = place.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| symlink(&machine.cni, place));
    made.with_context(|| format!("link {} to {}", place.display(), machine.cni.display()))
}

/// On a machine with systemd-resolved, `/etc/resolv.conf` points below `/run`, which the lab hides.
fn resolver_below_run() -> Option<(PathBuf, Vec<u8>)> {
    let target = fs::canonicalize("/etc/resolv.conf").ok()?;
    target.starts_with("/run").then(|| Some((target.clone(), fs::read(&target).ok()?)))?
}

fn restore(resolver: Option<(PathBuf, Vec<u8>)>) -> Result<()> {
    let Some((path, content)) = resolver else { return Ok(()) };
    let restored = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, content));
    restored.with_context(|| format!("write {}", path.display()))
}

/// containerd serves streams on 127.0.0.1, which a new network namespace does not have yet.
fn loopback_up() -> Result<()> {
    let busybox = requirements::BUSYBOX;
    let output = Command::new(busybox)
        .args(["ip", "link", "set", "lo", "up"])
        .output()
        .with_context(|| format!("run {busybox} ip"))?;
    if !output.status.success() {
        bail!("bring up the loopback interface: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
