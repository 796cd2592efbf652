//! What docker's users do.

mod life;
mod network;
mod process;
mod resources;

use crate::{engine::Case, lab::Lab};

pub(crate) fn all() -> Vec<Case<Lab>> {
    [life::CASES, network::CASES, process::CASES, resources::CASES].concat()
}
