//! Runtime classes whose containers have hooks, as an administrator gives them to all containers of a class: by
//! `base_runtime_spec`, a specification that containerd begins with.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::{Lab, requirements::BUSYBOX};

/// The kinds that such a class has. Each runs a script of the same name, which a test writes.
pub const KINDS: [&str; 4] = ["createRuntime", "createContainer", "poststart", "poststop"];

/// The class of `handler` with hooks.
pub fn class(handler: &str) -> String {
    format!("{handler}-hooks")
}

/// The file that containerd is told of, in a lab's directory.
pub(crate) fn base_spec_path(directory: &Path) -> PathBuf {
    directory.join("hooks.json")
}

/// Writes it: what containerd would begin with, and the hooks.
pub(crate) fn write_base_spec(ctr: &Path, directory: &Path) -> Result<()> {
    let mut spec = default_spec(ctr)?;
    let hook = |kind: &str| {
        let script = scripts(directory).join(kind);
        json!([{ "path": BUSYBOX, "args": ["sh", script], "env": ["PATH=/bin"], "timeout": 60 }])
    };
    spec["hooks"] = KINDS.iter().map(|kind| ((*kind).to_owned(), hook(kind))).collect::<serde_json::Map<_, _>>().into();
    let path = base_spec_path(directory);
    fs::write(&path, spec.to_string()).with_context(|| format!("write {}", path.display()))
}

/// The specification that containerd's own client begins with.
pub fn default_spec(ctr: &Path) -> Result<Value> {
    let output = Command::new(ctr).args(["oci", "spec"]).output().with_context(|| format!("run {}", ctr.display()))?;
    if !output.status.success() {
        bail!("{} oci spec: {}", ctr.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    serde_json::from_slice(&output.stdout).context("parse what ctr oci spec says")
}

fn scripts(directory: &Path) -> PathBuf {
    directory.join("hooks")
}

/// Says what the hooks of the classes do from now on: these scripts, and nothing for the kinds that are not named. In a
/// script `$bundle` is the container's bundle and `$state` what the hook was told.
///
/// Returns the directory of the scripts, in which they may leave something.
pub fn set(lab: &Lab, kinds: &[(&str, &str)]) -> Result<PathBuf> {
    let directory = lab.directory("hooks", "")?;
    let entries = fs::read_dir(&directory).with_context(|| format!("read {}", directory.display()))?;
    for entry in entries.flatten() {
        fs::remove_file(entry.path()).with_context(|| format!("remove {}", entry.path().display()))?;
    }
    for kind in KINDS {
        let script = kinds.iter().find(|(named, _)| *named == kind).map_or(":", |(_, script)| script);
        let text = format!(
            "set -e\ncd {}\nstate=$(cat)\nbundle=$(echo \"$state\" | sed 's/.*\"bundle\":\"\\([^\"]*\\)\".*/\\1/')\n{script}\n",
            directory.display()
        );
        fs::write(directory.join(kind), text).with_context(|| format!("write the hook {kind}"))?;
    }
    Ok(directory)
}
