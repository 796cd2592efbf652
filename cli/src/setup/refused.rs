//! What is refused: names, versions, and classes that are there already.

use std::path::Path;

use anyhow::bail;

use super::config::{Config, Handler, Version};
use super::plan::{RUNTIME_TYPE, Wanted};
use super::programs::is_usual;

/// A handler is a DNS label for Kubernetes, and a bare key of TOML.
pub(super) fn check_name(name: &str) -> anyhow::Result<()> {
    let is_label = name.len() <= 63
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-');
    if name.is_empty() || !is_label {
        bail!("{name:?} is no name of a runtime handler: write --runtime-handler with small letters, digits and \"-\"");
    }
    Ok(())
}

/// Whether this containerd leaves sandboxes to a shim.
pub(super) fn check_sandboxer(version: Option<Version>) -> anyhow::Result<()> {
    match version {
        Some(version) if version >= Version::new(2, 1) => Ok(()),
        Some(Version { major, minor }) => {
            bail!(
                "containerd {major}.{minor} cannot leave sandboxes to a shim, 2.1 and later can: leave out --sandboxer shim"
            )
        }
        None => bail!(
            "the version of containerd is not known: name its program with --containerd, or leave out --sandboxer shim"
        ),
    }
}

/// Whether a class is to be added under a name that another runtime has: its pods would be this one's from then on. containerd
/// has some built in, which stand in no file; where it cannot be asked, that is runc.
pub(super) fn check_free(seen: Option<&Config>, name: &str) -> anyhow::Result<()> {
    let other = match seen.and_then(|config| config.handlers.get(name)) {
        Some(handler) if handler.runtime_type == RUNTIME_TYPE => return Ok(()),
        Some(handler) => handler.runtime_type.as_str(),
        None if name == "runc" => "io.containerd.runc.v2",
        None => return Ok(()),
    };
    bail!(
        "containerd has a runtime class {name:?} already, which is {other}, and its pods would be made by loment: choose another \
         name with --runtime-handler"
    )
}

/// Whether a class that is there already is the one that is wanted.
pub(super) fn check_ours(handler: &Handler, wanted: &Wanted, path: &Path) -> anyhow::Result<()> {
    let is_ours = handler.runtime_type == RUNTIME_TYPE && (handler.sandboxer == "shim") == wanted.sandboxes_of_shim;
    if !is_ours {
        bail!(
            "{} has another runtime class {:?} (runtime_type {:?}, sandboxer {:?}): choose another name with --runtime-handler, or \
             remove that one",
            path.display(),
            wanted.handler,
            handler.runtime_type,
            handler.sandboxer
        );
    }
    if !names_the_same_shim(handler, wanted) {
        let own = wanted.runtime_path.as_deref().unwrap_or(Path::new("the usual directories"));
        bail!(
            "{} has the runtime class {:?} with the shim at {:?}, not {}: say where it is with --bin-dir, or run `loment uninstall` \
             first",
            path.display(),
            wanted.handler,
            handler.runtime_path,
            own.display()
        );
    }
    Ok(())
}

/// Without a path, containerd finds it by its name in the usual directories.
fn names_the_same_shim(handler: &Handler, wanted: &Wanted) -> bool {
    let of_class = Path::new(&handler.runtime_path);
    match &wanted.runtime_path {
        Some(path) => of_class == path,
        None => handler.runtime_path.is_empty() || of_class.parent().is_some_and(is_usual),
    }
}
