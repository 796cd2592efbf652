//! `loment uninstall`: what `loment install` has written, taken back.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use loment_cri::v1::PodSandbox;
use serde_json::json;

use super::again::Again;
use super::which::Machine;
use super::{Format, alone};
use crate::args::Global;
use crate::commands::print;
use crate::error::Said;
use crate::print::show;
use crate::session::Session;
use crate::setup::apply::{self, Undo, undoing};
use crate::setup::carry_out::{clear, own_programs};
use crate::setup::found::{Kind, Source};
use crate::setup::record::{self, Record};

const EXAMPLES: &str = "\
Examples:
  # What would be taken back; nothing is changed
  loment uninstall --dry-run

  # Take it back and start containerd again
  loment uninstall --restart

What others have added to the same files since stays. Where what was added cannot be told apart any more, nothing is touched.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Uninstall {
    #[command(flatten)]
    machine: Machine,
    /// Print what would be taken back, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    again: Again,
    /// Also when there are pods with the runtime class: without their shim's program they cannot be removed cleanly
    #[arg(long)]
    force: bool,
    /// That nothing is installed is no mistake
    #[arg(long)]
    ignore_not_found: bool,
    /// How to print it
    #[arg(short, long)]
    output: Option<Format>,
}

#[cfg(test)]
impl Uninstall {
    pub(super) fn restarts(&self) -> bool {
        self.again.is_wanted()
    }
}

pub(crate) async fn run(global: &Global, args: &Uninstall) -> anyhow::Result<()> {
    args.machine.enter_host()?;
    let _lock = alone("uninstall", args.dry_run, global)?;
    let kind = args.machine.kind.map(Kind::name);
    let handler = &global.runtime_handler;
    let records = record::all(&global.state_dir)?;
    let Some(record) = record::choose(records, kind, handler)? else { return nothing(global, args) };
    let kind = kind_of(&record)?;
    let global = &args.machine.global(global, kind);
    let programs = own_programs(&global.state_dir, &record)?;
    if !args.force {
        check_unused(global, &programs).await?;
    }
    // Decided before anything is touched: all, or nothing.
    let undo = match &record.change {
        Some(change) => undoing(change, Source::read(&change.path)?.text.as_deref()).map_err(anyhow::Error::msg)?,
        None => Undo::Nothing,
    };
    let restart = args.again.command(kind);
    let mut restarted = false;
    if !args.dry_run {
        if let Some(change) = &record.change {
            apply::undo(change)?;
        }
        restarted = args.again.carry_out(restart.as_deref())?;
        clear(&global.state_dir, &record, &programs)?;
    }
    let done = Done { record: &record, undo: &undo, programs: &programs, restart, restarted, dry_run: args.dry_run };
    print(&if args.output.is_some() { done.json()? } else { done.text() })
}

/// Ends where nothing was installed.
fn nothing(global: &Global, args: &Uninstall) -> anyhow::Result<()> {
    let handler = &global.runtime_handler;
    if !args.ignore_not_found {
        let line = format!(
            "error: {} has no record of an installation of {handler:?}: nothing was installed, or with another --state-dir or \
             --runtime-handler",
            global.state_dir.display()
        );
        return Err(Said::one(line).into());
    }
    let object = json!({
        "dryRun": args.dry_run, "handler": handler, "kind": null, "changes": [],
        "restart": { "command": null, "done": false },
    });
    print(&if args.output.is_some() { show::json(&object)? } else { "nothing is installed\n".to_owned() })
}

fn kind_of(record: &Record) -> anyhow::Result<Kind> {
    Kind::ALL
        .into_iter()
        .find(|kind| kind.name() == record.kind)
        .with_context(|| format!("the record names {:?}", record.kind))
}

/// Refuses while there are pods of the class, which containerd tells, or other containers that run with a program that is
/// removed: those of docker and of `ctr` name it without a class, and CRI knows none of them.
async fn check_unused(global: &Global, programs: &[PathBuf]) -> anyhow::Result<()> {
    let handler = &global.runtime_handler;
    let pods = match Session::open(global).await {
        Ok(session) => session.client.list_pod_sandboxes(None).await.ok(),
        Err(_) => None,
    };
    let users = pods.iter().flatten().filter(|pod| pod.runtime_handler == *handler).map(name);
    let users: Vec<String> = users.collect();
    if let [first, others @ ..] = users.as_slice() {
        let more = if others.is_empty() { String::new() } else { format!(" and {} more", others.len()) };
        bail!("pod {first}{more} has the runtime class {handler:?}: delete it first, or use --force");
    }
    let Some(pid) = still_runs(programs).await else { return Ok(()) };
    if pods.is_none() {
        bail!(
            "process {pid} is a shim that serves a pod, and containerd does not answer: start it and delete the pods of the \
             runtime class {handler:?} first, or use --force"
        );
    }
    bail!(
        "process {pid} is a shim, and serves no pod of the runtime class {handler:?}: a container of docker or of `ctr`, or of \
         another containerd; `ps -o args {pid}` has its id: remove it first, or use --force (what no containerd knows is \
         removed by `loment gc`)"
    )
}

