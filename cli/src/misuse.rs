//! A wrong command line: one line that says what is wrong and what to type instead.

/// What clap says in paragraphs, on one line: the mistake, what may have been meant, how the command is used, and where its
/// examples are.
pub(crate) fn line(said: &str) -> String {
    let mut paragraphs = said.trim().split("\n\n").map(|paragraph| {
        let words: Vec<&str> = paragraph.split_whitespace().collect();
        words.join(" ")
    });
    let mut line = paragraphs.next().unwrap_or_default();
    for paragraph in paragraphs {
        if let Some(tip) = paragraph.strip_prefix("tip: ") {
            line.push_str(&format!("; {tip}"));
        } else if let Some(usage) = paragraph.strip_prefix("Usage: ") {
            let is_name = |word: &&str| {
                word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-') && !word.starts_with('-')
            };
            let command: Vec<&str> = usage.split(' ').take_while(is_name).collect();
            line.push_str(&format!("; type: {usage} (\"{} --help\" has examples)", command.join(" ")));
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::Arguments;

    fn said(words: &[&str]) -> String {
        line(&Arguments::try_parse_from(words).unwrap_err().render().to_string())
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
            "error: invalid value 'x' for '--sort-by <SORT_BY>' [possible values: name, cpu, memory, pids, io]"
        );
        let unknown = said(&["loment", "frobnicate"]);
        assert!(unknown.contains("'frobnicate'; type: loment [OPTIONS] <COMMAND> (\"loment --help\""), "{unknown}");
    }
}
