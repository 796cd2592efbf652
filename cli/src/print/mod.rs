//! How things are printed.

pub(crate) mod duration;
pub(crate) mod output;
pub(crate) mod progress;
pub(crate) mod prometheus;
pub(crate) mod show;
pub(crate) mod sorting;
pub(crate) mod table;
pub(crate) mod terminal;
pub(crate) mod view;
