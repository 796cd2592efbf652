//! What went wrong: the step, its object, the cause and what to do.

use std::fmt;

/// Result of a sandbox operation.
pub type Result<T> = std::result::Result<T, Error>;

/// A step that failed on an object, with the kernel's reason.
///
/// Displays as `mount overlay on /run/…/rootfs: No such file or directory (was the snapshot removed?)`.
#[derive(Debug)]
pub struct Error {
    /// The step, as a verb phrase: `mount overlay on`.
    pub step: String,
    /// What the step was done to.
    pub object: String,
    /// Why it failed.
    pub cause: Cause,
    /// What the reader can do about it.
    pub hint: Option<String>,
}

/// Why a step failed.
#[derive(Debug)]
pub enum Cause {
    /// The kernel refused.
    Os(nix::errno::Errno),
    /// The input cannot be honoured: which field, and why.
    Invalid(String),
    /// A cgroup operation failed.
    Cgroup(loment_cgroups::Error),
}

impl Error {
    /// A refusal of the kernel.
    pub fn os(step: impl Into<String>, object: impl fmt::Display, errno: nix::errno::Errno) -> Self {
        Self { step: step.into(), object: object.to_string(), cause: Cause::Os(errno), hint: None }
    }

    /// Input that cannot be honoured: `field` as a path into the spec, `reason` as a sentence without full stop.
    pub fn invalid(field: impl Into<String>, value: impl fmt::Display, reason: impl Into<String>) -> Self {
        Self { step: field.into(), object: value.to_string(), cause: Cause::Invalid(reason.into()), hint: None }
    }

    /// Adds what the reader can do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Cause::Cgroup(cause) => write!(f, "{cause}")?,
            Cause::Os(errno) => write!(f, "{} {}: {}", self.step, self.object, errno.desc())?,
            Cause::Invalid(reason) => write!(f, "{} {}: {reason}", self.step, self.object)?,
        }
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

impl From<loment_cgroups::Error> for Error {
    fn from(cause: loment_cgroups::Error) -> Self {
        Self { step: String::new(), object: String::new(), cause: Cause::Cgroup(cause), hint: None }
    }
}
