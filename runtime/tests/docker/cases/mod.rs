//! What docker's users do.

mod life;
mod network;
mod process;
mod resources;
mod shim;

use crate::{engine::Case, lab::Lab, way::Way};

/// Those of one way, or of both.
pub(crate) fn all(way: Option<&Way>) -> Vec<Case<Lab>> {
    let common = [life::CASES, network::CASES, process::CASES, resources::CASES].concat();
    let own = match way {
        Some(Way::Runtime) => resources::OF_THE_RUNTIME.to_vec(),
        Some(Way::Shim(_)) => shim::CASES.to_vec(),
        None => [resources::OF_THE_RUNTIME, shim::CASES].concat(),
    };
    [common, own].concat()
}
