//! The end of a run: nothing of it stays.

use std::{
    fs, io,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use futures_util::future::join_all;
use loment_cgroups::Layout;
use tokio::process::Command;

use crate::{
    handlers::Driver,
    pod::{CROWD, Maker, SLICE},
};

/// How long the cgroups of removed pods may take to go.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait before another look at cgroups: v1 tells nobody when the last process has left one.
const PAUSE: Duration = Duration::from_millis(5);

/// Removes the pods of a run that containerd knows, and the run's cgroups, with systemd's slice for them.
///
/// Errors: some pod cannot be removed, and all others were tried; a cgroup is still in use after a while.
pub(crate) async fn remove(maker: &Maker<'_>) -> Result<()> {
    let mut failed = None;
    for some in maker.all().await?.chunks(CROWD) {
        let removed = join_all(some.iter().map(|sandbox| maker.remove(sandbox))).await;
        let errors = some.iter().zip(removed).filter_map(|(sandbox, removed)| {
            removed.err().map(|error| error.context(format!("remove pod sandbox {sandbox}")))
        });
        failed = errors.last().or(failed);
    }
    failed.map_or(Ok(()), Err)?;
    if maker.driver == Driver::Systemd {
        stop(&maker.slice()).await?;
        let above = format!("{SLICE}.slice");
        if !Layout::detect()?.mount_points().any(|mount| has_children(&mount.join(&above))) {
            stop(&above).await?;
        }
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        match remove_cgroups(&maker.cgroup()) {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Stops a slice, which goes with that.
async fn stop(slice: &str) -> Result<()> {
    let output = Command::new("systemctl").args(["stop", slice]).kill_on_drop(true).output();
    let output = tokio::time::timeout(PATIENCE, output).await.with_context(|| format!("stop {slice}: no end"))?;
    let output = output.with_context(|| format!("run systemctl stop {slice}"))?;
    ensure!(output.status.success(), "systemctl stop {slice}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// Removes a cgroup, and the one above it when no other run uses it, from all hierarchies.
fn remove_cgroups(cgroup: &str) -> Result<()> {
    let layout = Layout::detect()?;
    for mount in layout.mount_points() {
        let directory = mount.join(cgroup.trim_start_matches('/'));
        prune(&directory).with_context(|| format!("remove cgroup {}", directory.display()))?;
        if let Some(above) = directory.parent().filter(|above| *above != mount) {
            match fs::remove_dir(above) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // Of another run.
                Err(_) if has_children(above) => {}
                Err(error) => bail!("remove cgroup {}: {error}", above.display()),
            }
        }
    }
    Ok(())
}

fn has_children(directory: &Path) -> bool {
    fs::read_dir(directory).is_ok_and(|entries| entries.flatten().any(|entry| entry.path().is_dir()))
}

/// Removes a cgroup with those below. Their files go with them.
fn prune(directory: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        prune(&entry.path())?;
    }
    match fs::remove_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
