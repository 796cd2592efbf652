//! The bundle's `config.json`.

use std::path::Path;

use oci_spec::runtime::Spec;

use crate::failure::{Failure, Result};

/// Reads the specification of the container in `bundle`.
pub(crate) fn read(bundle: &Path) -> Result<Spec> {
    let path = bundle.join("config.json");
    let text = std::fs::read_to_string(&path).map_err(|error| Failure::io("read", path.display(), &error))?;
    // From a string: parsing from a reader costs three times as much.
    serde_json::from_str(&text).map_err(|error| Failure::invalid(format!("parse {}: {error}", path.display())))
}

/// Writes it, for a container of the shim's own.
pub(crate) fn write(bundle: &Path, spec: &Spec) -> Result<()> {
    let path = bundle.join("config.json");
    let text =
        serde_json::to_vec(spec).map_err(|error| Failure::unknown(format!("encode a specification: {error}")))?;
    std::fs::write(&path, text).map_err(|error| Failure::io("write", path.display(), &error))
}

/// An annotation of the container.
pub(crate) fn annotation<'a>(spec: &'a Spec, name: &str) -> Option<&'a str> {
    spec.annotations().as_ref()?.get(name).map(String::as_str)
}

/// User and group of the container's process, as numbers inside the container.
pub(crate) fn owner(process: Option<&oci_spec::runtime::Process>) -> (u32, u32) {
    process.map_or((0, 0), |process| (process.user().uid(), process.user().gid()))
}
