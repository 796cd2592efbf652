//! Image volumes. CRI of before containerd 2.1 has none, so they are made here: a view of the image, which containerd's
//! snapshotter keeps, mounted read-only where the pod's volumes are.
//!
//! Which views there are is written down in the pod's directory before they are made: whoever removes the pod finds them,
//! however far its maker came.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::Pod;
use loment_cri::{Client, SnapshotMount};
use serde_json::Value;

use crate::disk;
use crate::lower::{self, layout::Layout};

/// The directory with a file for each view, named after the volume, that says which snapshotter keeps it.
fn records(directory: &Path) -> PathBuf {
    directory.join("image-volumes")
}

/// The name of a view: the pod's uid is the name of its directory.
fn key(directory: &Path, volume: &str) -> String {
    let uid = directory.file_name().unwrap_or_default().to_string_lossy();
    format!("loment-{uid}-{volume}")
}

/// The volumes of a pod that are images, with the images.
pub(crate) fn of(pod: &Pod) -> impl Iterator<Item = (&str, &str)> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| Some((volume.name.as_str(), volume.image.as_ref()?.reference.as_deref()?)))
}

/// Mounts the images of a pod, which are on this machine already, in its volumes.
pub(crate) async fn mount(client: &Client, pod: &Pod, layout: &Layout) -> anyhow::Result<()> {
    if of(pod).next().is_none() {
        return Ok(());
    }
    let snapshotter = snapshotter(client).await?;
    disk::make_directory(&records(&layout.directory))?;
    for (volume, image) in of(pod) {
        let record = records(&layout.directory).join(volume);
        fs::write(&record, &snapshotter).with_context(|| format!("write {}", record.display()))?;
        let view = async {
            let chain = chain(client, image).await?;
            let mounts = client.view_snapshot(&snapshotter, &key(&layout.directory, volume), &chain).await?;
            let [only] = mounts.as_slice() else { bail!("its snapshot has {} mounts, not one", mounts.len()) };
            let SnapshotMount { r#type: kind, source, options, .. } = only;
            disk::mount_view(&layout.volume(volume), kind, source, options)
        };
        view.await.with_context(|| format!("volume {volume:?} of pod {:?}: image {image:?}", lower::name(pod)))?;
    }
    Ok(())
}

/// Takes the views away that a pod with this directory has. Nothing is left to do if it has none.
pub(crate) async fn release(client: &Client, directory: &Path) -> anyhow::Result<()> {
    let records = records(directory);
    let entries = match fs::read_dir(&records) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        other => other.with_context(|| format!("read {}", records.display()))?,
    };
    disk::unmount(directory)?;
    for entry in entries {
        let record = entry.with_context(|| format!("read {}", records.display()))?.path();
        let snapshotter = fs::read_to_string(&record).with_context(|| format!("read {}", record.display()))?;
        let volume = record.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // The file is there before its text is, and a view comes after both.
        if !snapshotter.is_empty() {
            client.remove_snapshot(&snapshotter, &key(directory, &volume)).await?;
        }
    }
    Ok(())
}

/// The snapshotter that CRI uses.
async fn snapshotter(client: &Client) -> anyhow::Result<String> {
    let status = client.status(true).await?;
    let config = status.info.get("config").context("the configuration in the runtime's verbose status")?;
    let config: Value = serde_json::from_str(config).context("read the runtime's configuration")?;
    let named = config["containerd"]["snapshotter"].as_str().filter(|name| !name.is_empty());
    Ok(named.unwrap_or("overlayfs").to_owned())
}

/// The name of an image's layers together.
async fn chain(client: &Client, image: &str) -> anyhow::Result<String> {
    let status = client.image_status_verbose(image).await?;
    let info = status.info.get("info").context("the runtime does not say of which layers it is")?;
    let info: Value = serde_json::from_str(info).context("read what the runtime says of it")?;
    Ok(info["chainID"].as_str().context("the runtime does not say of which layers it is")?.to_owned())
}
