//! The bundle's `config.json`.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use nix::libc::{O_CLOEXEC, O_NONBLOCK};
use oci_spec::runtime::Spec;

use crate::failure::{Failure, Result};

/// Bytes that a specification may have. containerd gets it in a message of at most 16 MiB; this is twice that. What is read
/// takes several times as much memory, and nobody else is served while it is understood.
const LONGEST: u64 = 32 << 20;

/// Reads the specification of the container in `bundle`.
pub(crate) fn read(bundle: &Path) -> Result<Spec> {
    parse(&text(bundle)?)
        .map_err(|error| Failure::invalid(format!("parse {}: {error}", bundle.join("config.json").display())))
}

/// Its text. Never waits, as for somebody who writes into a fifo.
pub(crate) fn text(bundle: &Path) -> Result<String> {
    let path = bundle.join("config.json");
    let failed = |error: io::Error| Failure::io("read", path.display(), &error);
    let refused = |why: &str| Failure::invalid(format!("read {}: {why}", path.display()));
    let file = File::options().read(true).custom_flags(O_NONBLOCK | O_CLOEXEC).open(&path).map_err(failed)?;
    let about = file.metadata().map_err(failed)?;
    if !about.is_file() {
        return Err(refused("it is not a file (config.json of a bundle is)"));
    }
    let too_long = || refused(&format!("it has more than {} MiB, the most that is read", LONGEST >> 20));
    if about.len() > LONGEST {
        return Err(too_long());
    }
    let mut text = String::with_capacity(usize::try_from(about.len()).unwrap_or_default());
    // It may grow meanwhile.
    file.take(LONGEST + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > LONGEST { Err(too_long()) } else { Ok(text) }
}

/// From a string: parsing from a reader costs three times as much.
pub(crate) fn parse(text: &str) -> serde_json::Result<Spec> {
    serde_json::from_str(text)
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
