//! What CNI has noted of the networks that it has joined pods to, and their release. libcni writes a note for each
//! attachment (`cniCacheV1`): by it a pod is detached as whoever has attached it would do it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use k8s_openapi::ByteString;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::survey::{Attachment, Names};
use crate::lower::layout::is_id;

/// Where libcni writes its notes.
pub(crate) const NOTES: &str = "/var/lib/cni/results";

/// A note, as far as it is needed.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Note {
    container_id: String,
    config: ByteString,
    if_name: String,
    network_name: String,
    #[serde(default)]
    cni_args: Vec<(String, String)>,
    #[serde(default)]
    capability_args: Map<String, Value>,
    #[serde(default)]
    result: Value,
}

impl Note {
    fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read(path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("read what CNI has noted in {}", path.display()))
    }

    fn argument(&self, name: &str) -> String {
        self.cni_args.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone()).unwrap_or_default()
    }

    fn interfaces(&self) -> impl Iterator<Item = &Value> {
        self.result["interfaces"].as_array().into_iter().flatten()
    }

    fn namespace(&self) -> Option<PathBuf> {
        let sandbox = |one: &Value| Some(one["sandbox"].as_str()?.to_owned());
        self.interfaces().find_map(|one| sandbox(one).filter(|path| !path.is_empty())).map(PathBuf::from)
    }
}

/// All attachments that are noted. A note that cannot be read is somebody else's, or is just being written.
pub(crate) fn attachments(notes: &Path) -> Vec<Attachment> {
    let entries = fs::read_dir(notes).into_iter().flatten().flatten();
    entries.filter_map(|entry| attachment(&entry.path())).collect()
}

fn attachment(path: &Path) -> Option<Attachment> {
    let file = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file)?;
    let note = Note::read(path).ok().filter(|note| is_id(&note.container_id))?;
    let is_outside = |one: &&Value| one["sandbox"].as_str().unwrap_or_default().is_empty();
    let names = note.interfaces().filter(is_outside).filter_map(|one| one["name"].as_str());
    Some(Attachment {
        path: path.to_owned(),
        inode: file.ino(),
        peers: names.filter(|name| is_of_a_pair(name)).map(str::to_owned).collect(),
        namespace_path: note.namespace(),
        names: Names {
            namespace: note.argument("K8S_POD_NAMESPACE"),
            name: note.argument("K8S_POD_NAME"),
            uid: note.argument("K8S_POD_UID"),
            ..Names::default()
        },
        id: note.container_id,
        network: note.network_name,
        interface: note.if_name,
    })
}

/// Whether an interface is this machine's end of a pair that CNI's plugins have made. A bridge, which many pods share, is not.
fn is_of_a_pair(name: &str) -> bool {
    is_id(name) && name.starts_with("veth") && exists(name)
}

/// Whether there is an interface of this name in the network of this process. (What sysfs shows may be another one's.)
pub(crate) fn exists(name: &str) -> bool {
    let table = fs::read_to_string("/proc/self/net/dev").unwrap_or_default();
    table.lines().skip(2).any(|line| line.split_once(':').is_some_and(|(found, _)| found.trim() == name))
}

