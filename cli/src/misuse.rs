//! A wrong command line: one line that says what is wrong and what to type instead.

use clap::CommandFactory as _;
use clap::error::{ContextKind, ContextValue};

use crate::args::Arguments;

/// What is typed by people who know another tool, and what they are to type here.
const VERBS: &[(&[&str], &str)] = &[
    (&["ps", "ls", "list"], "\"loment get pods\" lists pods, \"loment top\" what they use"),
    (&["rm", "remove", "stop", "kill"], "\"loment delete pod NAME\" stops and removes a pod"),
    (&["inspect", "show"], "\"loment describe pod NAME\" and \"loment get pod NAME -o yaml\" have all of a pod"),
    (&["edit"], "change the manifest and \"loment apply -f FILE\", or \"loment patch pod NAME -p PATCH\""),
    (&["images", "image", "pull"], "images are containerd's: \"ctr --namespace k8s.io images ls\" lists them"),
    (
        &["diff"],
        "\"loment apply --dry-run -f FILE\" says which pods would change, \"loment explain -f FILE\" what would be made",
    ),
    (
        &["start", "up"],
        "\"loment create -f FILE\" makes and starts pods, \"loment resume --all\" those that a reboot has ended",
    ),
    (&["cluster-info", "info"], "\"loment version\" and \"loment doctor\" tell about this machine"),
];

/// Flags that kubectl has, and what does the same here.
const FLAGS: &[(&[&str], &str)] = &[
    (&["-k", "--kustomize"], "kustomizations are not built here: kubectl kustomize DIR | loment VERB -f -"),
    (&["-R", "--recursive"], "directories below a directory are not read: name each of them, as in -f DIR,DIR/BELOW"),
    (&["--dry-run"], "\"loment explain -f FILE\" tells what becomes of a manifest without making anything"),
];

/// What clap says in paragraphs, on one line: the mistake, what may have been meant, how the command is used, and where its
/// examples are. `words` is the command line.
pub(crate) fn line(error: &clap::Error, words: &[String]) -> String {
    let said = error.render().to_string();
    let mut paragraphs = said.trim().split("\n\n").map(|paragraph| {
        let words: Vec<&str> = paragraph.split_whitespace().collect();
        words.join(" ")
    });
    let mut line = paragraphs.next().unwrap_or_default();
    let command = command(words);
    if let Some(hint) = hint(error, &command) {
        return format!("{line}; {hint}");
    }
    let help = format!("\"{command} --help\" has examples");
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

/// What somebody who knows kubectl or docker is looking for.
fn hint(error: &clap::Error, command: &str) -> Option<String> {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(word)) => Some(word.as_str()),
        _ => None,
    };
    let found = |table: &[(&[&str], &'static str)], word: &str| {
        table.iter().find(|(words, _)| words.contains(&word)).map(|(_, hint)| *hint)
    };
    let verb = command.strip_prefix("loment").unwrap_or_default().trim_start();
    if verb.is_empty() {
        return context(ContextKind::InvalidSubcommand).and_then(|word| found(VERBS, word)).map(str::to_owned);
    }
    let takes_manifests = ["create", "apply", "replace", "delete", "run"].contains(&verb);
    let flag = context(ContextKind::InvalidArg).filter(|_| takes_manifests)?;
    Some(found(FLAGS, flag.split(['=', ' ']).next()?)?.replace("VERB", verb))
}

/// The command that was meant, as far as it is one: `loment get pods`.
pub(crate) fn command(words: &[String]) -> String {
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
    use std::ffi::OsString;

    use crate::command_line::{Answer, read};

    fn said(words: &[&str]) -> String {
        match read(&words.iter().map(OsString::from).collect::<Vec<_>>()) {
            Err(Answer::Wrong(line)) => line,
            other => panic!("{words:?}: {other:?}"),
        }
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

    #[test]
    fn who_knows_another_tool_is_told_what_to_type_here() {
        for (words, hint) in [
            (["loment", "ps", "-a"].as_slice(), "\"loment get pods\" lists pods"),
            (&["loment", "rm", "web"], "\"loment delete pod NAME\""),
            (&["loment", "stop", "web"], "\"loment delete pod NAME\""),
            (&["loment", "inspect", "web"], "\"loment describe pod NAME\""),
            (&["loment", "edit", "pod", "web"], "\"loment apply -f FILE\""),
            (&["loment", "images"], "\"ctr --namespace k8s.io images ls\""),
            (&["loment", "diff", "-f", "x"], "\"loment apply --dry-run -f FILE\""),
            (&["loment", "apply", "-k", "dir"], "kubectl kustomize DIR | loment apply -f -"),
            (&["loment", "create", "-R", "-f", "dir"], "name each of them"),
            (&["loment", "run", "--dry-run=client", "-f", "x"], "\"loment explain -f FILE\""),
        ] {
            let line = said(words);
            assert!(line.starts_with("error: ") && line.contains(hint) && !line.contains('\n'), "{words:?}: {line}");
        }
        assert!(!said(&["loment", "get", "-k", "x"]).contains("kustomize"));
    }
}
