//! Where an output stream leads, as containerd writes it.

use std::{
    fs::File,
    io::{self, Write},
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt, FileTypeExt},
    },
    path::{Path, PathBuf},
};

use nix::libc;
use tokio::{io::AsyncWriteExt, net::unix::pipe};

use super::{appending, for_child, open};
use crate::failure::{Failure, Result};

/// One output stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Output {
    Nothing,
    Fifo(PathBuf),
    File(PathBuf),
    Logger(Program),
}

/// A program that takes both output streams of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Program {
    /// Absolute path.
    pub(super) path: PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) readiness: Readiness,
}

/// How a logger says that it is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readiness {
    /// It closes its ready pipe: `binary`. One that ends does so, too.
    Closes,
    /// It writes a byte: `binary-v2`, since containerd 2.3.
    Writes,
}

impl Output {
    /// Reads what containerd gave: no scheme is a fifo; see containerd's `core/runtime/v2` and `pkg/cio`.
    pub(super) fn parse(stream: &str) -> Result<Self> {
        match stream.split_once("://") {
            _ if stream.is_empty() => Ok(Self::Nothing),
            None | Some(("fifo", _)) => Ok(Self::Fifo(PathBuf::from(stream.trim_start_matches("fifo://")))),
            Some(("file", path)) => Ok(Self::File(PathBuf::from(path.split('?').next().unwrap_or(path)))),
            Some(("binary", rest)) => Program::parse(stream, rest, Readiness::Closes).map(Self::Logger),
            Some(("binary-v2", rest)) => Program::parse(stream, rest, Readiness::Writes).map(Self::Logger),
            Some((scheme, _)) => Err(Failure::invalid(format!(
                "open output {stream}: scheme {scheme} is not supported (use a fifo, file://, binary:// or binary-v2://)"
            ))),
        }
    }

    /// Both streams of a process. A logger serves both, so that it is named for standard output; what is named for
    /// standard error beside it is the same, or nothing, as for containerd's own shim.
    pub(super) fn both(stdout: &str, stderr: &str, terminal: bool) -> Result<[Self; 2]> {
        let stdout = Self::parse(stdout)?;
        if terminal {
            return Ok([stdout, Self::Nothing]);
        }
        let stderr_output = match (&stdout, Self::parse(stderr)?) {
            (Self::Logger(_), Self::Nothing) => stdout.clone(),
            (_, other) => other,
        };
        match (&stdout, &stderr_output) {
            (one, Self::Logger(_)) if *one != stderr_output => Err(Failure::invalid(format!(
                "open standard error {stderr}: one logger serves both streams (name the same one for standard output)"
            ))),
            _ => Ok([stdout, stderr_output]),
        }
    }

    /// Opens a file or a fifo for a process.
    pub(super) fn open(path: &Path, is_fifo: bool) -> Result<OwnedFd> {
        if is_fifo {
            for_child(open(path, File::options().write(true), libc::O_NONBLOCK)?)
        } else {
            appending(Self::file(path)?)
        }
    }

    /// Opens a file to append to, without waiting: what is there may be a fifo that nobody reads.
    pub(super) fn file(path: &Path) -> Result<File> {
        use std::os::unix::fs::OpenOptionsExt;
        if let Some(parent) = path.parent() {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(parent)
                .map_err(|error| Failure::io("make directory", parent.display(), &error))?;
        }
        open(path, File::options().append(true).create(true).mode(0o644), libc::O_NONBLOCK)
    }
}

impl Program {
    /// `/path?key=value&...`: each key and its first value are arguments, as containerd's client writes them.
    fn parse(uri: &str, rest: &str, readiness: Readiness) -> Result<Self> {
        let refused = |why: &str| Failure::invalid(format!("open output {uri}: {why}"));
        let rest = rest.split('#').next().unwrap_or(rest);
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let path = decode(path, false).ok_or_else(|| refused("the path cannot be understood"))?;
        if !path.starts_with('/') {
            return Err(refused("the program's path is not absolute (binary:///path/of/program)"));
        }
        let mut arguments: Vec<String> = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (Some(key), Some(value)) = (decode(key, true), decode(value, true)) else {
                return Err(refused("the arguments cannot be understood"));
            };
            if !arguments.iter().step_by(2).any(|known| *known == key) {
                arguments.extend([key, value]);
            }
        }
        Ok(Self { path: path.into(), arguments, readiness })
    }
}

