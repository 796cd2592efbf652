//! Pod manifests for tests, and what their containers write into a volume that they share.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use loment_cri::v1;
use loment_integration::{
    loment::Loment,
    pod::{LogLine, Node, parse_log},
};
use serde_json::{Value, json};

/// Runs until it is asked to end, then ends with 0.
pub(crate) const RUNS: &str = "trap 'exit 0' TERM; sleep 1000 & wait";

/// Counts its attempts in `/shared/tries`; `$n` is the number of this one, from 1.
pub(crate) const COUNTED: &str = "n=$(( $(cat /shared/tries 2>/dev/null || echo 0) + 1 )); echo $n > /shared/tries.new; mv /shared/tries.new /shared/tries";

/// Where an example of this source tree is.
pub(crate) fn example(name: &str) -> String {
    format!("{}/../examples/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Waits until the test makes a file in the shared volume.
pub(crate) fn wait_for(file: &str) -> String {
    format!("until [ -e /shared/{file} ]; do sleep 0.02; done")
}

/// A Pod manifest. Every container sees one directory of the node as `/shared`.
pub(crate) struct Manifest {
    value: Value,
    shared: PathBuf,
}

impl Manifest {
    /// A pod without containers that retries after 20 ms.
    pub(crate) fn new(node: &Node<'_>, name: &str) -> Result<Self> {
        let shared = node.lab.directory("volumes", name)?;
        // Another test may have had a pod of this name.
        fs::remove_dir_all(&shared).and_then(|()| fs::create_dir(&shared)).context("make the shared volume anew")?;
        let value = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": name, "annotations": { "io.loment.pod.backoff-initial": "20ms" } },
            "spec": {
                "restartPolicy": "OnFailure",
                "terminationGracePeriodSeconds": 20,
                "volumes": [{ "name": "shared", "hostPath": { "path": shared, "type": "Directory" } }],
                "initContainers": [],
                "containers": [],
            },
        });
        Ok(Self { value, shared })
    }

    pub(crate) fn restart_policy(mut self, policy: &str) -> Self {
        self.value["spec"]["restartPolicy"] = json!(policy);
        self
    }

    /// Seconds that the pod may take to stop.
    pub(crate) fn grace(mut self, seconds: u64) -> Self {
        self.value["spec"]["terminationGracePeriodSeconds"] = json!(seconds);
        self
    }

    /// Its containers share one pid namespace, whose first process is the holder.
    pub(crate) fn share_pids(mut self) -> Self {
        self.value["spec"]["shareProcessNamespace"] = json!(true);
        self
    }

    pub(crate) fn host_network(mut self) -> Self {
        self.value["spec"]["hostNetwork"] = json!(true);
        self
    }

    pub(crate) fn annotation(mut self, key: &str, value: &str) -> Self {
        self.value["metadata"]["annotations"][key] = json!(value);
        self
    }

    pub(crate) fn init(self, name: &str, script: &str) -> Self {
        self.add("initContainers", name, script, json!({}))
    }

    pub(crate) fn sidecar(self, name: &str, script: &str) -> Self {
        self.add("initContainers", name, script, json!({ "restartPolicy": "Always" }))
    }

    /// A sidecar with these fields beside the usual ones.
    pub(crate) fn sidecar_with(self, name: &str, script: &str, mut fields: Value) -> Self {
        fields["restartPolicy"] = json!("Always");
        self.add("initContainers", name, script, fields)
    }

    pub(crate) fn app(self, name: &str, script: &str) -> Self {
        self.add("containers", name, script, json!({}))
    }

    /// An app container with these fields beside or instead of the usual ones.
    pub(crate) fn app_with(self, name: &str, fields: Value) -> Self {
        self.add("containers", name, "true", fields)
    }

    fn add(mut self, list: &str, name: &str, script: &str, fields: Value) -> Self {
        let mut container = json!({
            "name": name,
            "image": "busybox",
            "imagePullPolicy": "IfNotPresent",
            "command": ["sh", "-c", script],
            "volumeMounts": [{ "name": "shared", "mountPath": "/shared" }],
        });
        if let (Some(container), Value::Object(fields)) = (container.as_object_mut(), fields) {
            container.extend(fields);
        }
        if let Some(list) = self.value["spec"][list].as_array_mut() {
            list.push(container);
        }
        self
    }

    /// Sets a field of the pod's specification.
    pub(crate) fn spec(mut self, field: &str, value: Value) -> Self {
        self.value["spec"][field] = value;
        self
    }

    /// Sets a field of a container, which is given by its list and its place there.
    pub(crate) fn change(mut self, list: &str, place: usize, field: &str, value: Value) -> Self {
        self.value["spec"][list][place][field] = value;
        self
    }

    /// Adds something to a list of the pod's specification.
    pub(crate) fn with(mut self, list: &str, value: Value) -> Self {
        if let Some(list) = self.value["spec"][list].as_array_mut() {
            list.push(value);
        }
        self
    }

    /// Adds a volume: a directory of the node.
    pub(crate) fn volume(mut self, name: &str, path: &Path) -> Self {
        if let Some(volumes) = self.value["spec"]["volumes"].as_array_mut() {
            volumes.push(json!({ "name": name, "hostPath": { "path": path, "type": "Directory" } }));
        }
        self
    }

    /// Adds a volume that the pod brings with it, which `container` sees as `/<name>`.
    pub(crate) fn empty_dir(mut self, name: &str, container: &str, fields: Value) -> Self {
        if let Some(volumes) = self.value["spec"]["volumes"].as_array_mut() {
            volumes.push(json!({ "name": name, "emptyDir": fields }));
        }
        self.mount(name, container)
    }

    /// Lets another container see that volume.
    pub(crate) fn mount(mut self, name: &str, container: &str) -> Self {
        for list in ["initContainers", "containers"] {
            let containers = self.value["spec"][list].as_array_mut().into_iter().flatten();
            for one in containers.filter(|one| one["name"] == container) {
                if let Some(mounts) = one["volumeMounts"].as_array_mut() {
                    mounts.push(json!({ "name": name, "mountPath": format!("/{name}") }));
                }
            }
        }
        self
    }

    /// The manifest in JSON.
    pub(crate) fn text(&self) -> String {
        self.value.to_string()
    }

    /// Makes the pod.
    pub(crate) async fn create<'a>(&self, node: &Node<'a>) -> Result<Loment<'a>> {
        let loment = Loment::new(node.lab);
        loment.create(&self.text()).await?;
        Ok(loment)
    }

    /// The lines of a file in the shared volume; none when nobody has written it.
    pub(crate) fn lines(&self, file: &str) -> Vec<String> {
        fs::read_to_string(self.shared.join(file)).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// A file in the shared volume, on the node.
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.shared.join(file)
    }

    /// Whether there is a file in the shared volume.
    pub(crate) fn has(&self, file: &str) -> bool {
        self.shared.join(file).exists()
    }

    /// Makes a file in the shared volume.
    pub(crate) fn touch(&self, file: &str) -> Result<()> {
        let path = self.shared.join(file);
        fs::write(&path, "").with_context(|| format!("write {}", path.display()))
    }
}

