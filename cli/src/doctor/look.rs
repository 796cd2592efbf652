//! A look at the machine: makes a [`Survey`]. What cannot be read is left empty, and found missing by the checks.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use loment_cgroups::{Kind as CgroupKind, Layout};
use nix::sys::statvfs::statvfs;

use super::survey::{Cgroups, Cni, Containerd, Disk, Program, Security, Survey};
use crate::leaks;
use crate::leaks::look::Places as LeakPlaces;
use crate::leaks::usage::listener;
use crate::session::Session;
use crate::setup::config::Config;
use crate::setup::found::Found;
use crate::setup::patterns::is_match;
use crate::setup::plan::{Wanted, plan};
use crate::setup::programs::{PROGRAMS, USUAL};
use crate::setup::restart;

/// The machine alone.
pub(crate) fn machine(handler: &str) -> Survey {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let words = |path: &str| text(path).split_ascii_whitespace().map(str::to_owned).collect::<Vec<String>>();
    let kernel = text("/proc/sys/kernel/osrelease").trim().to_owned();
    Survey {
        is_root: nix::unistd::geteuid().is_root(),
        namespaces: names(Path::new("/proc/self/ns")),
        cgroups: cgroups(),
        capabilities: hexadecimal(&text("/proc/self/status"), "CapBnd:"),
        security: Security {
            apparmor: text("/sys/module/apparmor/parameters/enabled").starts_with('Y'),
            apparmor_parser: ["/sbin/apparmor_parser", "/usr/sbin/apparmor_parser"]
                .iter()
                .any(|path| Path::new(path).exists()),
            selinux: fs::read_to_string("/sys/fs/selinux/enforce").ok().map(|enforce| enforce.starts_with('1')),
        },
        seccomp: words("/proc/sys/kernel/seccomp/actions_avail"),
        user_namespaces: text("/proc/sys/user/max_user_namespaces").trim().parse().ok(),
        has_overlay: words("/proc/filesystems").iter().any(|word| word == "overlay") || has_module(&kernel, "overlay"),
        disk: ["/var/lib", "/run"].iter().filter_map(|path| disk(Path::new(path))).collect(),
        kernel,
        handler: handler.to_owned(),
        own_version: env!("CARGO_PKG_VERSION").to_owned(),
        ..Survey::default()
    }
}

/// What was found of containerd, and what the running one answers.
pub(crate) async fn containerd(
    survey: &mut Survey,
    found: anyhow::Result<Found>,
    session: anyhow::Result<Session>,
    socket: PathBuf,
) {
    let found = match found {
        Ok(found) => found,
        Err(error) => {
            survey.containerd.found = Some(Err(told(&error)));
            return;
        }
    };
    let config = read(&found);
    let handler = config.as_ref().and_then(|config| config.handlers.get(&survey.handler)).cloned().unwrap_or_default();
    let wanted = Wanted {
        handler: survey.handler.clone(),
        sandboxes_of_shim: handler.sandboxer == "shim",
        runtime_path: Some(PathBuf::from(&handler.runtime_path)).filter(|path| path.is_absolute()),
    };
    let planned = plan(&found, &wanted).map(|plan| plan.change.map(|change| change.path));
    let (answer, classes) = match &session {
        // The cause alone, where the socket has one.
        Err(error) => {
            (Err(UnixStream::connect(&socket).err().map_or(format!("{error:#}"), |cause| cause.to_string())), None)
        }
        Ok(session) => ask(session).await,
    };
    let release = found.release.as_deref().unwrap_or("of an unknown version");
    let path = path_of(&socket);
    survey.containerd = Containerd {
        found: Some(Ok(format!("{} {release}", found.kind.name()))),
        version: found.version(),
        plan: Some(planned.map_err(|error| told(&error))),
        config_path: found.main.path.clone(),
        socket,
        units: found.kind.units().join(" or "),
        answer: Some(answer),
        classes,
        restart: restart::command(found.kind),
        config,
    };
    let directory = Path::new(&handler.runtime_path).parent().filter(|path| path.is_absolute());
    let directories: Vec<PathBuf> = match directory {
        Some(directory) => vec![directory.to_owned()],
        None => path.unwrap_or_else(|| USUAL.map(PathBuf::from).to_vec()),
    };
    survey.shim = program(&directories, PROGRAMS[0], true);
    let beside = survey.shim.as_ref().and_then(|shim| Some(vec![shim.path.parent()?.to_owned()]));
    survey.prober = program(&beside.unwrap_or(directories), PROGRAMS[1], false);
    survey.cni = cni(survey.containerd.config.as_ref(), session.as_ref().ok()).await;
    if let Ok(session) = &session {
        survey.leftovers = Some(leftovers(session).await.map_err(|error| format!("{error:#}")));
    }
}

/// What is wrong, and behind a colon what to do: where the system has the cause, that it is to be mended.
fn told(error: &anyhow::Error) -> String {
    let causes: Vec<String> = error.chain().skip(1).map(ToString::to_string).collect();
    if causes.is_empty() { error.to_string() } else { format!("{error} ({}): mend that first", causes.join(", ")) }
}

