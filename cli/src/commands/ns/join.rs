//! `loment ns exec` and `loment ns join`: a command in all, or in some, of somebody's namespaces.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::error::Said;
use crate::namespaces::kind::{Id, Kind};
use crate::namespaces::lab::enter::Way;
use crate::namespaces::lab::{Lab, pinned};
use crate::namespaces::look::{look, set};
use crate::namespaces::target::{Target, no_sandbox};

const EXEC_EXAMPLES: &str = "\
Examples:
  # A shell in a sandbox
  loment ns exec web -- sh

  # In all namespaces of a process, as a pod's container has them
  loment ns exec pod/web -- ip address";

const JOIN_EXAMPLES: &str = "\
Examples:
  # The network and the IPC of a sandbox, with the host name of this machine
  loment ns join web --only net,ipc -- sh

  # All but the mounts of a process: tools of this machine, in its network and among its processes
  loment ns join 4711 --without mnt,user -- ss -tlnp";

#[derive(Debug, Args)]
#[command(after_help = EXEC_EXAMPLES)]
pub(crate) struct Exec {
    /// A sandbox, a pid, pod/NAME or pod/NAME/CONTAINER
    #[arg(value_name = "NAME")]
    who: String,
    /// What to run
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

#[derive(Debug, Args)]
#[command(after_help = JOIN_EXAMPLES)]
pub(crate) struct Join {
    /// A sandbox, a pid, pod/NAME or pod/NAME/CONTAINER
    #[arg(value_name = "NAME")]
    who: String,
    /// Share these with it, and no others
    #[arg(long, value_enum, value_delimiter = ',', value_name = "KIND,...")]
    only: Vec<Kind>,
    /// Share all but these with it
    #[arg(long, value_enum, value_delimiter = ',', value_name = "KIND,...", conflicts_with = "only")]
    without: Vec<Kind>,
    /// What to run
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub(super) fn exec(lab: &Path, namespace: &str, args: &Exec) -> anyhow::Result<()> {
    let places = places(lab, namespace, &args.who)?;
    Way::open(places, &own())?.run(&args.command)
}

pub(super) fn join(lab: &Path, namespace: &str, args: &Join) -> anyhow::Result<()> {
    if args.only.is_empty() && args.without.is_empty() {
        let line = "error: say what to share: --only net,ipc or --without mnt (loment ns exec shares all)";
        return Err(Said::one(line).into());
    }
    let places = chosen(places(lab, namespace, &args.who)?, &args.who, &args.only, &args.without)?;
    Way::open(places, &own())?.run(&args.command)
}

fn own() -> crate::namespaces::survey::Set {
    set(Path::new("/proc/self/ns"))
}

/// Where each of somebody's namespaces can be opened.
fn places(lab: &Path, namespace: &str, who: &str) -> anyhow::Result<Vec<(Id, PathBuf)>> {
    let target = Target::parse(who, namespace)?;
    if let Target::Sandbox(name) = &target {
        let directory = Lab::at(lab).directory(name);
        let all: Vec<_> = pinned(&directory).into_iter().map(|id| (id, directory.join(id.kind.file()))).collect();
        return if all.is_empty() { Err(no_sandbox(name).into()) } else { Ok(all) };
    }
    let survey = look(lab, false)?;
    let Some(process) = target.process(&survey)? else { return Ok(Vec::new()) };
    let place = |(&kind, &inode): (&Kind, &u64)| {
        (Id { kind, inode }, PathBuf::from(format!("/proc/{}/ns/{kind}", process.pid)))
    };
    Ok(process.namespaces.iter().map(place).collect())
}

/// Those that were asked for, which have to be there.
fn chosen(
    mut places: Vec<(Id, PathBuf)>,
    who: &str,
    only: &[Kind],
    without: &[Kind],
) -> Result<Vec<(Id, PathBuf)>, Said> {
    let has = |wanted: &Kind| places.iter().any(|(id, _)| id.kind == *wanted);
    if let Some(missing) = only.iter().chain(without).find(|wanted| !has(wanted)) {
        let all: Vec<&str> = places.iter().map(|(id, _)| id.kind.file()).collect();
        return Err(Said::one(format!(
            "error: {who} has no {missing} namespace of its own: say one of {}",
            all.join(",")
        )));
    }
    places.retain(|(id, _)| if only.is_empty() { !without.contains(&id.kind) } else { only.contains(&id.kind) });
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_joins_what_was_chosen_and_nothing_else() {
        let all = || [Kind::Net, Kind::Ipc, Kind::Uts].map(|kind| (Id { kind, inode: 1 }, PathBuf::new())).to_vec();
        let kinds = |only: &[Kind], without: &[Kind]| {
            let chosen = chosen(all(), "web", only, without)?;
            Ok::<_, Said>(chosen.into_iter().map(|(id, _)| id.kind).collect::<Vec<_>>())
        };
        assert_eq!(kinds(&[Kind::Net, Kind::Ipc], &[]).unwrap(), [Kind::Net, Kind::Ipc]);
        assert_eq!(kinds(&[], &[Kind::Net]).unwrap(), [Kind::Ipc, Kind::Uts]);
        assert_eq!(kinds(&[], &[]).unwrap().len(), 3);
        let said = kinds(&[Kind::Pid], &[]).unwrap_err().to_string();
        assert_eq!(said, "error: web has no pid namespace of its own: say one of net,ipc,uts");
    }
}
