//! Compiled seccomp profiles against libseccomp, against a plain reading of the rules, and in the kernel.
#![allow(missing_docs)]

mod in_the_kernel;
mod kernel;
mod oracle;
mod profiles;
mod random;
mod reference;
mod verdicts;

use oci_spec::runtime::LinuxSeccomp;

const DEFAULT: &str = include_str!("default.json");

/// A profile like the one that containerd applies where nothing else is said.
pub(crate) fn default_profile() -> LinuxSeccomp {
    serde_json::from_str(DEFAULT).expect("the fixture is a profile")
}

/// The names that the default profile allows without conditions.
pub(crate) fn default_names() -> Vec<&'static str> {
    let names = default_profile().syscalls().as_ref().and_then(|rules| Some(rules.first()?.names().clone()));
    names.unwrap_or_default().into_iter().map(|name| &*name.leak()).collect()
}
