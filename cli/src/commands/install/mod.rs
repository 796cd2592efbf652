//! `loment install` and `loment uninstall`: this project's runtime class, given to containerd and taken back.

#[cfg(test)]
mod deploy_tests;
mod show;
mod trial;
pub(crate) mod uninstall;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};

use super::print;
use crate::args::Global;
use crate::leaks::usage::listener;
use crate::session::{self, Session};
use crate::setup::found::{self, Found, Hints, Kind, Places};
use crate::setup::plan::{self, Plan, Wanted};
use crate::setup::programs::{self, Program};
use crate::setup::record::{self, Record};
use crate::setup::{apply, restart};
use show::Shown;

const EXAMPLES: &str = "\
Examples:
  # What would be written, and where; nothing is changed
  loment install --dry-run

  # Install it, start containerd again and start a pod
  loment install --restart

  # In k3s, under another name, with sandboxes of the shim's own
  loment install --kind k3s --runtime-handler fast --sandboxer shim --restart

  # The RuntimeClass for a cluster alone
  loment install --dry-run -o json | jq .runtimeClass

`loment uninstall` gives everything back as it was. For all nodes of a cluster: docs/install.md";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Install {
    #[command(flatten)]
    which: Which,
    /// Print what would be changed, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Start containerd again when its configuration is written: it reads it only then. Pods go on
    #[arg(long)]
    restart: bool,
    /// What starts containerd again, as a line for /bin/sh; implies --restart
    /// [default: systemctl restart of its service]
    #[arg(long, value_name = "COMMAND")]
    restart_command: Option<String>,
    /// Who makes a pod's sandbox: containerd, or the shim (containerd 2.1 and later)
    #[arg(long, value_enum, default_value_t = Sandboxer::Podsandbox)]
    sandboxer: Sandboxer,
    /// Where the shim and its prober are put
    #[arg(long, default_value = "/usr/local/bin", value_name = "DIR")]
    bin_dir: PathBuf,
    /// Start no pod at the end
    #[arg(long)]
    no_pod: bool,
    /// Image of that pod; it has to run by itself [default: the pause image that containerd is configured with]
    #[arg(long)]
    image: Option<String>,
    /// How to print it
    #[arg(short, long)]
    output: Option<Format>,
}

/// Which containerd is meant.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Which containerd is meant [default: the one that is here]
    #[arg(long, value_enum)]
    kind: Option<Kind>,
    /// containerd's configuration [default: that of the containerd that runs, or /etc/containerd/config.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// containerd's program [default: the one that runs, or that of PATH]
    #[arg(long, value_name = "PROGRAM")]
    containerd: Option<PathBuf>,
    /// Root directory of the machine that is meant, for a container that has it mounted
    #[arg(long, value_name = "DIR")]
    host: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Sandboxer {
    Podsandbox,
    Shim,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Json,
}

pub(crate) async fn run(global: &Global, args: &Install) -> anyhow::Result<()> {
    let mut programs = programs::beside_this(&args.bin_dir)?;
    args.which.enter_host()?;
    let found = found::find(&Places::default(), &args.which.hints(global)?)?;
    let global = &args.which.global(global, found.kind);
    let wanted = Wanted {
        handler: global.runtime_handler.clone(),
        sandboxes_of_shim: args.sandboxer == Sandboxer::Shim,
        runtime_path: programs::path_to_name(&args.bin_dir),
    };
    let plan = plan::plan(&found, &wanted)?;
    let mut missing = Vec::new();
    for program in &mut programs {
        if !program.is_there()? {
            missing.push(program);
        }
    }
    let mut shown = Shown::new(&found, &wanted, &plan, missing.iter().map(|program| program.to.clone()).collect());
    shown.restart = args.restart_command.clone().or_else(|| restart::command(found.kind));
    shown.dry_run = args.dry_run;
    if !args.dry_run {
        carry_out(global, &found, &plan, &mut missing)?;
        // On every node of a cluster this is run again and again: one that knows the class is left alone.
        let is_known = plan.change.is_none() && running(global, false).await?.is_some();
        shown.restarted = !is_known && args.restarts(&shown)?;
        if let Some(session) = running(global, shown.restarted).await?
            && !args.no_pod
        {
            let image = args.image.clone().or_else(|| found.dump?.sandbox_image);
            shown.trial = Some(trial::run(&session, image.as_deref(), !wanted.sandboxes_of_shim).await?);
        }
    }
    print(&if args.output.is_some() { shown.json()? } else { shown.text()? })
}

impl Install {
    /// Starts containerd again if that is wanted. Answers whether it was.
    fn restarts(&self, shown: &Shown) -> anyhow::Result<bool> {
        let is_wanted = self.restart || self.restart_command.is_some();
        match (&shown.restart, is_wanted) {
            (Some(command), true) => restart::run(command).map(|()| true),
            (None, true) => bail!(
                "the configuration is written, but nothing is known that starts containerd again (no systemd): name it with \
                 --restart-command"
            ),
            (_, false) => Ok(false),
        }
    }
}

