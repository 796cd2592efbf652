//! Logs of containers: their lines, which attempt wrote them, how a user wants them.

pub(crate) mod crilog;
pub(crate) mod lives;
pub(crate) mod printer;
pub(crate) mod source;
