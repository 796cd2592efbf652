//! Running CRIU, and what it says when it fails.

use std::{
    env,
    fs::{self, File},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::{OpenOptionsExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use loment_cgroups::Entry;
use nix::libc::O_NONBLOCK;

use crate::{
    Error, Result,
    error::Context,
    helper::{Helper, Starting},
    process::Process,
};

/// Names the program to use; without it `criu` is looked for in `PATH`.
const PROGRAM: &str = "LOMENT_CRIU";

/// CRIU on its way: readable (as a descriptor) when it has been executed or could not be.
#[derive(Debug)]
pub struct Criu {
    starting: Starting,
    action: &'static str,
    log: PathBuf,
}

/// CRIU at work; [`Process::ending`] says when it is done.
#[derive(Debug)]
pub struct Running {
    process: Process,
    action: &'static str,
    log: PathBuf,
}

/// One run of CRIU.
pub(super) struct Command<'a> {
    pub(super) action: &'static str,
    pub(super) images: &'a Path,
    pub(super) work: &'a Path,
    pub(super) arguments: Vec<String>,
    pub(super) descriptors: Vec<BorrowedFd<'a>>,
    /// Where it runs, and what it restores with it.
    pub(super) cgroup: Option<&'a Entry>,
}

impl Command<'_> {
    /// Starts it.
    ///
    /// # Errors
    /// CRIU is not installed, among others.
    pub(super) fn start(self) -> Result<Criu> {
        let program = program()?;
        fs::create_dir_all(self.work).at("make directory", self.work.display())?;
        let said = self.work.join(format!("{}.out", self.action));
        let mut output = File::options();
        output.write(true).create(true).truncate(true).mode(0o600).custom_flags(O_NONBLOCK);
        let output = output.open(&said).at("open", said.display())?;
        let log = format!("{}.log", self.action);
        let mut arguments: Vec<String> = vec![self.action.into()];
        for (flag, value) in [("--images-dir", self.images), ("--work-dir", self.work), ("--log-file", Path::new(&log))]
        {
            arguments.extend([flag.to_owned(), utf8(value)?]);
        }
        arguments.push("-v2".into());
        arguments.extend(self.arguments);
        let helper = Helper {
            program,
            arguments,
            // It runs ip(8), iptables(8) and tar(1).
            environment: vec![format!("PATH={}", search_path())],
            descriptors: self.descriptors,
            input: None,
            output: Some(output.as_fd()),
            network: None,
            cgroup: self.cgroup,
        };
        Ok(Criu { starting: helper.start()?, action: self.action, log: self.work.join(log) })
    }
}

impl Criu {
    /// Its pid.
    pub fn pid(&self) -> i32 {
        self.starting.pid()
    }

    /// Waits until it has been executed.
    pub fn executed(self) -> Result<Running> {
        Ok(Running { process: self.starting.finish()?, action: self.action, log: self.log })
    }
}

impl AsFd for Criu {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.starting.as_fd()
    }
}

impl Running {
    /// Its process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// What has come of it, once it has ended.
    ///
    /// # Errors
    /// It failed: with the words of its log.
    pub fn outcome(mut self) -> Result<()> {
        let what = || format!("criu {}", self.action);
        match self.process.try_wait()? {
            Some(exit) if exit.code == 0 => Ok(()),
            Some(exit) => Err(Error::failed(
                what(),
                self.log.display(),
                format!("ended with status {}: {}", exit.code, complaint(&self.log)),
            )
            .hint("`criu check` says whether it works on this kernel at all")),
            None => Err(Error::failed(what(), self.log.display(), "has not ended")),
        }
    }
}

/// What CRIU has complained of: its log's errors, or what it said when it could not even begin one. Of an option that it
/// does not know it speaks in its first line.
fn complaint(log: &Path) -> String {
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    let (logged, said) = (read(log), read(&log.with_extension("out")));
    let first = said.lines().next().unwrap_or_default().trim().to_owned();
    let complaints = [errors(&logged), errors(&said), first];
    complaints.into_iter().find(|text| !text.is_empty()).unwrap_or_else(|| "it left no reason".to_owned())
}

/// The last errors of a log, without time and place in its source. Without CAP_SYS_RESOURCE the first is always that it
/// may not raise a limit, which it survives.
fn errors(log: &str) -> String {
    const LONGEST: usize = 4;
    let message = |line: &str| {
        let (_, error) = line.split_once("Error (")?;
        let (_, text) = error.split_once("): ")?;
        Some(text.trim().to_owned()).filter(|text| !text.starts_with("rlimit: Can't setup RLIMIT_NOFILE"))
    };
    let errors: Vec<_> = log.lines().filter_map(message).collect();
    errors[errors.len().saturating_sub(LONGEST)..].join("; ")
}

/// The program.
fn program() -> Result<PathBuf> {
    let is_program =
        |path: &Path| fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0);
    let missing = |where_to: String| {
        Error::failed("find", "criu", where_to)
            .hint(format!("install CRIU 4.0 or later, or name it in {PROGRAM} of containerd's environment"))
    };
    if let Some(named) = env::var_os(PROGRAM).map(PathBuf::from) {
        let found = named.is_absolute() && is_program(&named);
        return if found {
            Ok(named)
        } else {
            Err(missing(format!("{PROGRAM} names {}, which is no program", named.display())))
        };
    }
    let directories = search_path();
    let mut candidates = env::split_paths(&directories).map(|directory| directory.join("criu"));
    candidates.find(|candidate| is_program(candidate)).ok_or_else(|| missing(format!("it is not in {directories}")))
}

/// `PATH`, with the directories where administrators' programs are.
fn search_path() -> String {
    let given = env::var("PATH").unwrap_or_default();
    [given.as_str(), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
        .join(":")
        .trim_start_matches(':')
        .to_owned()
}

pub(super) fn utf8(path: &Path) -> Result<String> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| Error::invalid("path", path.display(), "cannot be given to criu: it is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_errors_of_a_log_are_told_without_the_harmless_one() {
        let log = "(00.01) Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted\n\
                   (00.02) Warn  (criu/x.c:1): something\n\
                   (00.03) Error (criu/mount.c:753): mnt: 154:./proc/x doesn't have a proper root mount\n\
                   (00.04)      1: Error (criu/cr-dump.c:1975): Dumping FAILED.\n";
        assert_eq!(errors(log), "mnt: 154:./proc/x doesn't have a proper root mount; Dumping FAILED.");
        assert_eq!(errors("nothing"), "");
    }
}
