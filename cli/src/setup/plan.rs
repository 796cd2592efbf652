//! From what was found to what has to be written: nothing is touched here. docs/install.md has the reasons, version by
//! version.

use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};
use serde::{Deserialize, Serialize};

use super::apply::beside;
use super::config::{Config, Schema, Version};
use super::found::{Found, Kind, Source};
use super::managed;
use super::patterns::is_match;
use super::refused::{check_free, check_name, check_ours, check_sandboxer};

/// What the shim calls itself towards containerd.
pub(crate) const RUNTIME_TYPE: &str = "io.containerd.loment.v2";
/// The annotations that a runtime class lets through.
pub(crate) const ANNOTATIONS: &str = "io.loment.*";

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) handler: String,
    /// Whether the shim makes the sandboxes.
    pub(crate) sandboxes_of_shim: bool,
    /// Where the shim's program is, if containerd would not find it by its name.
    pub(crate) runtime_path: Option<PathBuf>,
}

/// What has to be written; nothing if containerd has such a class already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) change: Option<Change>,
    /// What the user should know of it.
    pub(crate) notes: Vec<String>,
}

/// A file that is made, or one that gets a piece at its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Change {
    pub(crate) path: PathBuf,
    pub(crate) way: Way,
    /// What is added; all of it for a file that is made.
    pub(crate) text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Way {
    /// The file was not there.
    Created,
    /// It was, and ends with the text now.
    Appended,
}

/// Decides what to write.
///
/// # Errors
/// What is found cannot be changed so that it can be undone, or the change would do harm; the message says what to do.
pub(crate) fn plan(found: &Found, wanted: &Wanted) -> anyhow::Result<Plan> {
    check_name(&wanted.handler)?;
    let mut plan = match found.kind {
        Kind::Containerd => plain(found, wanted),
        Kind::K3s | Kind::Rke2 => managed::rancher(found, wanted),
        Kind::Microk8s => managed::microk8s(found, wanted),
    }?;
    if wanted.sandboxes_of_shim && plan.change.is_some() {
        check_sandboxer(found.version())?;
    }
    plan.notes.extend(found.dockers.iter().map(|path| {
        format!(
            "docker has a containerd of its own ({}), without runtime classes: it is not touched, and docker takes the shim by its \
             name, `docker run --runtime io.containerd.loment.v2`",
            path.display()
        )
    }));
    Ok(plan)
}

pub(super) fn parsed(source: &Source, main: Option<i64>) -> anyhow::Result<Option<Config>> {
    let Some(text) = &source.text else { return Ok(None) };
    let config = Config::parse_beside(text, main);
    config.map(Some).map_err(|error| anyhow!("{} is no TOML ({error}): mend it first", source.path.display()))
}

/// A containerd that reads what the administrator writes.
fn plain(found: &Found, wanted: &Wanted) -> anyhow::Result<Plan> {
    let main = parsed(&found.main, None)?;
    let mut files: Vec<(&Source, Config)> = main.clone().map(|config| (&found.main, config)).into_iter().collect();
    for source in &found.imported {
        files.extend(parsed(source, main.as_ref().and_then(|main| main.version))?.map(|config| (source, config)));
    }
    if let Some((source, _)) = files.iter().find(|(_, config)| config.disables_cri()) {
        bail!(
            "{} disables CRI, without which containerd has no runtime classes: remove CRI from disabled_plugins in it, and run \
             this again",
            source.path.display()
        );
    }
    let Some(version) = found.version() else {
        bail!("no program \"containerd\" tells its version: name it with --containerd");
    };
    if let Some(plan) = is_there(&files, found, wanted)? {
        return Ok(plan);
    }
    let schema = schema(found, main.as_ref(), version)?;
    if version.major >= 2
        && let Some(path) = drop_in(found, wanted)?
    {
        return Ok(made(path, schema, &table(schema, wanted), Vec::new()));
    }
    if found.main.text.is_none() {
        return Ok(made(found.main.path.clone(), schema, &with_runc(schema, wanted, version), Vec::new()));
    }
    // Up to 1.7 a plugin's table of one file takes the place of those of the files before it: a class has to go to the
    // file that counts.
    let last = files.iter().rev().find(|(_, config)| config.has_cri).filter(|_| version.major < 2);
    let (source, config) = last.or(files.first()).ok_or_else(|| anyhow!("there is no configuration to add to"))?;
    // And a table of runtime classes takes the place of the default one, which has runc.
    let text =
        if config.has_runtimes { table(config.schema, wanted) } else { with_runc(config.schema, wanted, version) };
    appended(source, config, wanted, &text)
}

/// Whether there is such a class already: ours is enough, another one is not touched.
pub(super) fn is_there(files: &[(&Source, Config)], found: &Found, wanted: &Wanted) -> anyhow::Result<Option<Plan>> {
    for (source, config) in files {
        let Some(handler) = config.handlers.get(&wanted.handler) else { continue };
        check_ours(handler, wanted, &source.path)?;
        let is_lost = found.dump.as_ref().is_some_and(|dump| !dump.handlers.contains_key(&wanted.handler));
        if is_lost {
            bail!(
                "{} has the runtime class {:?}, but containerd does not see it (a later file has CRI's table too, or the file \
                 has another version than {}): remove it there, and run this again",
                source.path.display(),
                wanted.handler,
                found.main.path.display()
            );
        }
        let note = format!("{} has the runtime class {:?} already", source.path.display(), wanted.handler);
        return Ok(Some(Plan { change: None, notes: vec![note] }));
    }
    check_free(found.dump.as_ref(), &wanted.handler)?;
    Ok(None)
}

