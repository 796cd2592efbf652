//! What is promised of each command, of those too that will be added.

use std::ffi::OsString;

use clap::{Arg, Command, CommandFactory as _};
use clap_complete::engine::complete;
use serde_json::Value;

use crate::args::Arguments;
use crate::manual;

/// Commands that do not print data with `-o json`, and why.
const NO_JSON: &[(&str, &str)] = &[
    ("loment attach", STREAMS),
    ("loment completion", "it prints a script"),
    ("loment cp", "it prints what is wrong, and nothing else"),
    ("loment delete", OUTCOME),
    (
        "loment describe",
        "it is for people, as kubectl's is; `loment get -o json` and `loment events -o json` have what is in it",
    ),
    ("loment exec", STREAMS),
    ("loment logs", STREAMS),
    ("loment ns exec", STREAMS),
    ("loment ns join", STREAMS),
    ("loment ns rm", OUTCOME),
    ("loment port-forward", OUTCOME),
    ("loment resume", OUTCOME),
    ("loment run", STREAMS),
    ("loment stats", "Prometheus' text format is what its readers ask for; `loment top -o json` has the figures"),
    ("loment wait", OUTCOME),
];
const STREAMS: &str = "what it prints is what a program has written";
const OUTCOME: &str = "it prints that something was done, a line for each; the exit code says the same";

/// A command that a person can give, with the words before its own.
struct Known {
    words: Vec<String>,
    command: Command,
}

impl Known {
    fn line(&self) -> String {
        self.words.join(" ")
    }

    /// Whether it does something itself, and is not only the name of several.
    fn acts(&self) -> bool {
        !self.command.is_subcommand_required_set()
    }

    fn argument(&self, id: &str) -> Option<&Arg> {
        self.command.get_arguments().find(|argument| argument.get_id() == id)
    }
}

fn known() -> Vec<Known> {
    let mut all = Vec::new();
    let mut root = Arguments::command().disable_help_subcommand(true);
    root.build();
    add(root, &[], &mut all);
    assert!(all.len() > 25, "{} commands are known", all.len());
    all
}

fn add(command: Command, before: &[String], all: &mut Vec<Known>) {
    let words = [before, &[command.get_name().to_owned()]].concat();
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        add(below.clone(), &words, all);
    }
    all.push(Known { words, command });
}

#[test]
fn every_command_has_a_page_of_the_manual() {
    let pages = manual::pages(Arguments::command(), "2026-11-27").unwrap();
    let mut written: Vec<_> = pages.into_iter().map(|page| page.name).collect();
    let mut expected: Vec<_> = known().iter().map(|known| format!("{}.1", known.words.join("-"))).collect();
    written.sort();
    expected.sort();
    assert_eq!(written, expected);
}

#[test]
fn the_help_of_every_command_has_an_example_of_it() {
    for known in known().into_iter().filter(|known| known.words.len() > 1) {
        let help = known.command.clone().render_help().to_string();
        let (_, examples) = help.split_once("Examples:\n").unwrap_or_else(|| panic!("{}: {help}", known.line()));
        assert!(examples.contains(&known.line()), "{}: {examples}", known.line());
    }
}

#[test]
fn every_command_is_offered_when_its_first_letter_is_typed() {
    for known in known().into_iter().filter(|known| known.words.len() > 1) {
        let (name, before) = known.words.split_last().unwrap();
        let mut typed: Vec<OsString> = before.iter().map(OsString::from).collect();
        typed.push((&name[..1]).into());
        let last = typed.len() - 1;
        let offered = complete(&mut Arguments::command(), typed, last, None).unwrap();
        let is_offered = offered.iter().any(|candidate| candidate.get_value() == name.as_str());
        assert!(is_offered, "{}: {offered:?}", known.line());
    }
}

#[test]
fn every_command_that_prints_data_prints_json_when_asked() {
    let takes_json = |argument: &Arg| {
        let values = argument.get_possible_values();
        argument.get_short() == Some('o')
            && (values.is_empty() || values.iter().any(|value| value.get_name() == "json"))
    };
    let mut unexplained = Vec::new();
    for known in known().into_iter().filter(Known::acts) {
        let line = known.line();
        let reason = NO_JSON.iter().find(|(of, _)| *of == line);
        match (known.argument("output"), reason) {
            (Some(argument), reason) => {
                assert!(takes_json(argument), "{line} -o: {:?}", argument.get_possible_values());
                assert_eq!(reason, None, "{line} prints JSON");
            }
            (None, None) => unexplained.push(line),
            (None, Some((_, why))) => assert!(!why.is_empty()),
        }
    }
    assert!(unexplained.is_empty(), "no -o json, and no reason is known: {unexplained:?}");
}

#[test]
fn what_every_command_prints_as_json_is_documented() {
    const PAGE: &str = include_str!("../../../docs/json.md");
    let documented = |line: &str| PAGE.contains(&format!("`{line}`"));
    for known in known().into_iter().filter(|known| known.acts() && known.argument("output").is_some()) {
        assert!(documented(&known.line()), "{} is not in docs/json.md", known.line());
    }
    // Every field of what has no page of its own.
    let is_a_field =
        |name: &str| ["`{}`", "`{}[]`", "[].{}[]`"].iter().any(|form| PAGE.contains(&form.replace("{}", name)));
    for name in names(&crate::trace::tests::trace().json()) {
        assert!(is_a_field(&name), "{name} of loment trace");
    }
}

/// Of all fields of an object and of those in it.
fn names(value: &Value) -> Vec<String> {
    match value {
        Value::Object(all) => {
            all.iter().flat_map(|(name, below)| [vec![name.clone()], names(below)].concat()).collect()
        }
        Value::Array(all) => all.iter().flat_map(names).collect(),
        _ => Vec::new(),
    }
}
