//! A pod that changes while it runs.

pub(crate) mod merge;
pub(crate) mod update;
