//! containerd started again, when the user says so.

use anyhow::Context as _;
use clap::Args;

use crate::setup::found::Kind;
use crate::setup::restart;

/// Whether containerd is started again, and how.
#[derive(Debug, Args)]
pub(super) struct Again {
    /// Start containerd again, which reads its configuration only then. Pods go on
    #[arg(long)]
    restart: bool,
    /// What starts containerd again, as a line for /bin/sh; implies --restart
    /// [default: systemctl restart of its service]
    #[arg(long, value_name = "COMMAND")]
    restart_command: Option<String>,
}

impl Again {
    pub(super) fn is_wanted(&self) -> bool {
        self.restart || self.restart_command.is_some()
    }

    /// What starts it again: what the user says, or what is known.
    pub(super) fn command(&self, kind: Kind) -> Option<String> {
        self.restart_command.clone().or_else(|| restart::command(kind))
    }

    /// Starts it again if that is wanted. Answers whether it was.
    pub(super) fn carry_out(&self, command: Option<&str>) -> anyhow::Result<bool> {
        if !self.is_wanted() {
            return Ok(false);
        }
        let command = command.context(
            "the files are written, but nothing is known that starts containerd again (no systemd): name it with --restart-command, \
             and run this again",
        )?;
        restart::run(command)?;
        Ok(true)
    }
}
