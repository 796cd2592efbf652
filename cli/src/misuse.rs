//! A wrong command line: one line that says what is wrong and what to type instead.

use clap::CommandFactory as _;

use crate::args::Arguments;

/// What clap says in paragraphs, on one line: the mistake, what may have been meant, how the command is used, and where its
/// examples are. `words` is the command line.
pub(crate) fn line(said: &str, words: &[String]) -> String {
    let mut paragraphs = said.trim().split("\n\n").map(|paragraph| {
        let words: Vec<&str> = paragraph.split_whitespace().collect();
        words.join(" ")
    });
    let mut line = paragraphs.next().unwrap_or_default();
    let help = format!("\"{} --help\" has examples", command(words));
    let mut end = help.clone();
    for paragraph in paragraphs {
        if let Some(tip) = paragraph.strip_prefix("tip: ") {
            line.push_str(&format!("; {tip}"));
        } else if let Some(text) = paragraph.strip_prefix("Usage: ") {
            end = format!("type: {text} ({help})");
        }
    }
    format!("{line}; {end}")
}

/// The command that was meant, as far as it is one: `loment get pods`.
fn command(words: &[String]) -> String {
    let mut command = &Arguments::command();
    let mut names = vec![command.get_name()];
    // Flags before the command, and their values, are no commands.
    for word in words.iter().skip(1) {
        if let Some(found) = command.find_subcommand(word) {
            names.push(found.get_name());
            command = found;
        }
    }
    names.join(" ")
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::Arguments;

    fn said(words: &[&str]) -> String {
        let error = Arguments::try_parse_from(words).unwrap_err().render().to_string();
        line(&error, &words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_wrong_command_line_is_answered_with_one_line_that_says_what_to_type() {
        assert_eq!(
            said(&["loment", "install", "--restrt"]),
            "error: unexpected argument '--restrt' found; a similar argument exists: '--restart'; type: loment install --restart \
             (\"loment install --help\" has examples)"
        );
        assert_eq!(
            said(&["loment", "why"]),
            "error: the following required arguments were not provided: <POD>...; type: loment why <POD>... (\"loment why --help\" has \
             examples)"
        );
        assert_eq!(
            said(&["loment", "top", "--sort-by", "x"]),
            "error: invalid value 'x' for '--sort-by <SORT_BY>' [possible values: name, cpu, memory, pids, io]; \
             \"loment top --help\" has examples"
        );
        assert_eq!(
            said(&["loment", "-n", "x", "logs", "web", "--tail", "many"]),
            "error: invalid value 'many' for '--tail <LINES>': invalid digit found in string; \"loment logs --help\" has examples"
        );
        let unknown = said(&["loment", "frobnicate"]);
        assert!(unknown.contains("'frobnicate'; type: loment [OPTIONS] <COMMAND> (\"loment --help\""), "{unknown}");
    }
}
