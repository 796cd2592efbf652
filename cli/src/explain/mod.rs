//! `explain`: the fields of the objects that a manifest may hold, and what becomes of one manifest.

pub(crate) mod fields;
pub(crate) mod manifest;
