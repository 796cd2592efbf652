//! What is kept of pods on the disk: records, what they refer to, what has happened to them, what is left of some.

pub(crate) mod history;
pub(crate) mod keeper;
pub(crate) mod own;
pub(crate) mod record;
pub(crate) mod remains;
pub(crate) mod sources;
