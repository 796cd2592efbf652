//! What there is of containerd on the machine: which kind of it, its program, its files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use clap::ValueEnum;

use super::config::{Config, Version};
use super::patterns::{absolute, read_all};

/// Whose containerd it is: this decides where its configuration is written, and what starts it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// A containerd of its own, from a distribution or from its project
    Containerd,
    /// The one inside of k3s
    K3s,
    /// The one inside of RKE2
    Rke2,
    /// The one inside of MicroK8s
    Microk8s,
}

impl Kind {
    pub(crate) const ALL: [Kind; 4] = [Kind::Containerd, Kind::K3s, Kind::Rke2, Kind::Microk8s];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Containerd => "containerd",
            Kind::K3s => "k3s",
            Kind::Rke2 => "rke2",
            Kind::Microk8s => "microk8s",
        }
    }

    /// The socket where it is asked.
    pub(crate) fn socket(self) -> &'static str {
        match self {
            Kind::Containerd => "/run/containerd/containerd.sock",
            Kind::K3s | Kind::Rke2 => "/run/k3s/containerd/containerd.sock",
            Kind::Microk8s => "/var/snap/microk8s/common/run/containerd.sock",
        }
    }

    /// Services of which one runs it, for systemd.
    pub(crate) fn units(self) -> &'static [&'static str] {
        match self {
            Kind::Containerd => &["containerd"],
            Kind::K3s => &["k3s", "k3s-agent"],
            Kind::Rke2 => &["rke2-server", "rke2-agent"],
            Kind::Microk8s => &["snap.microk8s.daemon-containerd"],
        }
    }
}

/// A file, and what is in it if it is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) text: Option<String>,
}

impl Source {
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = match fs::read_to_string(path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        Ok(Source { path: path.to_owned(), text })
    }
}

/// One containerd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) kind: Kind,
    pub(crate) program: Option<PathBuf>,
    /// As its program prints it.
    pub(crate) release: Option<String>,
    /// What it reads first. Where `template` is used, it is made from that, again at each start.
    pub(crate) main: Source,
    /// Patterns of further files that it reads, absolute.
    pub(crate) imports: Vec<String>,
    /// The files that are there by these, in their order.
    pub(crate) imported: Vec<Source>,
    /// Directory with the templates that `main` is made of, for k3s and RKE2; the template itself for MicroK8s.
    pub(crate) templates: Vec<Source>,
    /// What containerd itself makes of its files, where it can be asked.
    pub(crate) dump: Option<Config>,
    /// The configuration of a containerd that docker has started for itself, beside this one.
    pub(crate) dockers: Option<PathBuf>,
}

impl Found {
    pub(crate) fn version(&self) -> Option<Version> {
        Version::parse(self.release.as_deref()?)
    }
}

/// Where things are. Those of the machine; others in tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Places {
    pub(crate) config: PathBuf,
    pub(crate) k3s: PathBuf,
    pub(crate) rke2: PathBuf,
    pub(crate) microk8s: PathBuf,
    pub(crate) docker: PathBuf,
    /// Where a program `containerd` is looked for.
    pub(crate) programs: Vec<PathBuf>,
}

impl Default for Places {
    fn default() -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let usual = ["/usr/local/bin", "/usr/bin", "/usr/local/sbin", "/usr/sbin"].map(PathBuf::from);
        Places {
            config: "/etc/containerd/config.toml".into(),
            k3s: "/var/lib/rancher/k3s".into(),
            rke2: "/var/lib/rancher/rke2".into(),
            microk8s: "/var/snap/microk8s/current/args".into(),
            docker: "/run/docker/containerd/containerd.toml".into(),
            programs: std::env::split_paths(&path).filter(|path| path.is_absolute()).chain(usual).collect(),
        }
    }
}

/// What the user, or the process that listens on the socket, says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hints {
    pub(crate) kind: Option<Kind>,
    pub(crate) config: Option<PathBuf>,
    pub(crate) program: Option<PathBuf>,
}

/// The containerd that is meant.
///
/// # Errors
/// There is none, or several and nothing says which; a file cannot be read.
pub(crate) fn find(places: &Places, hints: &Hints) -> anyhow::Result<Found> {
    let kinds = kinds(places, hints);
    let kind = match (hints.kind, kinds.as_slice()) {
        (Some(kind), _) => kind,
        (None, [kind]) => *kind,
        (None, []) => bail!(
            "no containerd is found (no {}, no k3s, no RKE2, no MicroK8s, no program \"containerd\" in PATH): install one, as in \
             `apt-get install containerd`, or name yours with --config and --containerd",
            places.config.display()
        ),
        (None, several) => {
            let names: Vec<&str> = several.iter().map(|kind| kind.name()).collect();
            bail!("there are several containerds here ({}): say which one with --kind", names.join(", "))
        }
    };
    let found = match kind {
        Kind::Containerd => plain(places, hints),
        Kind::K3s => rancher(kind, &places.k3s, "data/current/bin/containerd", hints),
        Kind::Rke2 => rancher(kind, &places.rke2, "bin/containerd", hints),
        Kind::Microk8s => microk8s(places, hints),
    }?;
    Ok(Found { dockers: Some(places.docker.clone()).filter(|path| path.exists()), ..found })
}

