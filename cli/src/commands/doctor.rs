//! `loment doctor`: whether pods can run on this machine, and what to do if not.

use clap::Args;
use serde_json::json;

use super::install::Format;
use super::install::which::Which;
use super::print;
use crate::args::Global;
use crate::doctor::{self, Level, Line};
use crate::error::ExitWith;
use crate::print::{show, table};
use crate::session::{self, Session};
use crate::setup::found::{self, Kind, Places};

const EXAMPLES: &str = "\
Examples:
  # Whether pods can run here: each line passes, warns or fails, and says what to do
  loment doctor

  # The checks that fail, for a program
  loment doctor -o json | jq '.checks[] | select(.result == \"fail\")'

The exit code is 0 when nothing fails, and 2 when something does.";

/// How it ends when a check fails.
const FAILED: u8 = 2;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Doctor {
    #[command(flatten)]
    which: Which,
    /// How to print it
    #[arg(short, long)]
    output: Option<Format>,
}

pub(crate) async fn run(global: &Global, args: &Doctor) -> anyhow::Result<()> {
    args.which.machine.enter_host()?;
    let mut survey = doctor::look::machine(&global.runtime_handler);
    let found = args.which.hints(global).and_then(|hints| found::find(&Places::default(), &hints));
    let kind = found.as_ref().map_or(Kind::Containerd, |found| found.kind);
    let global = &args.which.machine.global(global, kind);
    let session = Session::open(global).await;
    doctor::look::containerd(&mut survey, found, session, session::address(global)).await;
    let lines = doctor::judge(&survey);
    print(&if args.output.is_some() { object(&lines)? } else { text(&lines) })?;
    if lines.iter().any(|line| line.level == Level::Fail) { Err(ExitWith(FAILED).into()) } else { Ok(()) }
}

fn count(lines: &[Line], level: Level) -> usize {
    lines.iter().filter(|line| line.level == level).count()
}

fn object(lines: &[Line]) -> anyhow::Result<String> {
    show::json(&json!({
        "checks": lines,
        "passed": count(lines, Level::Pass), "warned": count(lines, Level::Warn), "failed": count(lines, Level::Fail),
    }))
}

/// A table, with what to do below each line that does not pass.
fn text(lines: &[Line]) -> String {
    let rows = lines.iter().map(|line| vec![word(line.level).to_owned(), line.check.to_owned(), line.found.clone()]);
    let rendered = table::render(&rows.collect::<Vec<_>>());
    let mut text = String::new();
    for (row, line) in rendered.lines().zip(lines) {
        text.push_str(&format!("{row}\n"));
        if let Some(remedy) = &line.remedy {
            text.push_str(&format!("       -> {remedy}\n"));
        }
    }
    let (passed, warned) = (count(lines, Level::Pass), count(lines, Level::Warn));
    text.push_str(&format!("\n{passed} pass, {warned} warn, {} fail\n", count(lines, Level::Fail)));
    text
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Pass => "pass",
        Level::Warn => "warn",
        Level::Fail => "FAIL",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_do_stands_below_what_is_wrong() {
        let line = |level, remedy: Option<&str>| Line {
            check: "overlay",
            level,
            found: "found".into(),
            remedy: remedy.map(str::to_owned),
        };
        let lines = [line(Level::Pass, None), line(Level::Fail, Some("modprobe overlay"))];
        assert_eq!(
            text(&lines),
            "pass   overlay   found\nFAIL   overlay   found\n       -> modprobe overlay\n\n1 pass, 0 warn, 1 fail\n"
        );
        let json: serde_json::Value = serde_json::from_str(&object(&lines).unwrap()).unwrap();
        assert_eq!(json["checks"][1]["result"], "fail");
        assert_eq!(json["failed"], 1);
    }

    #[test]
    fn the_documentation_shows_what_is_printed_as_json() {
        let line = |check, level, found: &str, remedy: Option<&str>| Line {
            check,
            level,
            found: found.to_owned(),
            remedy: remedy.map(str::to_owned),
        };
        let lines = [
            line("root", Level::Pass, "run as root", None),
            line(
                "restart",
                Level::Fail,
                "the configuration has the runtime class \"loment\", the running containerd does not",
                Some("start containerd again, which pods survive (systemctl restart containerd)"),
            ),
        ];
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/doctor.md");
        let text = std::fs::read_to_string(path).unwrap();
        let example = text.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&object(&lines).unwrap()).unwrap(),
            serde_json::from_str::<serde_json::Value>(example).unwrap()
        );
    }
}
