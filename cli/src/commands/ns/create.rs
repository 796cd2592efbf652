//! `loment ns create`: a sandbox made by hand.

use std::path::Path;

use clap::Args;

use super::Output;
use crate::commands::print;
use crate::error::Said;
use crate::namespaces::kind::Kind;
use crate::namespaces::lab::make::make;
use crate::namespaces::lab::wanted::{Clocks, Ids, Wanted};
use crate::namespaces::lab::{Lab, sysctl};
use crate::namespaces::target::is_name;
use crate::print::show;

const EXAMPLES: &str = "\
Examples:
  # What a pod's containers share
  loment ns create web --net --ipc --uts

  # With a host name and kernel parameters
  loment ns create web --net --uts --hostname web-0 --sysctl net.ipv4.ip_forward=1

  # Processes of its own, and a /proc that shows them; users of its own
  loment ns create box --pid --mount --user

  # The uptime of a machine that has been up for a month longer
  loment ns create old --time --boottime 2592000 --monotonic 2592000";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Create {
    /// Name of the sandbox
    name: String,
    /// A network, with a loopback that is up
    #[arg(long)]
    net: bool,
    /// System V IPC and POSIX message queues
    #[arg(long)]
    ipc: bool,
    /// Host name and domain name
    #[arg(long)]
    uts: bool,
    /// Processes; a holder is their first one, and stays
    #[arg(long)]
    pid: bool,
    /// Users and groups
    #[arg(long)]
    user: bool,
    /// Clocks that count from the boot: as the machine's, or ahead of them
    #[arg(long)]
    time: bool,
    /// How far the monotonic clock is ahead of the machine's (behind, if negative); needs --time
    #[arg(long, requires = "time", value_name = "SECONDS", allow_negative_numbers = true, default_value_t = 0)]
    monotonic: i64,
    /// The same for the clock that counts suspended times, too, which is the uptime; needs --time
    #[arg(long, requires = "time", value_name = "SECONDS", allow_negative_numbers = true, default_value_t = 0)]
    boottime: i64,
    /// What is seen of cgroups: the one that this command is in becomes the root
    #[arg(long)]
    cgroup: bool,
    /// Mounts: a copy of this machine's, which follows it; with --pid it has a /proc of its own
    #[arg(long, visible_alias = "mnt")]
    mount: bool,
    /// Host name in the sandbox; needs --uts [default: the sandbox's name]
    #[arg(long, requires = "uts", value_name = "HOSTNAME")]
    hostname: Option<String>,
    /// Kernel parameter of the sandbox; may be repeated
    #[arg(long = "sysctl", value_name = "NAME=VALUE")]
    sysctls: Vec<String>,
    /// Ids of the machine that users and groups inside stand for; needs --user [default: 0:100000:65536]
    #[arg(long, requires = "user", value_parser = Ids::parse, value_name = "INSIDE:OUTSIDE:COUNT")]
    map: Option<Ids>,
    /// How to print it
    #[arg(short, long)]
    output: Option<Output>,
}

pub(super) fn run(lab: &Path, args: &Create) -> anyhow::Result<()> {
    let record = make(&Lab::at(lab), &args.wanted()?)?;
    if args.output == Some(Output::Json) {
        return print(&show::json(&serde_json::to_value(&record)?)?);
    }
    let namespaces = Kind::ALL.iter().filter_map(|kind| {
        let inode = record.namespaces.get(kind.file())?;
        Some(format!("{kind}:[{inode}]"))
    });
    let holder = record.holder.map_or_else(String::new, |pid| format!(", held by {pid}"));
    print(&format!("sandbox/{} created: {}{holder}\n", record.name, namespaces.collect::<Vec<_>>().join(" ")))
}

impl Create {
    fn wanted(&self) -> anyhow::Result<Wanted> {
        if !is_name(&self.name) {
            let line = format!(
                "error: {:?} is no name for a sandbox: say up to 63 lowercase letters, digits and -, a letter first",
                self.name
            );
            return Err(Said::one(line).into());
        }
        let kinds = self.kinds();
        if kinds.is_empty() {
            let name = &self.name;
            let line = format!("error: a sandbox has a namespace at least: loment ns create {name} --net --ipc --uts");
            return Err(Said::one(line).into());
        }
        let sysctls = self.sysctls.iter().map(|text| sysctl::parse(text, &kinds));
        let sysctls = sysctls.collect::<Result<Vec<_>, _>>().map_err(|reason| Said::one(format!("error: {reason}")))?;
        let hostname = self.uts.then(|| self.hostname.clone().unwrap_or_else(|| self.name.clone()));
        Ok(Wanted {
            name: self.name.clone(),
            kinds,
            hostname,
            sysctls,
            ids: self.map.unwrap_or_default(),
            clocks: Clocks { monotonic: self.monotonic, boottime: self.boottime },
        })
    }

    fn kinds(&self) -> Vec<Kind> {
        let is_wanted = |kind: &Kind| match kind {
            Kind::User => self.user,
            Kind::Cgroup => self.cgroup,
            Kind::Ipc => self.ipc,
            Kind::Net => self.net,
            Kind::Pid => self.pid,
            Kind::Time => self.time,
            Kind::Uts => self.uts,
            Kind::Mount => self.mount,
        };
        Kind::ALL.into_iter().filter(is_wanted).collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        create: Create,
    }

    fn wanted(words: &str) -> anyhow::Result<Wanted> {
        let words = std::iter::once("create").chain(words.split(' '));
        Line::try_parse_from(words)?.create.wanted()
    }

    #[test]
    fn a_sandbox_has_the_kinds_that_were_named_and_its_own_name_as_host_name() {
        let web = wanted("web --net --uts --mount").unwrap();
        assert_eq!(web.kinds, [Kind::Net, Kind::Uts, Kind::Mount]);
        assert_eq!((web.hostname.as_deref(), web.ids), (Some("web"), Ids::default()));
        assert_eq!(wanted("web --uts --hostname a").unwrap().hostname.as_deref(), Some("a"));
        assert_eq!(wanted("web --ipc").unwrap().hostname, None);
        let clocks = wanted("web --time --monotonic -7").unwrap().clocks;
        assert_eq!(clocks, Clocks { monotonic: -7, boottime: 0 });
    }

    #[test]
    fn wrong_use_is_told_what_to_type_instead() {
        for (words, told) in [
            ("web", "loment ns create web --net --ipc --uts"),
            ("1web --net", "a letter first"),
            ("../web --net", "a letter first"),
            ("web --ipc --sysctl net.ipv4.ip_forward=1", "add --net"),
            ("web --net --hostname a", "--uts"),
            ("web --net --map 0:1:1", "--user"),
            ("web --user --map 5:1:1", "0:100000:65536"),
            ("web --net --boottime 5", "--time"),
            ("web --time --monotonic x", "--monotonic"),
        ] {
            let said = wanted(words).unwrap_err().to_string();
            assert!(said.contains(told), "{words}: {said}");
        }
    }
}
