//! `loment ns map`: who is in which namespace.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use loment_cgroups::{Cgroup, Layout};
use serde_json::{Value, json};

use super::note_hidden;
use crate::commands::print;
use crate::error::Said;
use crate::namespaces::look::look;
use crate::namespaces::map::{Group, Map, Unit, Usage, What, dot, svg, tree};
use crate::namespaces::target::Target;
use crate::print::show;

const EXAMPLES: &str = "\
Examples:
  # Pods, sandboxes and containers, with what they share
  loment ns map

  # One pod, one sandbox
  loment ns map pod/web
  loment ns map lab

  # All processes of the machine, too, as a picture
  loment ns map --all --svg map.svg

  # As a graph for Graphviz
  loment ns map --all -o dot | dot -Tpng > map.png";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct MapArgs {
    /// pod/NAME or the name of a sandbox [default: all of them]
    #[arg(value_name = "WHO", conflicts_with = "all")]
    who: Vec<String>,
    /// The rest of the machine, too
    #[arg(long)]
    all: bool,
    /// Write a picture into this file ("-" is standard output)
    #[arg(long, value_name = "FILE", conflicts_with = "output")]
    svg: Option<PathBuf>,
    /// How to print it
    #[arg(short, long)]
    output: Option<MapOutput>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum MapOutput {
    Json,
    Dot,
}

pub(super) fn run(lab: &Path, namespace: &str, args: &MapArgs) -> anyhow::Result<()> {
    let wanted: Vec<(What, String)> =
        args.who.iter().map(|text| wanted(text, namespace)).collect::<Result<_, Said>>()?;
    let survey = look(lab, false)?;
    note_hidden(&survey);
    let mut map = Map::of(&survey);
    if let Some((kind, name)) =
        wanted.iter().find(|(kind, name)| !map.groups.iter().any(|group| is(group, *kind, name)))
    {
        let line = format!("error: there is no {} {name}: loment ns map lists all", kind.word());
        return Err(Said::one(line).into());
    }
    map = map.only(|group| match wanted.as_slice() {
        [] => args.all || group.kind != What::Machine,
        wanted => wanted.iter().any(|(kind, name)| is(group, *kind, name)),
    });
    if map.groups.is_empty() {
        super::note("There is no pod, sandbox or container. With --all the machine's own processes are shown.");
    }
    read_usage(&mut map);
    match (&args.svg, args.output) {
        (Some(file), _) if file.as_os_str() != "-" => {
            fs::write(file, svg::draw(&map)).with_context(|| format!("write {}", file.display()))
        }
        (Some(_), _) => print(&svg::draw(&map)),
        (None, Some(MapOutput::Dot)) => print(&dot::draw(&map)),
        (None, Some(MapOutput::Json)) => print(&show::json(&document(&map))?),
        (None, None) => print(&tree::draw(&map)),
    }
}

fn is(group: &Group, kind: What, name: &str) -> bool {
    (group.kind, group.name.as_str()) == (kind, name)
}

fn wanted(text: &str, namespace: &str) -> Result<(What, String), Said> {
    match Target::parse(text, namespace)? {
        Target::Sandbox(name) => Ok((What::Sandbox, name)),
        Target::Pod { namespace, name, container: None } => Ok((What::Pod, format!("{namespace}/{name}"))),
        Target::Pod { .. } | Target::Process(_) => {
            Err(Said::one(format!("error: {text:?} is no pod and no sandbox: say pod/NAME or a sandbox's name")))
        }
    }
}

/// What cannot be read is not shown. Where the hierarchies of v1 have different paths, each path is found in some of them:
/// the others know nothing of it.
fn read_usage(map: &mut Map) {
    let Ok(layout) = Layout::detect() else { return };
    for unit in map.groups.iter_mut().flat_map(|group| &mut group.units) {
        let read = |path: &PathBuf| Cgroup::open(&layout, path).and_then(|cgroup| cgroup.usage()).ok();
        let parts = unit.cgroups.iter().filter_map(read).map(|usage| Usage {
            cpu: usage.cpu.total,
            memory: usage.memory.usage,
            tasks: usage.pids.current,
        });
        unit.usage = parts.reduce(|one, other| Usage {
            cpu: one.cpu.max(other.cpu),
            memory: one.memory.max(other.memory),
            tasks: one.tasks.max(other.tasks),
        });
    }
}

/// As docs/namespaces.md says it.
fn document(map: &Map) -> Value {
    let unit = |unit: &Unit| {
        let processes: Vec<Value> =
            unit.processes.iter().map(|(pid, name)| json!({ "pid": pid, "name": name })).collect();
        let namespaces: serde_json::Map<String, Value> =
            unit.namespaces.iter().map(|(kind, inode)| (kind.file().to_owned(), json!(inode))).collect();
        let usage =
            unit.usage.map(|usage| json!({ "cpuNanos": usage.cpu, "memoryBytes": usage.memory, "tasks": usage.tasks }));
        json!({
            "name": unit.name, "namespaces": namespaces, "processes": processes,
            "cgroups": unit.cgroups, "usage": usage,
        })
    };
    let groups: Vec<Value> = map
        .groups
        .iter()
        .map(|group| {
            let units: Vec<Value> = group.units.iter().map(unit).collect();
            json!({ "kind": group.kind.word(), "name": group.name, "units": units })
        })
        .collect();
    json!({ "groups": groups })
}
