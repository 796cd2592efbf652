//! What is to be written into which file, and doing it.

use std::{borrow::Cow, io};

use nix::errno::Errno;

use crate::{Error, Result, controller::Controller, dir::Dir};

/// One value for one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Write {
    pub(crate) controller: Controller,
    pub(crate) file: Cow<'static, str>,
    pub(crate) value: String,
    /// What it means that the file is not there.
    pub(crate) absent: Absent,
    /// What to do when the kernel refuses the value.
    pub(crate) hint: Option<&'static str>,
}

/// What it means that a file is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Absent {
    /// This kernel cannot do it: an error with this advice.
    Fail(&'static str),
    /// There is nothing to limit.
    Ignore,
    /// Another kernel version or scheduler has it in another file.
    Use(Box<Write>),
}

/// Values that depend on each other: which one the kernel takes first depends on what was there before (memory before
/// memory + swap when lowering, after it when raising; quota and burst). They are tried in order, and those that are
/// refused as invalid again after the others.
pub(crate) type Group = Vec<Write>;

impl Write {
    pub(crate) fn new(controller: Controller, file: impl Into<Cow<'static, str>>, value: impl ToString) -> Self {
        let absent = Absent::Fail("the controller is not enabled for this cgroup, or the kernel is too old");
        Self { controller, file: file.into(), value: value.to_string(), absent, hint: None }
    }

    pub(crate) fn absent(self, absent: Absent) -> Self {
        Self { absent, ..self }
    }

    pub(crate) fn hint(self, hint: &'static str) -> Self {
        Self { hint: Some(hint), ..self }
    }
}

/// Writes everything, group by group.
pub(crate) fn run<'a>(groups: &[Group], dir_of: impl Fn(Controller) -> Option<&'a Dir>) -> Result<()> {
    groups.iter().try_for_each(|group| run_group(group, &dir_of))
}

fn run_group<'a>(group: &[Write], dir_of: &impl Fn(Controller) -> Option<&'a Dir>) -> Result<()> {
    let mut left: Vec<&Write> = group.iter().collect();
    while !left.is_empty() {
        let mut refused = Vec::new();
        let mut first_error = None;
        for write in &left {
            let dir = dir_of(write.controller).ok_or_else(|| not_there(write))?;
            match put(dir, write) {
                Err((written, e)) if e.raw_os_error() == Some(Errno::EINVAL as i32) => {
                    first_error.get_or_insert(failed(dir, written, e));
                    refused.push(*write);
                }
                Err((written, e)) => return Err(failed(dir, written, e)),
                Ok(()) => {}
            }
        }
        match first_error {
            Some(error) if refused.len() == left.len() => return Err(error),
            _ => left = refused,
        }
    }
    Ok(())
}

fn put<'w>(dir: &Dir, write: &'w Write) -> std::result::Result<(), (&'w Write, io::Error)> {
    match dir.write(write.file.as_ref(), &write.value) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => match &write.absent {
            Absent::Ignore => Ok(()),
            Absent::Use(other) => put(dir, other),
            Absent::Fail(_) => Err((write, e)),
        },
        done => done.map_err(|e| (write, e)),
    }
}

fn not_there(write: &Write) -> Error {
    let why = format!("this cgroup has no {} controller", write.controller.name());
    Error::unsupported(&format!("write {:?} to", write.value), &write.file, why)
        .hint("mount or enable the controller, or leave the limit out")
}

fn failed(dir: &Dir, write: &Write, cause: io::Error) -> Error {
    let (operation, object) = (format!("write {:?} to", write.value), dir.join(&write.file));
    match (&write.absent, cause.kind()) {
        (Absent::Fail(advice), io::ErrorKind::NotFound) => {
            Error::unsupported(&operation, object.display(), "there is no such file").hint(advice)
        }
        _ => Error::new(operation, object.display(), cause).maybe_hint(write.hint),
    }
}
