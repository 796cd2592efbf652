//! A wrong command line: told as every other error is, on one line, in the log too, and with runc's status. Engines show what
//! is in the log, not what stands on standard error.

use std::{ffi::OsString, io::Write, path::PathBuf};

use clap::ValueEnum;

use crate::{args::LogFormat, log::Log};

/// Tells it, also to the log that this command line names, as far as that can be read.
pub(crate) fn tell(error: &clap::Error, words: &[OsString]) {
    let message = line(&error.render().to_string());
    let (path, format) = named(words);
    match Log::at(path.as_deref(), format, false) {
        Ok(log) => log.error(&message),
        Err(failure) => {
            let _closed = writeln!(std::io::stderr(), "{message}; {failure}");
        }
    }
}

/// What clap says in paragraphs, on one line: the mistake, and how the command is used.
fn line(said: &str) -> String {
    let mut paragraphs = said.trim().split("\n\n").map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "));
    let first = paragraphs.next().unwrap_or_default();
    let mistake = first.strip_prefix("error: ").unwrap_or(&first);
    let usage = paragraphs.find_map(|paragraph| Some(format!("type: {}", paragraph.strip_prefix("Usage: ")?)));
    format!("{mistake}; {}", usage.unwrap_or_else(|| "see loment-runtime --help".to_owned()))
}

/// The log and its form, which stand before the command.
fn named(words: &[OsString]) -> (Option<PathBuf>, LogFormat) {
    let value = |flag: &str| {
        let with = format!("{flag}=");
        words.iter().enumerate().find_map(|(index, word)| match word.to_str()? {
            word if word == flag => words.get(index + 1)?.to_str().map(str::to_owned),
            word => word.strip_prefix(&with).map(str::to_owned),
        })
    };
    let format = value("--log-format").and_then(|name| LogFormat::from_str(&name, false).ok());
    (value("--log").map(PathBuf::from), format.unwrap_or(LogFormat::Text))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::Arguments;

    #[test]
    fn a_wrong_command_line_is_told_on_one_line_without_a_prefix() {
        let said = |words: &[&str]| line(&Arguments::try_parse_from(words).unwrap_err().render().to_string());
        let unknown = said(&["loment-runtime", "state", "--bogus", "x"]);
        assert_eq!(unknown, "unexpected argument '--bogus' found; type: loment-runtime state <ID>");
        let missing = said(&["loment-runtime", "kill"]);
        assert!(missing.starts_with("the following required arguments were not provided: <ID>; type: "), "{missing}");
        let value = said(&["loment-runtime", "--log-format", "xml", "list"]);
        assert!(value.starts_with("invalid value 'xml'") && value.ends_with("; see loment-runtime --help"), "{value}");
    }

    #[test]
    fn the_log_of_a_wrong_command_line_is_found() {
        let of = |words: &[&str]| named(&words.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(of(&["x", "--log", "/l", "--log-format", "json", "nope"]), (Some("/l".into()), LogFormat::Json));
        assert_eq!(of(&["x", "--log=/l", "--log-format=json"]), (Some("/l".into()), LogFormat::Json));
        assert_eq!(of(&["x", "--log-format", "xml", "--log"]), (None, LogFormat::Text));
    }
}