/// In what layout containerd reads what is added.
fn schema(found: &Found, main: Option<&Config>, version: Version) -> anyhow::Result<Schema> {
    let path = found.main.path.display();
    let Some(main) = main else { return Ok(if version.major >= 2 { Schema::V3 } else { Schema::V2 }) };
    match (main.schema, version.major) {
        (Schema::V3, ..=1) => {
            bail!(
                "{path} has version 3, which containerd {}.{} does not read: mend it first",
                version.major,
                version.minor
            )
        }
        // It is converted, and runtime classes are lost on the way.
        (Schema::V1, 2..) => bail!(
            "{path} has no version: containerd 2 takes it for version 1 and passes over runtime classes in it; write \"version = 2\" \
             at its top, or what `containerd config migrate` prints in its place"
        ),
        (schema, _) => Ok(schema),
    }
}

/// The file for a directory from which containerd 2 merges files, if it has one.
pub(super) fn drop_in(found: &Found, wanted: &Wanted) -> anyhow::Result<Option<PathBuf>> {
    let name =
        if wanted.handler == "loment" { "loment.toml".to_owned() } else { format!("loment-{}.toml", wanted.handler) };
    let directory = found.imports.iter().find_map(|pattern| {
        let (directory, last) = pattern.rsplit_once('/')?;
        // Where everything is read, a half-written file would be too.
        let is_all = is_match(last, &beside(Path::new(&name)).to_string_lossy());
        let is_one = !directory.contains(['*', '?', '[']) && last.contains('*') && is_match(last, &name);
        (is_one && !is_all).then_some(directory)
    });
    let Some(directory) = directory else { return Ok(None) };
    let path = Path::new(directory).join(name);
    if found.imported.iter().any(|source| source.path == path) {
        bail!("{} is there already, without the runtime class: move it away, and run this again", path.display());
    }
    Ok(Some(path))
}

pub(super) fn made(path: PathBuf, schema: Schema, table: &str, notes: Vec<String>) -> Plan {
    // That of the main file, or containerd 2 passes over one of the two.
    let version = schema.version();
    let text = format!("# Made by `loment install`; `loment uninstall` removes it.\nversion = {version}\n\n{table}");
    Plan { change: Some(Change { path, way: Way::Created, text }), notes }
}

pub(super) fn appended(source: &Source, before: &Config, wanted: &Wanted, table: &str) -> anyhow::Result<Plan> {
    let old = source.text.as_deref().unwrap_or_default();
    let text = block(old, table);
    let after = Config::parse_beside(&format!("{old}{text}"), Some(before.schema.version()));
    let is_good = after.as_ref().is_ok_and(|after| {
        let others = before.handlers.iter().all(|(name, handler)| after.handlers.get(name) == Some(handler));
        others && after.handlers.contains_key(&wanted.handler)
    });
    if !is_good {
        // A table in braces is closed: TOML 1.0, "Inline Table".
        bail!(
            "{} cannot get a runtime class at its end (a table of CRI's is written in braces?): write that one with a header, or add \
             this yourself:\n{table}",
            source.path.display()
        );
    }
    Ok(Plan { change: Some(Change { path: source.path.clone(), way: Way::Appended, text }), notes: Vec::new() })
}

/// What is put at the end of a file, so that it can be told apart and taken away again.
pub(super) fn block(old: &str, table: &str) -> String {
    let newline = if old.is_empty() || old.ends_with('\n') { "" } else { "\n" };
    format!(
        "{newline}\n# Begin of what `loment install` has added; `loment uninstall` removes it.\n{table}# End of it.\n"
    )
}

/// The table of the runtime class.
pub(crate) fn table(schema: Schema, wanted: &Wanted) -> String {
    let mut text = header(schema, &wanted.handler);
    text.push_str(&format!("  runtime_type = \"{RUNTIME_TYPE}\"\n"));
    if let Some(path) = &wanted.runtime_path {
        text.push_str(&format!("  runtime_path = {}\n", toml_edit::Value::from(path.to_string_lossy().into_owned())));
    }
    text.push_str(&format!("  pod_annotations = [\"{ANNOTATIONS}\"]\n  container_annotations = [\"{ANNOTATIONS}\"]\n"));
    if wanted.sandboxes_of_shim {
        text.push_str("  sandboxer = \"shim\"\n");
    }
    text
}

/// With runc's beside it, as containerd has it where no runtime class is written: up to 1.7 the first that is written takes
/// the place of all that are built in.
pub(super) fn with_runc(schema: Schema, wanted: &Wanted, version: Version) -> String {
    let table = table(schema, wanted);
    if version.major >= 2 {
        return table;
    }
    format!("{}  runtime_type = \"io.containerd.runc.v2\"\n{table}", header(schema, "runc"))
}

fn header(schema: Schema, handler: &str) -> String {
    let plugin = schema.plugin();
    let plugin = if plugin.contains('.') { format!("\"{plugin}\"") } else { plugin.to_owned() };
    format!("[plugins.{plugin}.containerd.runtimes.{handler}]\n")
}
