//! The command line, read as kubectl reads it: a flag without a value may also be written with one, as in `--watch=true`.
//!
//! The definitions stay as they are, and so do help, manual pages and completion: what is read is a copy of them in which
//! such flags take a value. Whatever is said to the user comes from the plain definitions.

use std::ffi::OsString;

use clap::builder::{OsStr, Resettable};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, Command, CommandFactory as _, FromArgMatches as _};

use crate::args::Arguments;
use crate::misuse;

/// What is said instead of doing something.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// What was asked for: help or the version.
    Asked(String),
    /// What is wrong.
    Wrong(String),
}

/// Reads a command line; `words` begins with the program's name.
pub(crate) fn read(words: &[OsString]) -> Result<Arguments, Answer> {
    let refused = match parsed(everywhere(Arguments::command(), with_value), words) {
        Ok(arguments) => return Ok(arguments),
        Err(refused) => refused,
    };
    match refused.kind() {
        ErrorKind::DisplayVersion => Err(Answer::Asked(refused.render().to_string())),
        ErrorKind::DisplayHelp => Err(Answer::Asked(help(words, words))),
        // As kubectl does: who names no command is shown those that there are.
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
            Err(Answer::Asked(help(&[], words)))
        }
        _ => Err(Answer::Wrong(misuse::line(&wrong(refused, words), &lossy(words)))),
    }
}

