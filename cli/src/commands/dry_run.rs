//! `--dry-run`: everything is checked, and what would be done is told.

use std::fmt;

use clap::{Args, ValueEnum};

#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct DryRun {
    /// Check everything, tell what would be done, and do nothing; "server" also asks containerd what it can do and whether
    /// a name is taken
    #[arg(
        long = "dry-run",
        num_args = 0..=1,
        require_equals = true,
        default_value = "none",
        default_missing_value = "client",
        value_name = "none|client|server",
        hide_possible_values = true
    )]
    how: How,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum How {
    #[default]
    None,
    Client,
    Server,
}

impl DryRun {
    pub(crate) fn is_wanted(self) -> bool {
        self.how != How::None
    }

    pub(crate) fn asks_containerd(self) -> bool {
        self.how == How::Server
    }
}

/// What kubectl writes behind what it would have done.
impl fmt::Display for DryRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.how {
            How::None => "",
            How::Client => " (dry run)",
            How::Server => " (server dry run)",
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::args::{Arguments, Verb};

    #[test]
    fn without_a_value_nobody_is_asked() {
        for (flag, written) in [
            ("--dry-run", " (dry run)"),
            ("--dry-run=client", " (dry run)"),
            ("--dry-run=server", " (server dry run)"),
            ("--dry-run=none", ""),
        ] {
            let words = ["loment", "create", flag, "-f", "pod.yaml"];
            let Verb::Create(args) = Arguments::try_parse_from(words).unwrap().verb else { panic!() };
            assert_eq!(args.dry_run.to_string(), written);
            assert_eq!(
                (args.dry_run.is_wanted(), args.dry_run.asks_containerd()),
                (!written.is_empty(), flag.ends_with("server"))
            );
        }
        assert!(Arguments::try_parse_from(["loment", "create", "--dry-run=maybe", "-f", "pod.yaml"]).is_err());
    }
}
