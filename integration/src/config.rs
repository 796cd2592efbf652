//! What containerd and the CNI plugins are told.

use std::path::Path;

use crate::{
    hooks,
    version::{Sandboxer, Version},
};

/// Name of the runtime class that the shim serves.
pub const HANDLER: &str = "loment";

/// Name of the runtime class whose sandboxes the shim makes in every lab that can have it beside the other: both are there
/// to be compared.
pub const PAUSELESS: &str = "loment-shim";

/// The first version that has the Sandbox API in its only CRI server and finds its sandboxes again after a restart.
const FIRST_WITH_BOTH: Version = Version::new(2, 1);

/// Name of the runtime class with the distribution's own shim and runc, to compare with.
pub const RUNC: &str = "runc";

/// Name of the runtime class with crun under the distribution's shim, where there is a crun.
pub const CRUN: &str = "crun";

/// Plugins that no pod needs here and that probe the machine or write outside the lab's directories.
const DISABLED: [&str; 8] = [
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.snapshotter.v1.blockfile",
    "io.containerd.internal.v1.opt",
    "io.containerd.internal.v1.tracing",
    "io.containerd.tracing.processor.v1.otlp",
];

/// What varies between labs.
#[derive(Debug)]
pub struct Settings<'a> {
    /// The lab's directory.
    pub directory: &'a Path,
    /// Directory of the CNI plugins.
    pub cni: &'a Path,
    /// Image of a pod's sandbox container.
    pub pause_image: &'a str,
    /// Which version of containerd reads it.
    pub version: Version,
    /// Who makes the sandboxes of the class [`HANDLER`].
    pub sandboxer: Sandboxer,
    /// Whether processes may be given a lower OOM score than containerd's.
    pub may_lower_oom_score: bool,
    /// Whether containerd logs all that it does.
    pub debug: bool,
    /// The runc of its class, where it is not the one that the shim finds.
    pub runc: Option<&'a Path>,
    /// crun, if there is one.
    pub crun: Option<&'a Path>,
}

/// containerd's configuration, version 2, which containerd 1.6 to 2.x read.
pub fn containerd(settings: &Settings<'_>) -> String {
    let directory = settings.directory.display();
    let disabled: String = DISABLED.iter().map(|plugin| format!("  \"{plugin}\",\n")).collect();
    let level = if settings.debug { "debug" } else { "info" };
    let (cni, pause) = (settings.cni.display(), settings.pause_image);
    let restrict = !settings.may_lower_oom_score;
    let base = hooks::base_spec_path(settings.directory);
    let runtimes: String = classes(settings, &base).iter().map(|class| class.text(settings.version)).collect();
    format!(
        r#"version = 2
root = "{directory}/root"
state = "{directory}/state"
disabled_plugins = [
{disabled}]

[grpc]
  address = "{directory}/containerd.sock"

[debug]
  level = "{level}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = {restrict}
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"

[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "{cni}"
  conf_dir = "{directory}/cni"

[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "overlayfs"
  default_runtime_name = "{HANDLER}"
{runtimes}"#
    )
}

/// A runtime class.
#[derive(Debug, Clone)]
struct Class<'a> {
    name: String,
    kind: &'static str,
    sandboxer: Sandboxer,
    base_spec: Option<&'a Path>,
    binary: Option<&'a Path>,
}

fn classes<'a>(settings: &Settings<'a>, base_spec: &'a Path) -> Vec<Class<'a>> {
    let class = |name: &str, kind, binary| Class {
        name: name.to_owned(),
        kind,
        sandboxer: Sandboxer::Podsandbox,
        base_spec: None,
        binary,
    };
    let runc = "io.containerd.runc.v2";
    let own = Class { sandboxer: settings.sandboxer, ..class(HANDLER, "io.containerd.loment.v2", None) };
    let plain = [own.clone(), class(RUNC, runc, settings.runc)];
    let with_hooks =
        plain.clone().map(|class| Class { name: hooks::class(&class.name), base_spec: Some(base_spec), ..class });
    let pauseless = Class { name: PAUSELESS.to_owned(), sandboxer: Sandboxer::Shim, ..own };
    let pauseless = (settings.version >= FIRST_WITH_BOTH).then_some(pauseless);
    let crun = settings.crun.map(|crun| class(CRUN, runc, Some(crun)));
    plain.into_iter().chain(with_hooks).chain(pauseless).chain(crun).collect()
}

impl Class<'_> {
    /// As the version of containerd reads it. Annotations of the project reach the shim; others stay with the pod.
    fn text(&self, version: Version) -> String {
        let Self { name, kind, sandboxer, base_spec, binary } = self;
        let section = format!("[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.{name}");
        let binary = binary.map(|path| format!("\n{section}.options]\n  BinaryName = \"{}\"\n", path.display()));
        let base_spec = base_spec.map(|path| format!("  base_runtime_spec = \"{}\"\n", path.display()));
        let (binary, base_spec) = (binary.unwrap_or_default(), base_spec.unwrap_or_default());
        let sandboxer = sandboxer.setting(version);
        format!(
            r#"
{section}]
  runtime_type = "{kind}"
  pod_annotations = ["io.loment.*"]
  container_annotations = ["io.loment.*"]
{sandboxer}{base_spec}{binary}"#
        )
    }
}

/// A bridge in the lab's network namespace with an address for each pod. No masquerading: a lab has no way out.
pub fn network(directory: &Path) -> String {
    serde_json::json!({
        "cniVersion": "0.4.0",
        "name": "loment-lab",
        "plugins": [{
            "type": "bridge",
            "bridge": "loment0",
            "isGateway": true,
            "ipMasq": false,
            "ipam": {
                "type": "host-local",
                "dataDir": directory.join("ipam"),
                "ranges": [[{ "subnet": "10.88.0.0/16" }]],
                "routes": [{ "dst": "0.0.0.0/0" }],
            },
        }],
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(version: Version, sandboxer: Sandboxer) -> String {
        containerd(&Settings {
            directory: Path::new("/run/x"),
            cni: Path::new("/usr/lib/cni"),
            pause_image: "example/pause:1",
            version,
            sandboxer,
            may_lower_oom_score: false,
            debug: false,
            runc: None,
            crun: Some(Path::new("/opt/crun")),
        })
    }

    #[test]
    fn every_runtime_class_passes_the_projects_annotations_on() {
        let text = text(Version::new(1, 6), Sandboxer::Podsandbox);
        assert!(text.contains("runtimes.crun.options]\n  BinaryName = \"/opt/crun\""));
        assert!(!text.contains("runtimes.runc.options]"));
        assert_eq!(text.matches("pod_annotations = [\"io.loment.*\"]").count(), 5);
        assert!(text.contains("restrict_oom_score_adj = true"));
        assert!(text.contains("runtime_type = \"io.containerd.loment.v2\""));
        assert!(!text.contains("sandbox_mode") && !text.contains("sandboxer"));
    }

    #[test]
    fn the_shim_makes_the_sandboxes_of_those_classes_only_that_say_so() {
        let asked = text(Version::new(1, 7), Sandboxer::Shim);
        assert_eq!(asked.matches("sandbox_mode = \"shim\"").count(), 2);
        assert_eq!(asked.matches("sandbox_mode = \"podsandbox\"").count(), 3);
        let both = text(Version::new(2, 1), Sandboxer::Podsandbox);
        assert_eq!(both.matches("sandboxer = \"shim\"").count(), 1);
        assert!(both.contains("runtimes.loment-shim]"));
    }
}
