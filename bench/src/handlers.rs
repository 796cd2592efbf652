//! The runtime handlers that a containerd has.

use anyhow::{Result, bail};
use loment_cri::Client;
use serde::Serialize;
use serde_json::Value;

/// A runtime handler, as containerd's configuration has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Handler {
    pub(crate) name: String,
    /// Type of the runtime, which names the shim: `io.containerd.runc.v2`.
    pub(crate) runtime_type: String,
    /// The OCI runtime that the shim runs, where the configuration names one.
    pub(crate) binary: Option<String>,
    /// What shim or runtime answer when they are asked for their version.
    pub(crate) version: Option<String>,
    /// Whether cgroups are made by systemd, whose names are those of slices.
    #[serde(skip)]
    pub(crate) systemd: bool,
}

/// Who makes the cgroups of pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Driver {
    /// Runtimes make directories.
    Cgroupfs,
    /// systemd makes slices and scopes, because it is asked to.
    Systemd,
}

impl Driver {
    /// For all handlers of a run alike: a slice for pods as soon as one of them cannot do without.
    pub(crate) fn of(handlers: &[Handler]) -> Self {
        if handlers.iter().any(|handler| handler.systemd) { Self::Systemd } else { Self::Cgroupfs }
    }

    /// As it is shown.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cgroupfs => "cgroupfs",
            Self::Systemd => "systemd",
        }
    }
}

/// The handlers of these names.
///
/// Errors: containerd has no such handler; the message lists those that it has.
pub(crate) async fn find(client: &Client, names: &[String]) -> Result<Vec<Handler>> {
    let status = client.status(true).await?;
    let config = status.info.get("config").and_then(|text| serde_json::from_str::<Value>(text).ok());
    let known = config.map(|config| parse(&config)).unwrap_or_default();
    let mut found = Vec::new();
    for name in names {
        match known.iter().find(|handler| handler.name == *name) {
            Some(handler) => found.push(Handler { version: version(handler).await, ..handler.clone() }),
            // A containerd that does not show its configuration refuses the first pod instead.
            None if known.is_empty() => found.push(Handler::unknown(name)),
            None => bail!("containerd has no runtime handler {name}; it has {}", list(&known)),
        }
    }
    Ok(found)
}

impl Handler {
    fn unknown(name: &str) -> Self {
        Self { name: name.to_owned(), runtime_type: String::new(), binary: None, version: None, systemd: false }
    }
}

fn list(handlers: &[Handler]) -> String {
    handlers.iter().map(|handler| handler.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// The handlers in the configuration of the CRI plugin, by name. containerd 1.6 to 2.x
fn parse(config: &Value) -> Vec<Handler> {
    let runtimes = config.pointer("/containerd/runtimes").and_then(Value::as_object).into_iter().flatten();
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let handler = |(name, runtime): (&String, &Value)| {
        let options = runtime.get("options").cloned().unwrap_or_default();
        Handler {
            name: name.clone(),
            runtime_type: ["runtimeType", "runtime_type"]
                .iter()
                .find_map(|key| text(&runtime[*key]))
                .unwrap_or_default(),
            binary: text(&options["BinaryName"]),
            version: None,
            systemd: options["SystemdCgroup"] == true,
        }
    };
    runtimes.map(handler).collect()
}

/// The first line that the handler's runtime prints when it is asked for its version, or else its shim.
async fn version(handler: &Handler) -> Option<String> {
    let runc = (handler.runtime_type == "io.containerd.runc.v2").then(|| "runc".to_owned());
    if let Some(runtime) = handler.binary.clone().or(runc)
        && let Some(line) = first_line(&runtime, "--version").await
    {
        return Some(line);
    }
    first_line(&shim(&handler.runtime_type)?, "-v").await
}

/// The program that containerd starts for a type of runtime: `io.containerd.loment.v2` is served by
/// `containerd-shim-loment-v2`, and a path by itself.
fn shim(runtime_type: &str) -> Option<String> {
    if runtime_type.starts_with('/') {
        return Some(runtime_type.to_owned());
    }
    let mut parts = runtime_type.rsplit('.');
    let (version, name) = (parts.next()?, parts.next()?);
    Some(format!("containerd-shim-{name}-{version}"))
}

async fn first_line(program: &str, flag: &str) -> Option<String> {
    let output = tokio::process::Command::new(program).arg(flag).kill_on_drop(true).output();
    let output = tokio::time::timeout(std::time::Duration::from_secs(5), output).await.ok()?.ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    // A shim's first line is its program's name, the second one says `Version:`.
    let said =
        text.lines().find_map(|line| line.trim().strip_prefix("Version:").map(|it| format!("{program} {}", it.trim())));
    said.or_else(|| text.lines().next().map(str::to_owned)).filter(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn handlers_are_read_as_containerd_shows_them() {
        let config = json!({ "containerd": { "runtimes": {
            "crun": { "runtimeType": "io.containerd.runc.v2", "options": { "BinaryName": "/usr/bin/crun" } },
            "loment": { "runtimeType": "io.containerd.loment.v2", "options": null },
            "runc": { "runtimeType": "io.containerd.runc.v2", "options": { "BinaryName": "", "SystemdCgroup": true } },
        } } });
        let found = parse(&config);
        assert_eq!(list(&found), "crun, loment, runc");
        assert_eq!(found[0].binary.as_deref(), Some("/usr/bin/crun"));
        assert_eq!(found[1].runtime_type, "io.containerd.loment.v2");
        assert!(found[2].systemd && found[2].binary.is_none() && !found[0].systemd);
        assert_eq!(Driver::of(&found), Driver::Systemd);
        assert_eq!(Driver::of(&found[..2]), Driver::Cgroupfs);
        assert_eq!(parse(&json!({})), []);
    }

    #[test]
    fn a_shim_is_named_by_its_runtimes_type() {
        assert_eq!(shim("io.containerd.loment.v2").as_deref(), Some("containerd-shim-loment-v2"));
        assert_eq!(shim("/opt/shim").as_deref(), Some("/opt/shim"));
        assert_eq!(shim("odd"), None);
    }
}
