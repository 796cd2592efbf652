//! Which pods are meant, and that they change.

pub(crate) mod changes;
pub(crate) mod pick;
pub(crate) mod selector;
