//! Fixtures of configurations as distributions ship them: changed, read by each containerd that is here, and undone.
//!
//! | file | subject |
//! |---|---|
//! | `plain` | a containerd that reads what the administrator writes |
//! | `managed` | k3s, RKE2, MicroK8s |
//! | `undo` | what is taken back from a file that others have changed |
//! | `carried` | an installation as a whole, cut short anywhere |

mod carried;
mod managed;
mod plain;
mod undo;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::apply;
use super::config::Version;
use super::found::{self, Found, Hints, Places};
use super::plan::{Change, Plan, RUNTIME_TYPE, Wanted, plan};

/// A directory that is removed at the end.
struct Root(PathBuf);

impl Root {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("loment-setup-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Root(path)
    }

    /// Puts a fixture somewhere.
    fn put(&self, path: &str, text: &str) -> &Self {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text.replace("@ROOT@", self.0.to_str().unwrap())).unwrap();
        self
    }

    fn places(&self) -> Places {
        Places {
            config: self.0.join("config.toml"),
            k3s: self.0.join("k3s"),
            rke2: self.0.join("rke2"),
            microk8s: self.0.join("microk8s"),
            docker: self.0.join("docker.toml"),
            programs: Vec::new(),
        }
    }

    fn find(&self, program: &Path) -> Found {
        found::find(&self.places(), &Hints { kind: None, config: None, program: Some(program.to_owned()) }).unwrap()
    }

    /// One that no program tells the version of.
    fn find_managed(&self) -> Found {
        found::find(&self.places(), &Hints::default()).unwrap()
    }

    /// The same of this release.
    fn find_managed_as(&self, release: &str) -> Found {
        Found { release: Some(release.to_owned()), ..self.find_managed() }
    }

    /// Each file and directory below, and what is in it.
    fn census(&self) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        let mut all = BTreeMap::new();
        let mut open = vec![self.0.clone()];
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(&directory).unwrap().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    open.push(path.clone());
                }
                all.insert(path.clone(), fs::read(&path).ok());
            }
        }
        all
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn wanted() -> Wanted {
    Wanted { handler: "loment".into(), sandboxes_of_shim: false, runtime_path: None }
}

/// The containerds that are here: the machine's, and those that `scripts/containerds` has unpacked.
fn containerds() -> Vec<(PathBuf, Version)> {
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/containerd");
    let unpacked = fs::read_dir(unpacked).into_iter().flatten().flatten().map(|entry| entry.path().join("usr/bin"));
    let directories = unpacked.chain(["/usr/bin", "/usr/local/bin"].map(PathBuf::from));
    let programs = directories.map(|directory| directory.join("containerd")).filter(|path| path.is_file());
    let root = Root::new();
    let all: Vec<(PathBuf, Version)> = programs
        .filter_map(|program| {
            let version = root.find(&program).version()?;
            Some((program, version))
        })
        .collect();
    assert!(!all.is_empty(), "no containerd is installed: scripts/install-deps");
    all
}

fn of(majors: impl Fn(Version) -> bool) -> Vec<(PathBuf, Version)> {
    containerds().into_iter().filter(|(_, version)| majors(*version)).collect()
}

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/setup/fixtures").join(name);
    fs::read_to_string(path).unwrap()
}

/// Carries a plan out, lets `look` see what came of it, and takes it back: everything is byte for byte what it was.
fn there_and_back(root: &Root, plan: &Plan, look: impl FnOnce(&Change)) {
    let before = root.census();
    let change = plan.change.as_ref().unwrap();
    let directories = apply::missing_directories(&change.path);
    apply::apply(change).unwrap();
    look(change);
    assert_ne!(root.census(), before);
    assert!(apply::undo(change).unwrap());
    apply::remove_directories(&directories).unwrap();
    assert_eq!(root.census(), before);
    assert!(!apply::undo(change).unwrap(), "twice is once");
}

/// The same for a containerd that reads its files itself: it sees the class, and all that it saw before.
fn there_and_back_with(program: &Path, root: &Root) -> Change {
    let found = root.find(program);
    let seen = found.dump.clone();
    let plan = plan(&found, &wanted()).unwrap();
    let mut done = None;
    there_and_back(root, &plan, |change| {
        let after = root.find(program).dump.unwrap();
        let handler = &after.handlers["loment"];
        assert_eq!((handler.runtime_type.as_str(), handler.pod_annotations.len()), (RUNTIME_TYPE, 1));
        assert_eq!(after.handlers["runc"].runtime_type, "io.containerd.runc.v2", "{program:?}");
        for (name, handler) in seen.map(|seen| seen.handlers).unwrap_or_default() {
            assert_eq!(after.handlers.get(&name), Some(&handler), "{program:?} has lost {name}");
        }
        let again = super::plan::plan(&root.find(program), &wanted()).unwrap();
        assert!(again.change.is_none() && again.notes[0].contains("already"));
        done = Some(change.clone());
    });
    done.unwrap()
}