/// Takes the percent encoding from a part of a URI; in a query, `+` is a space. RFC 3986
fn decode(text: &str, is_query: bool) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
                u8::try_from(high * 16 + low).ok()?
            }
            b'+' if is_query => b' ',
            byte => byte,
        });
    }
    String::from_utf8(decoded).ok().filter(|text| !text.contains('\0'))
}

/// What a terminal's output is copied into.
#[derive(Debug)]
pub(crate) enum Sink {
    /// A fifo or a logger: has room or has not.
    Pipe(pipe::Sender),
    /// A file always has.
    File(File),
}

impl Sink {
    pub(super) fn fifo(path: &Path) -> Result<Self> {
        // Opened for both directions: it needs no reader, and nobody's leaving breaks it.
        let fifo = pipe::OpenOptions::new().read_write(true).open_sender(path);
        fifo.map(Self::Pipe).map_err(|error| Failure::io("open standard output", path.display(), &error))
    }

    pub(super) fn pipe(end: OwnedFd) -> Result<Self> {
        let sender = pipe::Sender::from_owned_fd(end);
        sender.map(Self::Pipe).map_err(|error| Failure::io("watch", "the pipe to the logger", &error))
    }

    pub(super) fn file(path: &Path) -> Result<Self> {
        let file = Output::file(path)?;
        let is_fifo = file.metadata().is_ok_and(|metadata| metadata.file_type().is_fifo());
        if is_fifo { Self::pipe(file.into()) } else { Ok(Self::File(file)) }
    }

    /// Writes all of `bytes`, waiting for room where that can be waited for.
    pub(crate) async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Pipe(pipe) => pipe.write_all(bytes).await,
            Self::File(file) => file.write_all(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(uri: &str) -> Program {
        match Output::parse(uri).unwrap() {
            Output::Logger(program) => program,
            other => panic!("{uri} is {other:?}"),
        }
    }

    #[test]
    fn a_loggers_arguments_are_its_keys_and_first_values_in_order() {
        let logger = program("binary:///opt/my%20logger?b=1&a=x%2Fy+z&b=2&flag#part");
        assert_eq!(logger.path, Path::new("/opt/my logger"));
        assert_eq!(logger.arguments, ["b", "1", "a", "x/y z", "flag", ""]);
        assert_eq!(logger.readiness, Readiness::Closes);
        assert_eq!(program("binary-v2:///l").readiness, Readiness::Writes);
    }

    #[test]
    fn a_logger_that_cannot_be_meant_is_refused() {
        for uri in ["binary://relative/path", "binary://", "binary:///a%2", "binary:///a?x=%zz", "binary:///a%00b"] {
            let refusal = Output::parse(uri).unwrap_err();
            assert!(refusal.message.contains(uri), "{refusal}");
            assert_eq!(refusal.code, ttrpc::Code::INVALID_ARGUMENT);
        }
    }

    #[test]
    fn one_logger_serves_both_streams() {
        let logger = "binary:///l?a=b";
        for stderr in ["", logger] {
            let [out, err] = Output::both(logger, stderr, false).unwrap();
            assert!(matches!(out, Output::Logger(_)) && out == err);
        }
        assert_eq!(Output::both(logger, logger, true).unwrap()[1], Output::Nothing);
        assert!(matches!(Output::both(logger, "/fifo", false).unwrap()[1], Output::Fifo(_)));
        for (stdout, stderr) in [("", logger), ("/fifo", logger), ("binary:///other", logger)] {
            assert!(Output::both(stdout, stderr, false).unwrap_err().message.contains("both streams"));
        }
    }
}