/// A container of a pod, as CRI knows it.
pub(crate) async fn container(node: &Node<'_>, pod: &str, name: &str) -> Result<v1::ContainerStatus> {
    let labels = [("io.kubernetes.pod.name", pod), ("io.kubernetes.container.name", name)];
    let label_selector = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let filter = v1::ContainerFilter { label_selector, ..v1::ContainerFilter::default() };
    let found = node.cri.list_containers(Some(filter)).await?.pop();
    let found = found.with_context(|| format!("find container {name} of pod {pod}"))?;
    Ok(node.cri.container_status(&found.id).await?)
}

/// The id of a pod's sandbox.
pub(crate) async fn sandbox(node: &Node<'_>, pod: &str) -> Result<String> {
    let all = node.cri.list_pod_sandboxes(None).await?;
    let is_it = |one: &v1::PodSandbox| one.metadata.as_ref().is_some_and(|metadata| metadata.name == pod);
    Ok(all.into_iter().find(is_it).with_context(|| format!("find the sandbox of pod {pod}"))?.id)
}

/// All that a container has written, whatever the attempt: one file.
pub(crate) async fn log(node: &Node<'_>, pod: &str, name: &str) -> Result<Vec<LogLine>> {
    let path = container(node, pod, name).await?.log_path;
    let text = fs::read_to_string(Path::new(&path)).with_context(|| format!("read {path}"))?;
    parse_log(&text)
}