fn parsed(mut command: Command, words: &[OsString]) -> Result<Arguments, clap::Error> {
    // As `Parser::try_parse_from` says what is wrong.
    let matches = command.try_get_matches_from_mut(words)?;
    Arguments::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// The help that `asking` asks for, else that of the command in `words`.
fn help(asking: &[OsString], words: &[OsString]) -> String {
    let said = |words: &[OsString]| match parsed(Arguments::command(), words) {
        Err(error) if error.kind() == ErrorKind::DisplayHelp => Some(error.render().to_string()),
        _ => None,
    };
    let command = misuse::command(&lossy(words));
    let spelled = command.split(' ').chain(["--help"]).map(OsString::from).collect::<Vec<_>>();
    said(asking).or_else(|| said(&spelled)).unwrap_or_default()
}

/// What is said of a wrong command line. Variables of the environment are left out of it: clap takes what they give for
/// something that was typed, and shows it in the usage line.
fn wrong(refused: clap::Error, words: &[OsString]) -> clap::Error {
    let plain = parsed(everywhere(Arguments::command(), without_variable), words);
    let lenient = || parsed(everywhere(everywhere(Arguments::command(), with_value), without_variable), words);
    match plain {
        // It has stumbled over a value that is allowed: the mistake is another one.
        Err(error) if error.kind() == ErrorKind::TooManyValues => lenient().err().unwrap_or(refused),
        Err(error) => error,
        Ok(_) => refused,
    }
}

fn lossy(words: &[OsString]) -> Vec<String> {
    words.iter().map(|word| word.to_string_lossy().into_owned()).collect()
}

/// Changes the arguments of a command and of those below it.
pub(crate) fn everywhere(mut command: Command, change: fn(Arg) -> Arg) -> Command {
    let verbs: Vec<String> = command.get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
    for verb in verbs {
        command = command.mut_subcommand(verb, |below| everywhere(below, change));
    }
    command.mut_args(change)
}

/// A flag that may have a value, after "=" only: what follows it otherwise is another word, and so are further letters.
fn with_value(argument: Arg) -> Arg {
    if !matches!(argument.get_action(), ArgAction::SetTrue) {
        return argument;
    }
    let argument = argument
        .action(ArgAction::Set)
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
        .value_parser(clap::value_parser!(bool))
        .value_name("true|false");
    if argument.is_required_set() { argument } else { argument.default_value("false") }
}

fn without_variable(argument: Arg) -> Arg {
    argument.env(Resettable::<OsStr>::Reset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Verb;

    fn read_words(line: &str) -> Result<Arguments, Answer> {
        read(&line.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    fn verb(line: &str) -> Verb {
        read_words(line).unwrap_or_else(|answer| panic!("{line}: {answer:?}")).verb
    }

    fn wrong(line: &str) -> String {
        match read_words(line) {
            Err(Answer::Wrong(said)) => said,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn asked(line: &str) -> String {
        match read_words(line) {
            Err(Answer::Asked(said)) => said,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn what_is_read_is_consistent() {
        everywhere(Arguments::command(), with_value).debug_assert();
        everywhere(everywhere(Arguments::command(), with_value), without_variable).debug_assert();
    }

    #[test]
    fn every_flag_may_be_written_with_a_value() {
        for (line, expected) in [
            ("loment logs web --all-containers=true", true),
            ("loment logs web --all-containers=false", false),
            ("loment logs web --all-containers", true),
            ("loment logs web", false),
            ("loment --namespace x logs web --all-containers=true -f=true", true),
        ] {
            let Verb::Logs(logs) = verb(line) else { panic!("{line}") };
            assert_eq!(logs.all_containers, expected, "{line}");
        }
        for line in [
            "loment get pods --watch=true --ignore-not-found=true --no-headers=false",
            "loment delete pod --all=true --now=true",
            "loment annotate pod web a=b --overwrite=true",
            "loment wait pods --all=true --for=delete",
            "loment attach web -i=true -t=true",
            "loment stats --prometheus=true",
            "loment describe pods --show-events",
        ] {
            verb(line);
        }
        assert_eq!(wrong("loment get pods --watch=maybe").split(" for ").next(), Some("error: invalid value 'maybe'"));
    }

    #[test]
    fn letters_may_stand_together_and_the_words_of_a_command_are_its_own() {
        for (line, command) in [
            ("loment exec -it web -- tool --watch=true -i=false", "tool --watch=true -i=false"),
            ("loment exec -it web tool --tty=false", "tool --tty=false"),
            ("loment exec -i=true -t web -- sh", "sh"),
            ("loment exec -ti web -c app -- sh -it", "sh -it"),
        ] {
            let Verb::Exec(exec) = verb(line) else { panic!("{line}") };
            assert!(exec.stdin && exec.tty && exec.pod == "web", "{line}: {exec:?}");
            assert_eq!(exec.command.join(" "), command, "{line}");
        }
    }

    #[test]
    fn a_mistake_beside_a_flag_with_a_value_is_told_and_not_the_flag() {
        let said = wrong("loment get pods --watch=true --bogus");
        assert!(said.starts_with("error: unexpected argument '--bogus' found"), "{said}");
        assert!(wrong("loment get pods --output=x=y --bogus").contains("'--bogus'"));
    }

    #[test]
    fn help_is_that_of_the_plain_definitions() {
        for line in ["loment get --help", "loment help get", "loment -n x get --watch=true --help"] {
            let said = asked(line);
            assert!(said.contains("loment get [OPTIONS] [RESOURCE]...") && !said.contains("true|false"), "{said}");
        }
        assert!(asked("loment help ns create").contains("loment ns create"));
        assert!(asked("loment --version").starts_with("loment "));
    }

    #[test]
    fn who_names_no_command_is_shown_those_that_there_are() {
        for line in ["loment", "loment -n shop", "loment --help", "loment help"] {
            let said = asked(line);
            assert!(said.contains("port-forward") && said.contains("Examples:\n"), "{line}: {said}");
            assert!(!said.contains("bench-limit"), "{line}: {said}");
        }
        assert!(asked("loment set").contains("loment set image"));
    }

    #[test]
    fn what_the_environment_says_is_not_told_as_if_it_were_needed() {
        // Not with a variable that is set: other threads read the environment meanwhile.
        let mut open = vec![everywhere(Arguments::command(), without_variable)];
        while let Some(command) = open.pop() {
            assert!(command.get_arguments().all(|argument| argument.get_env().is_none()), "{}", command.get_name());
            open.extend(command.get_subcommands().cloned());
        }
    }
}
