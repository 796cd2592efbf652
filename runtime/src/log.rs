//! Log lines, in the two forms that engines read from runc and crun.

use std::{fs::File, io::Write, path::Path, sync::OnceLock, time::SystemTime};

use loment_sandbox::lifecycle::rfc3339::Timestamp;
use serde_json::json;

use crate::{
    args::{Global, LogFormat},
    failure::{Context, Result},
};

/// The log that the command line names, for what is told on the way.
static LOG: OnceLock<Log> = OnceLock::new();

/// What has failed and does not make the command fail. With a log it is told there only: what an engine has for standard
/// error may be the container's.
pub(crate) fn warn(message: impl std::fmt::Display) {
    let Some(log) = LOG.get() else { return };
    match log.file {
        Some(_) => log.write("warning", &message.to_string()),
        None => log.tell("warning", &message.to_string()),
    }
}

/// Where errors are told.
#[derive(Debug)]
pub(crate) struct Log {
    file: Option<File>,
    format: LogFormat,
    debug: bool,
}

impl Log {
    /// Opens the log that the command line names.
    pub(crate) fn open(global: &Global) -> Result<Self> {
        Self::at(global.log.as_deref(), global.log_format, global.debug)
    }

    /// Opens this one, or none.
    pub(crate) fn at(file: Option<&Path>, format: LogFormat, debug: bool) -> Result<Self> {
        let file = file.map(|path| File::options().append(true).create(true).open(path).at("open log", path.display()));
        Ok(Self { file: file.transpose()?, format, debug })
    }

    /// From now on the one log of this program.
    pub(crate) fn keep(self) -> &'static Self {
        LOG.get_or_init(|| self)
    }

    /// An error: into the log, and to standard error for whoever waits there. An engine reads either one or the other.
    pub(crate) fn error(&self, message: &str) {
        self.tell("error", message);
    }

    fn tell(&self, level: &str, message: &str) {
        // Nobody is left to be told of a log that cannot be written.
        let _lost = match (&self.file, self.format) {
            (None, LogFormat::Json) => writeln!(std::io::stderr(), "{}", line(LogFormat::Json, level, message)),
            _ => writeln!(std::io::stderr(), "{message}"),
        };
        self.write(level, message);
    }

    /// What is being done, if somebody wants to know.
    pub(crate) fn debug(&self, message: impl FnOnce() -> String) {
        if self.debug {
            self.write("debug", &message());
        }
    }

    fn write(&self, level: &str, message: &str) {
        if let Some(mut file) = self.file.as_ref() {
            let _lost = file.write_all(format!("{}\n", line(self.format, level, message)).as_bytes());
        }
    }
}

fn line(format: LogFormat, level: &str, message: &str) -> String {
    let time = Timestamp::micros(SystemTime::now());
    match format {
        LogFormat::Json => json!({ "level": level, "msg": message, "time": time.to_string() }).to_string(),
        LogFormat::Text => format!("time=\"{time}\" level={level} msg={message:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_whatever_the_message_contains() {
        for format in [LogFormat::Json, LogFormat::Text] {
            let line = line(format, "error", "exec: \"a\nb\": no such file");
            assert_eq!(line.lines().count(), 1, "{line}");
        }
        let line: serde_json::Value = serde_json::from_str(&line(LogFormat::Json, "error", "a \"b\"\n")).unwrap();
        assert_eq!((&line["level"], &line["msg"]), (&json!("error"), &json!("a \"b\"\n")));
    }
}