/// Detaches a pod, as CNI's specification says (DEL): the plugins of the network from the last to the first. CNI's note goes
/// when all have succeeded.
pub(crate) fn release(path: &Path, plugins: &[PathBuf]) -> anyhow::Result<()> {
    let note = Note::read(path)?;
    let list: Value = serde_json::from_slice(&note.config.0)
        .with_context(|| format!("read the network {:?} in {}", note.network_name, path.display()))?;
    for plugin in chain(&list).iter().rev() {
        run(&note, plugin, &list, plugins)
            .with_context(|| format!("detach {} from network {:?}", note.container_id, note.network_name))?;
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// The plugins of a list, or the only one of a configuration of an older kind.
fn chain(list: &Value) -> Vec<Value> {
    list["plugins"].as_array().cloned().unwrap_or_else(|| vec![list.clone()])
}

fn run(note: &Note, plugin: &Value, list: &Value, directories: &[PathBuf]) -> anyhow::Result<()> {
    let kind = plugin["type"].as_str().filter(|kind| is_id(kind)).context("a plugin without a type")?;
    let program = directories.iter().map(|directory| directory.join(kind)).find(|path| path.is_file());
    let program = program.with_context(|| format!("find the plugin {kind:?} in {directories:?}"))?;
    let arguments: Vec<String> = note.cni_args.iter().map(|(key, value)| format!("{key}={value}")).collect();
    // Of a namespace that is gone the plugins release what they have given away, and no more.
    let namespace = note.namespace().filter(|path| path.exists()).unwrap_or_default();
    let mut child = Command::new(&program)
        .env("CNI_COMMAND", "DEL")
        .env("CNI_CONTAINERID", &note.container_id)
        .env("CNI_NETNS", namespace)
        .env("CNI_IFNAME", &note.if_name)
        .env("CNI_ARGS", arguments.join(";"))
        .env("CNI_PATH", std::env::join_paths(directories).context("name the directories of plugins")?)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("run {}", program.display()))?;
    let asked = request(note, plugin, list).to_string();
    // One that does not read all has its reasons, and an exit code for them.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(asked.as_bytes()));
    let done = child.wait_with_output().with_context(|| format!("wait for {}", program.display()))?;
    if !done.status.success() {
        let said = serde_json::from_slice::<Value>(&done.stdout).unwrap_or_default();
        let errors = String::from_utf8_lossy(&done.stderr).into_owned();
        let said = said["msg"].as_str().map_or(errors, str::to_owned);
        bail!("{}: {}: {}", program.display(), done.status, super::finding::printable(said.trim()));
    }
    Ok(())
}

/// What a plugin is given to read: its own configuration with what the list says of the network, and the result of ADD.
fn request(note: &Note, plugin: &Value, list: &Value) -> Value {
    let mut request = plugin.clone();
    request["name"] = list["name"].clone();
    request["cniVersion"] = list["cniVersion"].clone();
    if !note.result.is_null() {
        request["prevResult"] = note.result.clone();
    }
    let declared = plugin["capabilities"].as_object().cloned().unwrap_or_default();
    let wanted = note.capability_args.iter().filter(|(name, _)| declared.get(*name) == Some(&json!(true)));
    let wanted: Map<String, Value> = wanted.map(|(name, value)| (name.clone(), value.clone())).collect();
    if !wanted.is_empty() {
        request["runtimeConfig"] = Value::Object(wanted);
    }
    request
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;
    use crate::disk::tests::Scratch;

    fn note(scratch: &Scratch, id: &str, kind: &str) -> PathBuf {
        let list = json!({ "name": "net", "cniVersion": "0.4.0", "plugins": [{ "type": kind, "x": 1 }, { "type": "second" }] });
        let note = json!({
            "kind": "cniCacheV1", "containerId": id, "config": ByteString(list.to_string().into_bytes()),
            "ifName": "eth0", "networkName": "net",
            "cniArgs": [["K8S_POD_NAMESPACE", "shop"], ["K8S_POD_NAME", "web"]],
            "result": { "interfaces": [{ "name": "lo" }, { "name": "eth0", "sandbox": "/run/netns/cni-none" }] },
        });
        let path = scratch.0.join(format!("net-{id}-eth0"));
        fs::write(&path, note.to_string()).unwrap();
        path
    }

    /// A plugin that notes what it is asked.
    fn plugin(scratch: &Scratch, name: &str, code: u8) {
        let log = scratch.0.join("log").display().to_string();
        let script = format!(
            "#!/bin/sh\necho {name} $CNI_COMMAND $CNI_CONTAINERID \"[$CNI_NETNS]\" $CNI_IFNAME $CNI_ARGS >> {log}\ncat >> {log}\necho >> {log}\nexit {code}\n"
        );
        fs::write(scratch.0.join(name), script).unwrap();
        fs::set_permissions(scratch.0.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn a_pod_is_detached_by_the_plugins_from_the_last_to_the_first() {
        let scratch = Scratch::new("release");
        let path = note(&scratch, "a1", "first");
        plugin(&scratch, "first", 0);
        plugin(&scratch, "second", 0);
        release(&path, std::slice::from_ref(&scratch.0)).unwrap();
        let log = fs::read_to_string(scratch.0.join("log")).unwrap();
        let lines: Vec<&str> = log.lines().collect();
        assert_eq!(lines[0], "second DEL a1 [] eth0 K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web");
        assert!(lines[2].starts_with("first DEL"), "{log}");
        let asked: Value = serde_json::from_str(lines[3]).unwrap();
        assert_eq!((&asked["name"], &asked["x"], &asked["cniVersion"]), (&json!("net"), &json!(1), &json!("0.4.0")));
        assert!(asked["prevResult"]["interfaces"].is_array());
        assert!(!path.exists());
    }

    #[test]
    fn a_note_stays_when_a_plugin_fails_and_no_path_is_a_plugin() {
        let scratch = Scratch::new("stays");
        plugin(&scratch, "second", 0);
        plugin(&scratch, "first", 3);
        for kind in ["first", "../first", "missing"] {
            let path = note(&scratch, "a1", kind);
            assert!(release(&path, std::slice::from_ref(&scratch.0)).is_err(), "{kind}");
            assert!(path.exists());
        }
    }

    #[test]
    fn a_note_tells_pod_and_namespace_and_a_link_or_a_hostile_id_is_passed_over() {
        let scratch = Scratch::new("notes");
        let path = note(&scratch, "a1", "first");
        symlink(&path, scratch.0.join("link")).unwrap();
        fs::write(scratch.0.join("bad"), fs::read_to_string(&path).unwrap().replace("a1", "../a1")).unwrap();
        fs::write(scratch.0.join("cut"), "{").unwrap();
        let found = attachments(&scratch.0);
        let [only] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((only.id.as_str(), only.names.name.as_str(), only.names.namespace.as_str()), ("a1", "web", "shop"));
        assert_eq!(only.namespace_path.as_deref(), Some(Path::new("/run/netns/cni-none")));
    }
}