/// The containerd that knows the class: after a restart it has to, else it may not know it yet.
async fn running(global: &Global, restarted: bool) -> anyhow::Result<Option<Session>> {
    if restarted {
        return restart::known(global, &global.runtime_handler).await.map(Some);
    }
    let Ok(session) = Session::open(global).await else { return Ok(None) };
    let names = restart::handlers(&session).await.unwrap_or_default();
    Ok(names.contains(&global.runtime_handler).then_some(session))
}

/// Programs first: a class that names a program which is not there yet would fail pods.
fn carry_out(global: &Global, found: &Found, plan: &Plan, missing: &mut [&mut Program]) -> anyhow::Result<()> {
    let state = &global.state_dir;
    let kind = found.kind.name();
    let mut record = record::choose(record::all(state)?, Some(kind), &global.runtime_handler)?
        .unwrap_or_else(|| Record::new(kind, &global.runtime_handler, &found.main.path));
    for program in missing.iter() {
        if !record.programs.contains(&program.to) {
            record.programs.push(program.to.clone());
        }
    }
    if let Some(change) = &plan.change {
        record.directories = apply::missing_directories(&change.path);
        record.change = Some(change.clone());
        found.main.path.clone_into(&mut record.config);
    }
    if record.programs.is_empty() && record.change.is_none() {
        return Ok(());
    }
    record::write(state, &record)?;
    missing.iter_mut().try_for_each(|program| program.put())?;
    let Some(change) = &plan.change else { return Ok(()) };
    apply::apply(change)?;
    if let Err(error) = check(found, &global.runtime_handler) {
        apply::undo(change, &record.directories).context("take back what containerd does not read")?;
        record.change = None;
        record::write(state, &record)?;
        return Err(error.context("the change is taken back"));
    }
    Ok(())
}

/// Lets containerd's own program read what was written: it has to see the class, and all that it saw before.
fn check(found: &Found, handler: &str) -> anyhow::Result<()> {
    let (Kind::Containerd, Some(program)) = (found.kind, &found.program) else { return Ok(()) };
    let seen = found::dump(program, &found.main.path)?;
    if !seen.handlers.contains_key(handler) {
        bail!("containerd does not see the runtime class {handler:?} in {}", found.main.path.display());
    }
    let before = found.dump.iter().flat_map(|dump| &dump.handlers);
    for (name, old) in before {
        if seen.handlers.get(name) != Some(old) {
            bail!("containerd would see another runtime class {name:?} than before");
        }
    }
    Ok(())
}

impl Which {
    /// Makes the machine's root this process's own.
    pub(crate) fn enter_host(&self) -> anyhow::Result<()> {
        let Some(host) = &self.host else { return Ok(()) };
        nix::unistd::chroot(host)
            .and_then(|()| nix::unistd::chdir("/"))
            .with_context(|| format!("make {} the root (is the container privileged?)", host.display()))
    }

    /// What the user says, else what the process on the socket tells.
    pub(crate) fn hints(&self, global: &Global) -> anyhow::Result<Hints> {
        let mut hints = Hints { kind: self.kind, config: self.config.clone(), program: self.containerd.clone() };
        if hints.kind.is_some_and(|kind| kind != Kind::Containerd) {
            return Ok(hints);
        }
        let Some(pid) = listener(&session::address(global)) else { return Ok(hints) };
        let Ok(program) = fs::read_link(format!("/proc/{pid}/exe")) else { return Ok(hints) };
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).into_owned();
        let words: Vec<&str> = command.split('\0').collect();
        let config = found::config_of(&words);
        let places = Places::default();
        if hints.kind.is_none() {
            let of = [(&places.k3s, Kind::K3s), (&places.rke2, Kind::Rke2)];
            let of = of.into_iter().find(|(base, _)| program.starts_with(base)).map(|(_, kind)| kind);
            hints.kind = of.or(program.starts_with("/snap/microk8s").then_some(Kind::Microk8s));
        }
        if hints.kind.is_none_or(|kind| kind == Kind::Containerd) && program.ends_with("containerd") {
            if config.as_deref().is_some_and(is_dockers) && hints.config.is_none() {
                bail!(
                    "{} belongs to docker's own containerd, which has no runtime classes: docker takes the shim by its name, \
                     `docker run --runtime io.containerd.loment.v2` (docs/command-line.md)",
                    session::address(global).display()
                );
            }
            // Another one beside k3s, docker's package's say, is not meant just because it runs.
            hints.kind = hints.kind.or(is_named(global).then_some(Kind::Containerd));
            hints.config = hints.config.or(config);
            hints.program = hints.program.or(Some(program));
        }
        Ok(hints)
    }

    /// With the socket of this kind of containerd, where the user names none.
    pub(crate) fn global(&self, global: &Global, kind: Kind) -> Global {
        let mut global = global.clone();
        if !is_named(&global) {
            global.address = Some(kind.socket().to_owned());
        }
        global
    }
}

/// Whether the user says where containerd is asked.
fn is_named(global: &Global) -> bool {
    global.address.is_some() || std::env::var_os("CONTAINER_RUNTIME_ENDPOINT").is_some()
}

/// Whether docker writes this configuration, anew at each of its starts.
fn is_dockers(config: &Path) -> bool {
    config.ends_with("docker/containerd/containerd.toml")
}