/// Where the containerd that listens on a socket looks for programs.
fn path_of(socket: &Path) -> Option<Vec<PathBuf>> {
    let environment = fs::read(format!("/proc/{}/environ", listener(socket)?)).ok()?;
    let path = environment.split(|byte| *byte == 0).find_map(|variable| variable.strip_prefix(b"PATH="))?;
    Some(std::env::split_paths(OsStr::from_bytes(path)).collect())
}

/// What containerd makes of its files, or the files alone where it does not run. Of a file that is no TOML nothing is known.
fn read(found: &Found) -> Option<Config> {
    let alone = || Config::parse(found.main.text.as_deref().unwrap_or_default()).ok();
    found.dump.clone().or_else(alone)
}

type Answer = (Result<String, String>, Option<Result<Vec<String>, String>>);

async fn ask(session: &Session) -> Answer {
    // Namespaces are containerd's own; CRI may be off.
    if let Err(error) = session.client.list_namespaces().await {
        return (Err(error.to_string()), None);
    }
    let classes = restart::handlers(session).await.map_err(|error| format!("{error:#}"));
    let version = session.client.version().await.map(|version| version.runtime_version).unwrap_or_default();
    (Ok(version), Some(classes))
}

async fn leftovers(session: &Session) -> anyhow::Result<usize> {
    let places = LeakPlaces::of(session, None).await?;
    let (findings, _) = leaks::find(session, &places).await?;
    Ok(findings.iter().filter(|one| one.is_leftover()).count())
}

async fn cni(config: Option<&Config>, session: Option<&Session>) -> Cni {
    let said = config.map(|config| config.cni.clone()).unwrap_or_default();
    let mut plugin_dirs: Vec<PathBuf> = said.bin_dirs.into_iter().map(PathBuf::from).collect();
    if plugin_dirs.is_empty() {
        plugin_dirs = match session {
            Some(session) => LeakPlaces::of(session, None).await.map(|places| places.plugins).unwrap_or_default(),
            None => Vec::new(),
        };
    }
    if plugin_dirs.is_empty() {
        plugin_dirs.push("/opt/cni/bin".into());
    }
    let conf_dir = if said.conf_dir.is_empty() { "/etc/cni/net.d".into() } else { PathBuf::from(said.conf_dir) };
    let mut networks = names(&conf_dir);
    networks.retain(|name| ["*.conf", "*.conflist", "*.json"].iter().any(|pattern| is_match(pattern, name)));
    networks.sort();
    Cni { plugins: plugin_dirs.iter().flat_map(|path| names(path)).collect(), plugin_dirs, conf_dir, networks }
}

fn cgroups() -> Cgroups {
    let layout = Layout::detect();
    let mut controllers: Vec<String> = Vec::new();
    // Of v1, `4:cpu,cpuacct:/x`; of v2 the root names them.
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let of_v1 = own.lines().filter_map(|line| line.split(':').nth(1)).filter(|names| !names.starts_with("name="));
    controllers.extend(of_v1.flat_map(|names| names.split(',')).filter(|name| !name.is_empty()).map(str::to_owned));
    for mount in layout.iter().flat_map(Layout::mount_points) {
        let text = fs::read_to_string(mount.join("cgroup.controllers")).unwrap_or_default();
        controllers.extend(text.split_ascii_whitespace().map(str::to_owned));
    }
    controllers.sort();
    controllers.dedup();
    let layout = layout.map(|layout| match layout.kind() {
        CgroupKind::V1 => "v1",
        CgroupKind::Hybrid => "hybrid",
        CgroupKind::V2 => "v2",
    });
    Cgroups { layout: Some(layout.map_err(|error| error.to_string())), controllers }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// A line of proc_pid_status(5) in bits.
fn hexadecimal(status: &str, name: &str) -> u64 {
    let value = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    u64::from_str_radix(value.trim(), 16).unwrap_or(0)
}

/// A module that mount(2) loads when it is needed.
fn has_module(kernel: &str, name: &str) -> bool {
    let list = fs::read_to_string(format!("/lib/modules/{kernel}/modules.dep")).unwrap_or_default();
    list.lines().any(|line| line.split(':').next().is_some_and(|path| path.contains(&format!("/{name}.ko"))))
}

fn disk(path: &Path) -> Option<Disk> {
    let found = statvfs(path).ok()?;
    let percent = |free: u64, all: u64| {
        if all == 0 { 100 } else { u64::try_from(u128::from(free) * 100 / u128::from(all)).unwrap_or(100) }
    };
    Some(Disk {
        path: path.to_owned(),
        bytes: percent(found.blocks_available(), found.blocks()),
        inodes: percent(found.files_available(), found.files()),
    })
}

fn program(directories: &[PathBuf], name: &str, tells_version: bool) -> Option<Program> {
    let path = directories.iter().map(|directory| directory.join(name)).find(|path| path.is_file())?;
    let is_executable = fs::metadata(&path).is_ok_and(|data| data.permissions().mode() & 0o111 != 0);
    let version = if tells_version && is_executable { version_of(&path) } else { None };
    Some(Program { path, is_executable, version })
}

/// `Version:  0.1.0`, as every shim prints it with `-v`.
fn version_of(shim: &Path) -> Option<String> {
    let output = Command::new(shim).arg("-v").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().find_map(|line| line.trim().strip_prefix("Version:")).map(|version| version.trim().to_owned())
}
