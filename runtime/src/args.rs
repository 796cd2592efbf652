//! The command line, as runc and crun have it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Makes and runs containers from OCI bundles.
#[derive(Debug, Parser)]
#[command(name = "loment-runtime", disable_help_subcommand = true, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    /// Print the version
    #[arg(short = 'v', long, short_alias = 'V')]
    pub(crate) version: bool,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

impl Arguments {
    /// What the caller and the process of this command give each other, if it makes one.
    pub(crate) fn handover(&self) -> Option<&Handover> {
        match self.command.as_ref()? {
            Command::Create(create) => Some(&create.making.handover),
            Command::Run(run) => Some(&run.making.handover),
            Command::Exec(exec) => Some(&exec.handover),
            _ => None,
        }
    }
}

/// What comes before the command.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Where the state of containers is kept; should be a tmpfs
    #[arg(long, default_value = "/run/loment", value_name = "DIR")]
    pub(crate) root: PathBuf,
    /// Write log lines to this file; errors go to standard error as well
    #[arg(long, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,
    /// Form of the log lines
    #[arg(long, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub(crate) log_format: LogFormat,
    /// Log what is done
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    pub(crate) debug: bool,
    /// Let systemd make the cgroups, as scopes: cgroupsPath has the form slice:prefix:name
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    pub(crate) systemd_cgroup: bool,
    /// Taken for the sake of callers, and of no meaning: errors of cgroups are never passed over
    #[arg(long, value_name = "true|false|auto")]
    pub(crate) rootless: Option<String>,
    /// Taken for the sake of callers: there is no checkpoint
    #[arg(long, hide = true, value_name = "FILE")]
    pub(crate) criu: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a container; its program waits to be started
    Create(Create),
    /// Start the program of a container that was created
    Start(One),
    /// Print the state of a container
    State(One),
    /// Send a signal to the first process of a container
    Kill(Kill),
    /// Delete a container
    Delete(Delete),
    /// Make a container, start it, and delete it when it has ended
    Run(Run),
    /// Run another program in a container
    Exec(Exec),
    /// Show the processes of a container
    Ps(Ps),
    /// Show all containers
    List(List),
    /// Stop all processes of a container
    Pause(One),
    /// Let the processes of a paused container run again
    Resume(One),
    /// Change the limits of a container
    Update(Update),
    /// Print what a container uses, and when it runs out of memory
    Events(Events),
    /// Print what this runtime can do
    Features,
    /// Write a config.json to begin with
    Spec(Spec),
    /// Not supported
    #[command(hide = true)]
    Checkpoint(Anything),
    /// Not supported
    #[command(hide = true)]
    Restore(Anything),
}

/// One container.
#[derive(Debug, Args)]
pub(crate) struct One {
    /// Name of the container
    pub(crate) id: String,
}

#[derive(Debug, Args)]
pub(crate) struct Anything {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) rest: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    #[command(flatten)]
    pub(crate) making: Making,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) making: Making,
    /// Leave when the program runs
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Do not delete the container when it has ended
    #[arg(long)]
    pub(crate) keep: bool,
}

/// What a container is made from.
#[derive(Debug, Args)]
pub(crate) struct Making {
    /// Directory with the config.json
    #[arg(short, long, default_value = ".", value_name = "DIR")]
    pub(crate) bundle: PathBuf,
    /// Another name for the config.json
    #[arg(short = 'f', long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) handover: Handover,
    /// Taken for the sake of callers: the root is always changed by pivot_root
    #[arg(long)]
    pub(crate) no_pivot: bool,
    /// Stay in the caller's session keyring
    #[arg(long)]
    pub(crate) no_new_keyring: bool,
    /// Do not adopt processes whose parent in the container has ended
    #[arg(long)]
    pub(crate) no_subreaper: bool,
    /// Name of the container
    pub(crate) id: String,
}

