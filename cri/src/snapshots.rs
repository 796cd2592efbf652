//! Views of images: file systems that nobody can write to, kept by containerd's snapshotter until they are removed. CRI has
//! no words for them.

use std::collections::HashMap;

use tonic::{Request, metadata::MetadataValue, transport::Channel};

use crate::{
    client::{Client, failed},
    error::{Code, Result},
};

/// The messages, generated from `proto/snapshots.proto`.
#[allow(missing_docs, clippy::all, clippy::cast_lossless, unreachable_pub)]
mod api {
    tonic::include_proto!("containerd.services.snapshots.v1");
}

pub use api::Mount;
use api::{MountsRequest, RemoveSnapshotRequest, ViewSnapshotRequest, snapshots_client::SnapshotsClient};

/// The containerd namespace of CRI's images.
const NAMESPACE: &str = "k8s.io";

/// Label of what containerd's garbage collector must not take.
const ROOT: &str = "containerd.io/gc.root";

fn in_namespace<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("containerd-namespace", MetadataValue::from_static(NAMESPACE));
    request
}

impl Client {
    fn snapshots(&self) -> SnapshotsClient<Channel> {
        SnapshotsClient::new(self.channel().clone())
    }

    /// Makes a view of what the layers up to `chain` hold, and returns how it is mounted. A view of this key that exists
    /// is answered with.
    pub async fn view_snapshot(&self, snapshotter: &str, key: &str, chain: &str) -> Result<Vec<Mount>> {
        let request = ViewSnapshotRequest {
            snapshotter: snapshotter.to_owned(),
            key: key.to_owned(),
            parent: chain.to_owned(),
            labels: HashMap::from([(ROOT.to_owned(), "true".to_owned())]),
        };
        let object = format!("snapshot {key}");
        match self.snapshots().view(in_namespace(request)).await {
            Ok(answer) => Ok(answer.into_inner().mounts),
            Err(status) if status.code() == Code::AlreadyExists => {
                let request = MountsRequest { snapshotter: snapshotter.to_owned(), key: key.to_owned() };
                let answer = self.snapshots().mounts(in_namespace(request)).await;
                Ok(answer.map_err(|status| failed("Mounts", object, &status))?.into_inner().mounts)
            }
            Err(status) => Err(failed("View", object, &status)),
        }
    }

    /// Removes a view. One that does not exist is removed.
    pub async fn remove_snapshot(&self, snapshotter: &str, key: &str) -> Result<()> {
        let request = RemoveSnapshotRequest { snapshotter: snapshotter.to_owned(), key: key.to_owned() };
        match self.snapshots().remove(in_namespace(request)).await {
            Err(status) if status.code() != Code::NotFound => Err(failed("Remove", format!("snapshot {key}"), &status)),
            _ => Ok(()),
        }
    }
}
