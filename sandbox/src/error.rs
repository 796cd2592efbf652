//! What went wrong: the step, its object, the cause and what to do.

use std::fmt;

use nix::errno::Errno;

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
    Os(Errno),
    /// The program could not be executed: the errno, and the reason in the words that container engines look for
    /// (`executable file not found in $PATH`).
    Exec(Errno, String),
    /// The input cannot be honoured: which field, and why.
    Invalid(String),
    /// A process that the runtime has run on the container's behalf, a hook say, did not do its part: how it ended.
    Failed(String),
    /// A cgroup operation failed.
    Cgroup(Box<loment_cgroups::Error>),
}

impl Error {
    /// A refusal of the kernel.
    pub fn os(step: impl Into<String>, object: impl fmt::Display, errno: Errno) -> Self {
        Self { step: step.into(), object: object.to_string(), cause: Cause::Os(errno), hint: None }
    }

    /// A refusal of the kernel that the standard library brought.
    pub fn io(step: impl Into<String>, object: impl fmt::Display, error: &std::io::Error) -> Self {
        let errno = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
        Self::os(step, object, errno)
    }

    /// A program that cannot be executed; see [`Cause::Exec`].
    pub fn exec(program: impl fmt::Display, errno: Errno, reason: impl Into<String>) -> Self {
        Self { step: "exec".into(), object: program.to_string(), cause: Cause::Exec(errno, reason.into()), hint: None }
    }

    /// Input that cannot be honoured: `field` as a path into the spec, `reason` as a sentence without full stop.
    pub fn invalid(field: impl Into<String>, value: impl fmt::Display, reason: impl Into<String>) -> Self {
        Self { step: field.into(), object: value.to_string(), cause: Cause::Invalid(reason.into()), hint: None }
    }

    /// A process that did not do its part; see [`Cause::Failed`].
    pub fn failed(step: impl Into<String>, object: impl fmt::Display, reason: impl Into<String>) -> Self {
        Self { step: step.into(), object: object.to_string(), cause: Cause::Failed(reason.into()), hint: None }
    }

    /// Adds what the reader can do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The kernel's reason, where there is one.
    pub fn errno(&self) -> Option<Errno> {
        match &self.cause {
            Cause::Os(errno) | Cause::Exec(errno, _) => Some(*errno),
            Cause::Cgroup(error) => error.cause.raw_os_error().map(Errno::from_raw),
            Cause::Invalid(_) | Cause::Failed(_) => None,
        }
    }

    /// As one message of a child to its parent.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let (kind, errno, reason) = match &self.cause {
            Cause::Os(errno) => (0, *errno as i32, String::new()),
            Cause::Exec(errno, reason) => (1, *errno as i32, reason.clone()),
            Cause::Invalid(reason) => (2, 0, reason.clone()),
            Cause::Failed(reason) => (3, 0, reason.clone()),
            Cause::Cgroup(error) => (2, 0, error.to_string()),
        };
        let mut bytes = vec![kind];
        bytes.extend(errno.to_le_bytes());
        let texts = [&self.step, &self.object, &reason, self.hint.as_deref().unwrap_or_default()].map(shortened);
        bytes.extend(texts.join("\0").into_bytes());
        bytes
    }

    /// The inverse of [`Error::to_bytes`]; anything else becomes an error that says so.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        let garbled = || Self::invalid("report of a container's process", "", "cannot be understood");
        let Some(([kind, errno @ ..], text)) = bytes.split_first_chunk::<5>() else { return garbled() };
        let errno = Errno::from_raw(i32::from_le_bytes(*errno));
        let text = String::from_utf8_lossy(text);
        let mut texts = text.splitn(4, '\0').map(str::to_owned);
        let (Some(step), Some(object), Some(reason), Some(hint)) =
            (texts.next(), texts.next(), texts.next(), texts.next())
        else {
            return garbled();
        };
        let cause = match kind {
            0 => Cause::Os(errno),
            1 => Cause::Exec(errno, reason),
            3 => Cause::Failed(reason),
            _ => Cause::Invalid(reason),
        };
        Self { step, object, cause, hint: Some(hint).filter(|hint| !hint.is_empty()) }
    }
}

