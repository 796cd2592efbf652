//! Which containerd is meant: what the user says, and what the one that runs tells.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;

use crate::args::Global;
use crate::leaks::usage::listener;
use crate::session;
use crate::setup::found::{Hints, Kind, Places};

/// Which machine, and whose containerd on it.
#[derive(Debug, Args)]
pub(crate) struct Machine {
    /// Which containerd is meant [default: the one that is here]
    #[arg(long, value_enum)]
    pub(super) kind: Option<Kind>,
    /// Root directory of the machine that is meant, for a container that has it mounted
    #[arg(long, value_name = "DIR")]
    host: Option<PathBuf>,
}

/// Which containerd is meant, and where it is if it cannot be asked.
#[derive(Debug, Args)]
pub(crate) struct Which {
    #[command(flatten)]
    pub(crate) machine: Machine,
    /// containerd's configuration [default: that of the containerd that runs, or /etc/containerd/config.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// containerd's program [default: the one that runs, or that of PATH]
    #[arg(long, value_name = "PROGRAM")]
    containerd: Option<PathBuf>,
}

impl Machine {
    /// Makes the machine's root this process's own.
    pub(crate) fn enter_host(&self) -> anyhow::Result<()> {
        let Some(host) = &self.host else { return Ok(()) };
        nix::unistd::chroot(host)
            .and_then(|()| nix::unistd::chdir("/"))
            .with_context(|| format!("make {} the root (is the container privileged?)", host.display()))
    }

    /// A path of that machine, from its root on: records and configurations are read in other directories than this one.
    pub(super) fn absolute(&self, path: &Path) -> anyhow::Result<PathBuf> {
        if self.host.is_some() {
            return Ok(Path::new("/").join(path));
        }
        std::path::absolute(path).with_context(|| format!("make {} absolute", path.display()))
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

impl Which {
    /// What the user says, else what the process on the socket tells.
    pub(crate) fn hints(&self, global: &Global) -> anyhow::Result<Hints> {
        let absolute = |path: &Option<PathBuf>| path.as_deref().map(|path| self.machine.absolute(path)).transpose();
        let (config, program) = (absolute(&self.config)?, absolute(&self.containerd)?);
        let mut hints = Hints { kind: self.machine.kind, config, program };
        if hints.kind.is_some_and(|kind| kind != Kind::Containerd) {
            return Ok(hints);
        }
        let Some(pid) = listener(&session::address(global)) else { return Ok(hints) };
        let Ok(program) = fs::read_link(format!("/proc/{pid}/exe")) else { return Ok(hints) };
        // After an upgrade the old program runs on, until it is started again.
        let program = without_deleted(program);
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).into_owned();
        let words: Vec<&str> = command.split('\0').collect();
        let directory = fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
        let config = config_of(&words).map(|config| directory.join(config));
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
}

/// Whether the user says where containerd is asked.
fn is_named(global: &Global) -> bool {
    global.address.is_some() || std::env::var_os("CONTAINER_RUNTIME_ENDPOINT").is_some()
}

/// proc_pid_exe(5): the path of a file that was removed ends so.
fn without_deleted(path: PathBuf) -> PathBuf {
    path.to_str().and_then(|text| text.strip_suffix(" (deleted)")).map(PathBuf::from).unwrap_or(path)
}

/// Whether docker writes this configuration, anew at each of its starts.
fn is_dockers(config: &Path) -> bool {
    config.ends_with("docker/containerd/containerd.toml")
}

/// The configuration that the command line of a running containerd names.
fn config_of(command: &[&str]) -> Option<PathBuf> {
    let mut words = command.iter().skip(1);
    while let Some(word) = words.next() {
        match word.trim_start_matches('-').split_once('=') {
            Some(("config" | "c", path)) if word.starts_with('-') => return Some(path.into()),
            None if ["-c", "-config", "--config", "--c"].contains(word) => return words.next().map(PathBuf::from),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_of_a_containerd_names_its_configuration() {
        let of = |words: &[&str]| config_of(words).map(|path| path.to_string_lossy().into_owned());
        assert_eq!(of(&["containerd", "--config", "/a"]).as_deref(), Some("/a"));
        assert_eq!(of(&["containerd", "-c", "/a"]).as_deref(), Some("/a"));
        assert_eq!(of(&["containerd", "--log-level=debug", "--config=/b"]).as_deref(), Some("/b"));
        assert_eq!(of(&["containerd"]), None);
    }
}
