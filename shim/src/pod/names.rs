//! What a pod's shim and whoever makes the pod have to call alike: annotations, and files in the pod's directory.

/// Annotation of a sandbox: the completed manifest as compact JSON. Its presence makes the shim run the pod's lifecycle.
pub const MANIFEST: &str = "io.loment.pod.manifest";
/// Annotation of a sandbox: the directory that holds the pod's volumes and files. It is root's, and its record is in it.
pub const DIRECTORY: &str = "io.loment.pod.directory";
/// Annotation of a sandbox: the pod waits until its shim is told that it has been made ([`super::client::PodShim::start`]),
/// and that is then written down in this directory. A client that is killed before has made nothing that runs.
pub const HELD_IN: &str = "io.loment.pod.held-in";
/// Annotation of a sandbox: the directory that holds the logs of the pod's containers.
pub const LOGS: &str = "io.loment.pod.logs";
/// Annotation of a sandbox: time between two looks at what the pod's limited storage is used for.
pub const STORAGE_INTERVAL: &str = "io.loment.pod.storage-interval";
/// Annotation of a container: its name in the manifest.
pub const CONTAINER_NAME: &str = "io.loment.container.name";

/// The file with the pod as it is: `v1.Pod`. Whoever makes the pod writes it, before there is a sandbox.
pub const RECORD: &str = "pod.json";
/// The file that says that a held pod has begun.
pub const BEGUN: &str = "begun";
/// The file with the pod's status: `v1.PodStatus`, replaced as a whole.
pub const STATUS: &str = "status.json";
/// The file with what has happened: an entry of the Pod service in each line, appended.
pub const TIMELINE: &str = "timeline.jsonl";