/// A process that runs one of these programs, and goes on to: the shim of a pod that has just been removed is about to end.
async fn still_runs(programs: &[PathBuf]) -> Option<u32> {
    const LOOKS: u32 = 20;
    let mut found = None;
    for _ in 0..LOOKS {
        found = Some(programs.iter().find_map(|program| runs(program))?);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    found
}

/// A process that runs this program: the file itself, by whichever name, or one that was at its place before.
fn runs(program: &Path) -> Option<u32> {
    let identity = |path: &Path| fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
    let file = identity(program);
    let directory = program.parent().and_then(|directory| fs::canonicalize(directory).ok()).unwrap_or_default();
    let resolved = directory.join(program.file_name().unwrap_or_default());
    let is_it = |exe: &Path| {
        let link = fs::read_link(exe).unwrap_or_default();
        // The kernel marks what was removed, or replaced.
        let before = link.to_str().and_then(|link| link.strip_suffix(" (deleted)")).map(Path::new);
        let was_there = before.is_some_and(|before| [program, &resolved].contains(&before));
        was_there || (file.is_some() && identity(exe) == file)
    };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut runs = processes.filter(|one| is_it(&one.path().join("exe")));
    runs.find_map(|one| one.file_name().to_str()?.parse().ok())
}

fn name(pod: &PodSandbox) -> String {
    pod.metadata.as_ref().map_or_else(|| pod.id.clone(), |metadata| format!("{}/{}", metadata.namespace, metadata.name))
}

struct Done<'a> {
    record: &'a Record,
    undo: &'a Undo,
    /// Those that are removed: no other installation uses them.
    programs: &'a [PathBuf],
    restart: Option<String>,
    restarted: bool,
    dry_run: bool,
}

impl Done<'_> {
    fn how(&self) -> &'static str {
        match self.undo {
            Undo::Nothing => "unchanged",
            Undo::Remove => "removed",
            Undo::Write(_) => "restored",
        }
    }

    fn json(&self) -> anyhow::Result<String> {
        let change = self.record.change.iter().map(|change| json!({ "path": change.path, "how": self.how() }));
        let how = |path| if self.programs.contains(path) { "removed" } else { "unchanged" };
        let programs = self.record.programs.iter().map(|path| json!({ "path": path, "how": how(path) }));
        show::json(&json!({
            "dryRun": self.dry_run,
            "handler": self.record.handler,
            "kind": self.record.kind,
            "changes": change.chain(programs).collect::<Vec<_>>(),
            "restart": { "command": self.restart, "done": self.restarted },
        }))
    }

    fn text(&self) -> String {
        let would = if self.dry_run { "would be " } else { "" };
        let mut text = String::new();
        if let Some(change) = &self.record.change {
            let path = change.path.display();
            text.push_str(&match self.undo {
                Undo::Nothing => format!("{path} has nothing of it any more\n"),
                _ => format!("{path} {would}{}\n", self.how()),
            });
        }
        for path in &self.record.programs {
            let path_shown = path.display();
            text.push_str(&if self.programs.contains(path) {
                format!("{path_shown} {would}removed\n")
            } else {
                format!("{path_shown} stays: another installation uses it\n")
            });
        }
        let restart = self.restart.as_deref().unwrap_or("restart it as it is started here");
        if !self.restarted {
            text.push_str(&format!("containerd forgets the runtime class when it starts again: {restart}\n"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;
    use crate::disk::tests::Scratch;

    /// A process that waits; it is ended with its owner.
    struct Waits(Child);

    impl Waits {
        fn start(program: &Path) -> Self {
            Waits(Command::new(program).args(["-c", "read line"]).stdin(Stdio::piped()).spawn().unwrap())
        }
    }

    impl Drop for Waits {
        fn drop(&mut self) {
            let _ended = self.0.kill().and_then(|()| self.0.wait());
        }
    }

    fn copy(to: &Path) {
        // A process of its own copies it: no thread's child has it open to write.
        assert!(Command::new("cp").arg("-L").arg("/bin/sh").arg(to).status().unwrap().success());
    }

    #[test]
    fn who_runs_a_program_is_found_by_a_link_to_it_and_after_it_was_replaced() {
        let scratch = Scratch::new("runs");
        let real = scratch.0.join("real");
        fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, scratch.0.join("bin")).unwrap();
        let (program, recorded) = (real.join("shim"), scratch.0.join("bin/shim"));
        copy(&program);
        assert_eq!(runs(&recorded), None);
        let shim = Waits::start(&program);
        assert_eq!(runs(&recorded), Some(shim.0.id()), "its directory is a link");
        copy(&real.join("next"));
        fs::rename(real.join("next"), &program).unwrap();
        assert_eq!(runs(&recorded), Some(shim.0.id()), "it was replaced since");
        fs::remove_file(&program).unwrap();
        assert_eq!(runs(&recorded), Some(shim.0.id()), "it was removed since");
        drop(shim);
        assert_eq!(runs(&recorded), None);
    }
}