/// What the caller and a process give each other.
#[derive(Debug, Args)]
pub(crate) struct Handover {
    /// Write the process's pid to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) pid_file: Option<PathBuf>,
    /// Send the terminal to this unix socket
    #[arg(long, value_name = "SOCKET")]
    pub(crate) console_socket: Option<PathBuf>,
    /// How many descriptors, besides the standard streams, the program gets
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) preserve_fds: u16,
}

#[derive(Debug, Args)]
pub(crate) struct Kill {
    /// Send the signal to every process
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Name of the container
    pub(crate) id: String,
    /// Name or number
    #[arg(default_value = "SIGTERM")]
    pub(crate) signal: String,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// Kill what still runs; a container that does not exist is no error
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Name of the container
    pub(crate) id: String,
}

#[derive(Debug, Args)]
pub(crate) struct Exec {
    #[command(flatten)]
    pub(crate) handover: Handover,
    /// File with the process, as in config.json
    #[arg(short, long, value_name = "FILE")]
    pub(crate) process: Option<PathBuf>,
    /// Leave when the program runs
    #[arg(short, long)]
    pub(crate) detach: bool,
    #[command(flatten)]
    pub(crate) changes: Changes,
    /// Run the program in a cgroup below the container's: not supported
    #[arg(long, value_name = "PATH")]
    pub(crate) cgroup: Option<String>,
    /// Also if the container is paused: the program waits until it is resumed
    #[arg(long)]
    pub(crate) ignore_paused: bool,
    /// Name of the container
    pub(crate) id: String,
    /// Program and arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
}

/// How the process differs from the container's first.
#[derive(Debug, Default, Args)]
pub(crate) struct Changes {
    /// Give it a terminal
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    pub(crate) tty: bool,
    /// Working directory
    #[arg(long, value_name = "DIR")]
    pub(crate) cwd: Option<PathBuf>,
    /// Set a variable
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
    /// User and group, as numbers
    #[arg(short, long, value_name = "UID[:GID]")]
    pub(crate) user: Option<String>,
    /// Additional groups
    #[arg(short = 'g', long, value_name = "GID", value_delimiter = ',')]
    pub(crate) additional_gids: Vec<u32>,
    /// Add a capability
    #[arg(short, long, value_name = "CAP")]
    pub(crate) cap: Vec<String>,
    /// AppArmor profile
    #[arg(long, value_name = "PROFILE")]
    pub(crate) apparmor: Option<String>,
    /// SELinux label
    #[arg(long, value_name = "LABEL")]
    pub(crate) process_label: Option<String>,
    /// Forbid new privileges
    #[arg(long)]
    pub(crate) no_new_privs: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct Ps {
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
    /// Name of the container
    pub(crate) id: String,
    /// Options for the host's ps [default: -ef]
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) options: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
    /// Names only
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Update {
    /// File with the limits, as in linux.resources of config.json; - is standard input. Other flags do not count then
    #[arg(short, long, value_name = "FILE")]
    pub(crate) resources: Option<PathBuf>,
    /// Share of disk time, 10 to 1000
    #[arg(long, value_name = "N")]
    pub(crate) blkio_weight: Option<u16>,
    /// Microseconds
    #[arg(long, value_name = "N")]
    pub(crate) cpu_period: Option<u64>,
    /// Microseconds of processor time in a period
    #[arg(long, allow_negative_numbers = true, value_name = "N")]
    pub(crate) cpu_quota: Option<i64>,
    /// Share of processor time
    #[arg(long, value_name = "N")]
    pub(crate) cpu_share: Option<u64>,
    /// Microseconds
    #[arg(long, value_name = "N")]
    pub(crate) cpu_rt_period: Option<u64>,
    /// Microseconds of real-time processor time in a period
    #[arg(long, allow_negative_numbers = true, value_name = "N")]
    pub(crate) cpu_rt_runtime: Option<i64>,
    /// Processors, as in 0-3,7
    #[arg(long, value_name = "LIST")]
    pub(crate) cpuset_cpus: Option<String>,
    /// Memory nodes
    #[arg(long, value_name = "LIST")]
    pub(crate) cpuset_mems: Option<String>,
    /// Bytes, or a number with k, m, g or t
    #[arg(long, allow_negative_numbers = true, value_name = "SIZE")]
    pub(crate) memory: Option<String>,
    /// Bytes that are taken back last
    #[arg(long, allow_negative_numbers = true, value_name = "SIZE")]
    pub(crate) memory_reservation: Option<String>,
    /// Bytes of memory and swap together; -1 for no limit
    #[arg(long, allow_negative_numbers = true, value_name = "SIZE")]
    pub(crate) memory_swap: Option<String>,
    /// Processes and threads; -1 for no limit
    #[arg(long, allow_negative_numbers = true, value_name = "N")]
    pub(crate) pids_limit: Option<i64>,
    /// The kernel has no such limit any more
    #[arg(long, hide = true)]
    pub(crate) kernel_memory: Option<String>,
    /// The kernel has no such limit any more
    #[arg(long, hide = true)]
    pub(crate) kernel_memory_tcp: Option<String>,
    /// Name of the container
    pub(crate) id: String,
}

#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Print what the container uses now, and leave
    #[arg(long)]
    pub(crate) stats: bool,
    /// Time between two answers
    #[arg(long, default_value = "5s", value_name = "DURATION")]
    pub(crate) interval: String,
    /// Name of the container
    pub(crate) id: String,
}

