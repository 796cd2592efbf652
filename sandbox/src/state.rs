//! What programs outside are told of a container: the state of the runtime specification. runtime.md, "State"

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use oci_spec::runtime::{ContainerState, Spec, State};

use crate::OCI_VERSION;

/// What of a container's state never changes.
#[derive(Debug)]
pub(crate) struct Known {
    id: String,
    bundle: PathBuf,
    annotations: Option<HashMap<String, String>>,
}

impl Known {
    /// Of the container that `spec` describes.
    pub(crate) fn of(spec: &Spec, id: &str, bundle: &Path) -> Self {
        Self { id: id.to_owned(), bundle: bundle.to_owned(), annotations: spec.annotations().clone() }
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn bundle(&self) -> &Path {
        &self.bundle
    }

    /// Its state; `pid` as whoever reads it sees it.
    pub(crate) fn state(&self, status: ContainerState, pid: Option<i32>) -> State {
        let mut state = State::default();
        state
            .set_version(OCI_VERSION.to_owned())
            .set_id(self.id.clone())
            .set_status(status)
            .set_pid(pid)
            .set_bundle(self.bundle.clone())
            .set_annotations(self.annotations.clone());
        state
    }
}
