//! What stands after the options in `--help`: examples with what they are for, and notes.

/// A piece of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said<'a> {
    /// What the lines after it are for.
    Comment(String),
    /// Lines that a person types, or that are then answered.
    Typed(Vec<&'a str>),
    /// A paragraph of its own.
    Note(String),
}

/// The heading that examples have.
const HEADING: &str = "Examples:";
/// What examples are indented by.
const INDENT: &str = "  ";

/// Reads it: what is indented is an example, a line of it that begins with "#" says what it is for.
pub(super) fn parts(help: &str) -> Vec<Said<'_>> {
    let mut parts: Vec<Said<'_>> = Vec::new();
    let mut goes_on = false;
    for line in help.lines().filter(|line| line.trim() != HEADING) {
        let said = match line.strip_prefix(INDENT) {
            _ if line.trim().is_empty() => {
                goes_on = false;
                continue;
            }
            Some(example) => match example.strip_prefix("# ") {
                Some(comment) => Said::Comment(comment.to_owned()),
                None => Said::Typed(vec![example]),
            },
            None => Said::Note(line.to_owned()),
        };
        match (parts.last_mut().filter(|_| goes_on), said) {
            (Some(Said::Comment(all)), Said::Comment(more)) | (Some(Said::Note(all)), Said::Note(more)) => {
                all.push(' ');
                all.push_str(&more);
            }
            (Some(Said::Typed(all)), Said::Typed(more)) => all.extend(more),
            (_, said) => parts.push(said),
        }
        goes_on = true;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_what_is_typed_and_notes_are_told_apart() {
        let help =
            "Examples:\n  # All of it,\n  # at once\n  loment get pods\n\n  loment a \\\n    b\n\nThe code is\n0.";
        let expected = [
            Said::Comment("All of it, at once".into()),
            Said::Typed(vec!["loment get pods"]),
            Said::Typed(vec!["loment a \\", "  b"]),
            Said::Note("The code is 0.".into()),
        ];
        assert_eq!(parts(help), expected);
    }
}