/// At most so much of a text that four of them fit into one message.
fn shortened(text: &str) -> std::borrow::Cow<'_, str> {
    const LONGEST: usize = 1 << 10;
    match text.get(..text.floor_char_boundary(LONGEST)) {
        Some(beginning) if beginning.len() < text.len() => format!("{beginning}...").into(),
        _ => text.into(),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Cause::Cgroup(cause) => write!(f, "{cause}")?,
            Cause::Os(errno) => write!(f, "{} {}: {}", self.step, self.object, errno.desc())?,
            Cause::Exec(_, reason) => write!(f, "{}: {:?}: {reason}", self.step, self.object)?,
            Cause::Invalid(reason) if self.object.is_empty() => write!(f, "{}: {reason}", self.step)?,
            Cause::Invalid(reason) | Cause::Failed(reason) => write!(f, "{} {}: {reason}", self.step, self.object)?,
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
        Self { step: String::new(), object: String::new(), cause: Cause::Cgroup(Box::new(cause)), hint: None }
    }
}

/// A refusal of the kernel becomes an error once its step and object are named.
pub(crate) trait Context<T> {
    /// Names both.
    fn at(self, step: &str, object: impl fmt::Display) -> Result<T>;
}

impl<T> Context<T> for nix::Result<T> {
    fn at(self, step: &str, object: impl fmt::Display) -> Result<T> {
        self.map_err(|errno| Error::os(step, object, errno))
    }
}

impl<T> Context<T> for std::io::Result<T> {
    fn at(self, step: &str, object: impl fmt::Display) -> Result<T> {
        self.map_err(|error| Error::io(step, object, &error))
    }
}

/// A process that could not be made becomes an error that says what the machine lacks. clone(2)
pub(crate) fn born<T>(born: nix::Result<T>, step: &str, object: impl fmt::Display) -> Result<T> {
    born.map_err(|errno| {
        let error = Error::os(step, object, errno);
        match errno {
            Errno::EAGAIN => error.hint(
                "a limit of processes is reached: pids.max of a cgroup that the runtime is in, or the machine's \
                 kernel.pid_max or kernel.threads-max",
            ),
            Errno::EDEADLK => error.hint("the caller has more than one thread"),
            _ => error,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_crosses_the_channel_unchanged() {
        let errors = [
            Error::os("mount overlay on", "/x", Errno::ENOENT).hint("was the snapshot removed?"),
            Error::exec("nope", Errno::ENOENT, "executable file not found in $PATH"),
            Error::invalid("process.cwd", "a/b", "is not an absolute path"),
            Error::failed("hooks.prestart[0]", "/a/b", "ended with status 1"),
        ];
        for error in errors {
            let copy = Error::from_bytes(&error.to_bytes());
            assert_eq!(format!("{copy:?}"), format!("{error:?}"));
        }
    }

    #[test]
    fn a_field_without_a_value_is_named_alone() {
        assert_eq!(Error::invalid("hooks", "", "is missing").to_string(), "hooks: is missing");
        assert_eq!(Error::invalid("hooks", "x", "is odd").to_string(), "hooks x: is odd");
    }

    #[test]
    fn a_long_error_crosses_the_channel_with_its_beginning() {
        let long = Error::invalid("process.cwd", "\u{e4}".repeat(100_000), "is too long").hint("make it shorter");
        let copy = Error::from_bytes(&long.to_bytes());
        assert!(long.to_bytes().len() < 5000);
        assert_eq!((copy.step.as_str(), copy.hint.as_deref()), ("process.cwd", Some("make it shorter")));
        assert!(copy.object.starts_with("\u{e4}\u{e4}") && copy.object.ends_with("..."));
    }

    #[test]
    fn a_garbled_report_is_an_error_too() {
        for bytes in [&b""[..], b"\0", b"\0\0\0\0\0step", b"\x01\0\0\0\0a\0b"] {
            assert!(Error::from_bytes(bytes).to_string().contains("cannot be understood"));
        }
    }
}
