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
    /// Writing takes the kernel time for each cgroup of the machine, also when nothing changes: what is there is looked at
    /// first.
    pub(crate) dear: bool,
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
        Self { controller, file: file.into(), value: value.to_string(), absent, hint: None, dear: false }
    }

    pub(crate) fn absent(self, absent: Absent) -> Self {
        Self { absent, ..self }
    }

    pub(crate) fn hint(self, hint: &'static str) -> Self {
        Self { hint: Some(hint), ..self }
    }

    pub(crate) fn dear(self) -> Self {
        Self { dear: true, ..self }
    }
}

/// Writes everything, group by group.
pub(crate) fn run<'a>(groups: &[Group], dir_of: impl Fn(Controller) -> Option<&'a Dir>) -> Result<()> {
    groups.iter().try_for_each(|group| run_group(group, &dir_of))
}

/// Writes everything and does what comes last; when a value is refused or that fails, what was there before is written again.
pub(crate) fn run_whole<'a>(
    groups: &[Group],
    dir_of: impl Fn(Controller) -> Option<&'a Dir>,
    last: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let writes = groups.iter().flatten();
    let before: Vec<(&Dir, Cow<'static, str>, String)> =
        writes.filter_map(|write| present(dir_of(write.controller)?, write)).collect();
    run(groups, dir_of).and_then(|()| last()).inspect_err(|_| {
        // Twice: of values that depend on each other, one may be taken only after the other. What the kernel took
        // before and does not take now cannot be helped; the error that is told is the first one.
        for (dir, file, value) in before.iter().chain(&before) {
            let _ = dir.write(file.as_ref(), value);
        }
    })
}

/// What to write to get the present value of a file back.
fn present<'a>(dir: &'a Dir, write: &Write) -> Option<(&'a Dir, Cow<'static, str>, String)> {
    match (dir.read_string(&write.file).ok()?, &write.absent) {
        (Some(text), _) => Some((dir, write.file.clone(), written_as(&text, &write.value)?)),
        (None, Absent::Use(other)) => present(dir, other),
        (None, _) => None,
    }
}

/// The line of a file that `value` is about to replace, as it is written.
pub(crate) fn written_as(text: &str, value: &str) -> Option<String> {
    let key = value.split_whitespace().next()?;
    if key.contains(':') {
        // Lines by device. One without a line has no limit: v2 says so with `max`, v1 with 0.
        let line = text.lines().find(|line| line.split_whitespace().next() == Some(key));
        let unlimited = || match value.contains('=') {
            true => format!("{key} rbps=max wbps=max riops=max wiops=max"),
            false => format!("{key} 0"),
        };
        return Some(line.map_or_else(unlimited, str::to_owned));
    }
    let mut lines = text.lines();
    match (lines.next(), lines.next()) {
        (Some(only), None) => Some(only.trim().to_owned()),
        // memory.oom_control: lines of counters below the one that is written, without its name.
        (Some(first), Some(_)) if first.starts_with("oom_kill_disable ") => first.split(' ').nth(1).map(str::to_owned),
        _ => text.lines().find(|line| line.split_whitespace().next() == Some(key)).map(str::to_owned),
    }
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
    // What cannot be looked at is written.
    if write.dear && dir.read_string(&write.file).ok().flatten().is_some_and(|present| present.trim() == write.value) {
        return Ok(());
    }
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

#[cfg(test)]
mod tests {
    use super::written_as;

    #[test]
    fn a_present_value_is_found_as_it_is_written() {
        for (text, value, expected) in [
            ("1024\n", "512", Some("1024")),
            ("max 100000\n", "5000 10000", Some("max 100000")),
            ("oom_kill_disable 1\nunder_oom 0\noom_kill 0\n", "0", Some("1")),
            ("8:0 1000\n8:16 2000\n", "8:16 5", Some("8:16 2000")),
            ("8:0 1000\n", "8:16 5", Some("8:16 0")),
            ("", "8:16 rbps=5", Some("8:16 rbps=max wbps=max riops=max wiops=max")),
            ("a hca_handle=max\nb hca_handle=3\n", "b hca_handle=9", Some("b hca_handle=3")),
            ("\n", "0-1", Some("")),
        ] {
            assert_eq!(written_as(text, value).as_deref(), expected, "{text:?} {value:?}");
        }
    }
}
