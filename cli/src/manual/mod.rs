//! Manual pages, made from the definitions of the commands: what `--help` says, in the form of man(7).

mod help;

use std::io;

use clap::{Arg, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use help::Said;

/// Section of the manual: programs that anybody may start.
const SECTION: &str = "1";
const MANUAL: &str = "loment manual";
const GLOBAL: &str = "Global options";

/// A page of the manual.
#[derive(Debug)]
pub(crate) struct Page {
    /// Of its file, as in "loment-get.1".
    pub(crate) name: String,
    pub(crate) text: Vec<u8>,
}

/// A page for the command and for each below it, parents first; none for those that `--help` does not list either.
/// `date` is what stands at the foot of each page, as in "2026-11-27".
///
/// # Errors
/// None that memory does not have: a page is written into it.
pub(crate) fn pages(command: Command, date: &str) -> io::Result<Vec<Page>> {
    // What `--version` prints is said at the foot of each page, which takes the version of the whole.
    let version = command.get_version().unwrap_or_default().to_owned();
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let foot = Foot { date, source: format!("{} {version}", command.get_name()) };
    let mut pages = Vec::new();
    add(&command, None, &foot, &mut pages)?;
    Ok(pages)
}

struct Foot<'a> {
    date: &'a str,
    source: String,
}

fn add(command: &Command, parent: Option<&str>, foot: &Foot<'_>, pages: &mut Vec<Page>) -> io::Result<()> {
    pages.push(page(command, parent, foot)?);
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        add(below, Some(called(command)), foot, pages)?;
    }
    Ok(())
}

fn page(command: &Command, parent: Option<&str>, foot: &Foot<'_>) -> io::Result<Page> {
    // What every command takes comes after its own.
    let apart = |argument: Arg| if argument.is_global_set() { argument.help_heading(GLOBAL) } else { argument };
    let man = Man::new(command.clone().mut_args(apart))
        .title(called(command).to_uppercase())
        .section(SECTION)
        .date(foot.date)
        .source(&foot.source)
        .manual(MANUAL);
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if command.get_subcommands().any(|below| !below.is_hide_set()) {
        man.render_subcommands_section(&mut text)?;
    }
    let after = command.get_after_long_help().or_else(|| command.get_after_help());
    let after = after.map(ToString::to_string).unwrap_or_default();
    let mut rest = Roff::new();
    examples(&mut rest, &help::parts(&after));
    see_also(&mut rest, command, parent);
    rest.to_writer(&mut text)?;
    Ok(Page { name: man.get_filename(), text: tidy(&String::from_utf8_lossy(&text)).into_bytes() })
}

/// clap_mangen 0.3 breaks the line before and after an empty one where an option's values begin, which are breaks of nothing, and
/// ends lines with spaces: mandoc complains of each. And each of its sections begins with what is needed once.
fn tidy(text: &str) -> String {
    const APOSTROPHE: &str = ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n";
    let text = text.replace(".br\n\n.br\n", ".sp\n").replace("\n\n.br\n", "\n").replace(" \n", "\n");
    format!("{APOSTROPHE}{}", text.replace(APOSTROPHE, ""))
}

/// As the page is called: the words of the command, joined by dashes.
fn called(command: &Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

/// What a person types stands as it is typed, what is said of it is a paragraph. What is no example comes after them.
fn examples(roff: &mut Roff, parts: &[Said<'_>]) {
    let (examples, notes): (Vec<_>, Vec<_>) = parts.iter().partition(|part| !matches!(part, Said::Note(_)));
    for (heading, parts) in [("EXAMPLES", examples), ("NOTES", notes)] {
        if !parts.is_empty() {
            roff.control("SH", [heading]);
        }
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                roff.control("PP", []);
            }
            match part {
                Said::Comment(text) | Said::Note(text) => {
                    roff.text([roman(text)]);
                }
                Said::Typed(lines) => {
                    roff.control("RS", ["4"]).control("nf", []);
                    for line in lines {
                        roff.text([bold(*line)]);
                    }
                    roff.control("fi", []).control("RE", []);
                }
            }
        }
    }
}

/// The page above and those below.
fn see_also(roff: &mut Roff, command: &Command, parent: Option<&str>) {
    let below = command.get_subcommands().filter(|below| !below.is_hide_set()).map(called);
    let others: Vec<&str> = if parent.is_none() { vec!["containerd-shim-loment-v2", "loment-runtime"] } else { vec![] };
    let pages = parent.into_iter().chain(below).map(|name| (name, SECTION));
    let pages: Vec<_> = pages.chain(others.into_iter().map(|name| (name, "8"))).collect();
    if pages.is_empty() {
        return;
    }
    roff.control("SH", ["SEE ALSO"]);
    for (index, (name, section)) in pages.iter().enumerate() {
        let comma = if index + 1 < pages.len() { "," } else { "" };
        roff.text([bold(*name), roman(format!("({section}){comma}"))]);
    }
}

#[cfg(test)]
mod tests;