fn kinds(places: &Places, hints: &Hints) -> Vec<Kind> {
    let has_plain = hints.config.is_some() || hints.program.is_some() || places.config.exists();
    let templates = |base: &Path| base.join("agent/etc/containerd").is_dir();
    let mut kinds = Vec::new();
    kinds.extend(templates(&places.k3s).then_some(Kind::K3s));
    kinds.extend(templates(&places.rke2).then_some(Kind::Rke2));
    kinds.extend(places.microk8s.join("containerd-template.toml").exists().then_some(Kind::Microk8s));
    // A program alone, without a configuration, may be docker's beside one of the others.
    if has_plain || (kinds.is_empty() && program(places).is_some()) {
        kinds.insert(0, Kind::Containerd);
    }
    kinds
}

fn program(places: &Places) -> Option<PathBuf> {
    places.programs.iter().map(|directory| directory.join("containerd")).find(|path| path.is_file())
}

fn plain(places: &Places, hints: &Hints) -> anyhow::Result<Found> {
    let main = Source::read(hints.config.as_ref().unwrap_or(&places.config))?;
    // The usual one need not be there, as containerd starts without it. It does not start without one that it is given.
    if main.text.is_none() && main.path != places.config {
        bail!(
            "there is no configuration {}: name with --config the file that containerd reads, or leave --config out",
            main.path.display()
        );
    }
    let program = hints.program.clone().or_else(|| program(places));
    let release = program.as_deref().and_then(release);
    // It cannot be asked for the configuration of a file that is not there before 2.0.
    let dump = program.as_deref().and_then(|program| dump(program, &main.path).ok());
    let says = main.text.as_deref().and_then(|text| Config::parse(text).ok());
    // Up to 1.7 it prints the files, afterwards the patterns, with those that it has by itself.
    let is_old = release.as_deref().and_then(Version::parse).is_none_or(|version| version.major < 2);
    let patterns = if is_old { says } else { dump.clone().or(says) }.map(|config| config.imports).unwrap_or_default();
    let imports = absolute(&main.path, &patterns);
    let imported = read_all(&imports, &main.path)?;
    Ok(Found {
        kind: Kind::Containerd,
        program,
        release,
        main,
        imports,
        imported,
        templates: Vec::new(),
        dump,
        dockers: None,
    })
}

/// The file that the user names, else the one at its usual place. What it is made of is beside it.
fn named(hints: &Hints, usual: PathBuf) -> (PathBuf, PathBuf) {
    let file = hints.config.clone().unwrap_or(usual);
    (file.parent().unwrap_or(Path::new("/")).to_owned(), file)
}

fn rancher(kind: Kind, base: &Path, program: &str, hints: &Hints) -> anyhow::Result<Found> {
    let (directory, main) = named(hints, base.join("agent/etc/containerd/config.toml"));
    let main = Source::read(&main)?;
    let templates = ["config.toml.tmpl", "config-v3.toml.tmpl"].map(|name| Source::read(&directory.join(name)));
    let imports = main.text.as_deref().and_then(|text| Config::parse(text).ok()).map(|config| config.imports);
    let imports = absolute(&main.path, &imports.unwrap_or_default());
    let program = hints.program.clone().or_else(|| Some(base.join(program)).filter(|path| path.is_file()));
    Ok(Found {
        kind,
        release: program.as_deref().and_then(release),
        dump: program.as_deref().and_then(|program| dump(program, &main.path).ok()),
        program,
        imported: read_all(&imports, &main.path)?,
        imports,
        main,
        templates: templates.into_iter().collect::<anyhow::Result<_>>()?,
        dockers: None,
    })
}

fn microk8s(places: &Places, hints: &Hints) -> anyhow::Result<Found> {
    let (directory, main) = named(hints, places.microk8s.join("containerd.toml"));
    let usual = || Some(PathBuf::from("/snap/microk8s/current/bin/containerd")).filter(|path| path.is_file());
    let program = hints.program.clone().or_else(usual);
    Ok(Found {
        kind: Kind::Microk8s,
        release: program.as_deref().and_then(release),
        program,
        main: Source::read(&main)?,
        imports: Vec::new(),
        imported: Vec::new(),
        templates: vec![Source::read(&directory.join("containerd-template.toml"))?],
        dump: None,
        dockers: None,
    })
}

/// What `containerd --version` prints: `containerd github.com/containerd/containerd 1.6.20 ...`.
fn release(program: &Path) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    String::from_utf8(output.stdout).ok()?.split_ascii_whitespace().nth(2).map(str::to_owned)
}

/// What a containerd makes of a file and of all that this imports. It only reads.
pub(crate) fn dump(program: &Path, config: &Path) -> anyhow::Result<Config> {
    let output = Command::new(program).arg("--config").arg(config).args(["config", "dump"]).output();
    let output = output.with_context(|| format!("run {}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || text.trim().is_empty() {
        bail!(
            "{} does not read {}: {}",
            program.display(),
            config.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Config::parse(&text).map_err(|error| anyhow::anyhow!("read what {} prints: {error}", program.display()))
}