#[derive(Debug, Args)]
pub(crate) struct Spec {
    /// Where to write it
    #[arg(short, long, default_value = ".", value_name = "DIR")]
    pub(crate) bundle: PathBuf,
    /// For a caller who is not root: not supported
    #[arg(long)]
    pub(crate) rootless: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Arguments {
        Arguments::try_parse_from(std::iter::once("loment-runtime").chain(line.split_whitespace())).unwrap()
    }

    #[test]
    fn the_commands_do_not_contradict_each_other() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn what_callers_write_is_understood() {
        for line in [
            // podman's conmon
            "--root=/r --log-format=json --log=/l create --bundle /b --pid-file /p --console-socket /s c1",
            "--systemd-cgroup=false exec --pid-file /p --process /f --detach c1",
            // containerd's go-runc
            "--root /r --log /l --log-format json create --bundle /b --pid-file /p --no-pivot --preserve-fds 2 c1",
            "--root /r update --resources=- c1",
            "--root /r kill --all c1 9",
            "--rootless=auto delete --force c1",
            "events --stats --interval=1s c1",
            "update --memory-swap -1 --pids-limit -1 c1",
        ] {
            parse(line);
        }
    }

    #[test]
    fn flags_after_the_program_belong_to_it() {
        let Some(Command::Exec(exec)) = parse("exec -t --env A=b c1 ls -t --color /").command else { panic!() };
        assert_eq!(exec.command, ["ls", "-t", "--color", "/"]);
        assert!(exec.changes.tty && !exec.detach);
    }

    #[test]
    fn the_page_of_the_manual_names_every_command_and_every_option_before_it() {
        let page = include_str!("../../docs/man/loment-runtime.8").replace("\\-", "-");
        let command = Arguments::command();
        for known in command.get_subcommands().filter(|known| !known.is_hide_set()) {
            let name = known.get_name();
            let is_there =
                page.lines().any(|line| line.starts_with(&format!(".BR {name} ")) || line == format!(".B {name}"));
            assert!(is_there, "{name}");
        }
        for option in command.get_arguments().filter(|option| !option.is_hide_set() && option.get_id() != "help") {
            let name = option.get_long().unwrap();
            let is_there = page.contains(&format!(".BI --{name}\\ ")) || page.contains(&format!(".B --{name}\n"));
            assert!(is_there, "--{name}");
        }
    }
}
