//! Fixtures of configurations as distributions ship them: changed, read by each containerd that is here, and undone.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::apply::{self, Undo, undoing};
use super::config::Version;
use super::found::{self, Found, Hints, Kind, Places};
use super::plan::{Change, Plan, RUNTIME_TYPE, Wanted, Way, plan};
use super::record::{self, Record};

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
    assert!(apply::undo(change, &directories).unwrap());
    assert_eq!(root.census(), before);
    assert!(!apply::undo(change, &directories).unwrap(), "twice is once");
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

#[test]
fn each_containerd_sees_the_class_and_what_it_had_and_gets_its_files_back() {
    for (program, _) in containerds() {
        for name in ["debian-1.6.toml", "kubeadm-1.7.toml", "nvidia-v2.toml"] {
            let root = Root::new();
            root.put("config.toml", &fixture(name));
            let change = there_and_back_with(&program, &root);
            assert_eq!(change.way, Way::Appended);
        }
    }
}

#[test]
fn a_containerd_without_a_configuration_gets_one_and_loses_it_again() {
    for (program, version) in containerds() {
        let root = Root::new();
        let change = there_and_back_with(&program, &root);
        assert_eq!(change.way, Way::Created);
        assert_eq!(change.text.contains("runtimes.runc]"), version.major < 2);
    }
}

#[test]
fn containerd_2_gets_a_drop_in_where_it_reads_one() {
    for (program, _) in of(|version| version.major >= 2) {
        for name in ["containerd-2.toml", "imports-v2.toml"] {
            let root = Root::new();
            root.put("config.toml", &fixture(name));
            let change = there_and_back_with(&program, &root);
            assert_eq!((change.way, change.path.clone()), (Way::Created, root.0.join("conf.d/loment.toml")));
        }
        let root = Root::new();
        root.put("config.toml", &fixture("containerd-2-no-imports.toml"));
        assert_eq!(there_and_back_with(&program, &root).way, Way::Appended);
    }
}

#[test]
fn containerd_1_gets_the_class_in_the_file_whose_table_counts() {
    for (program, _) in of(|version| version.major < 2) {
        let root = Root::new();
        root.put("config.toml", &fixture("imports-v2.toml"));
        assert_eq!(there_and_back_with(&program, &root).path, root.0.join("config.toml"));
        let nvidia = fixture("nvidia-v2.toml");
        root.put("conf.d/nvidia.toml", &nvidia).put("conf.d/other.toml", "[debug]\nlevel = \"info\"\n");
        assert_eq!(there_and_back_with(&program, &root).path, root.0.join("conf.d/nvidia.toml"));
        root.put("conf.d/nvidia.toml", nvidia.strip_prefix("version = 2\n").unwrap());
        assert_eq!(there_and_back_with(&program, &root).path, root.0.join("conf.d/nvidia.toml"));
    }
}

#[test]
fn version_1_is_written_in_its_own_words_and_refused_where_it_is_ignored() {
    for (program, version) in containerds() {
        let root = Root::new();
        root.put("config.toml", "[plugins.cri.containerd.runtimes.runc]\nruntime_type = \"io.containerd.runc.v2\"\n");
        if version.major < 2 {
            there_and_back_with(&program, &root);
        } else {
            let error = plan(&root.find(&program), &wanted()).unwrap_err().to_string();
            assert!(error.contains("version = 2"), "{error}");
        }
    }
}

#[test]
fn k3s_and_rke2_get_a_template_or_a_drop_in_and_never_an_edit_of_what_they_generate() {
    for (name, kind) in [("k3s", Kind::K3s), ("rke2", Kind::Rke2)] {
        let directory = format!("{name}/agent/etc/containerd");
        let at = |file: &str| format!("{directory}/{file}");
        // Layout 2: a template, with what k3s would write above.
        let root = Root::new();
        let generated = fixture(&format!("{name}-v2.toml"));
        root.put(&at("config.toml"), &generated);
        let found = root.find_managed();
        assert_eq!(found.kind, kind);
        let made = plan(&found, &wanted()).unwrap();
        there_and_back(&root, &made, |change| {
            assert_eq!(change.path, root.0.join(at("config.toml.tmpl")));
            for (program, _) in of(|version| version.major < 2) {
                rendered(&program, &change.text, &generated);
            }
        });
        // One that somebody has written stays above ours.
        root.put(&at("config.toml.tmpl"), "{{ template \"base\" . }}\n[debug]\nlevel = \"debug\"");
        let made = plan(&root.find_managed(), &wanted()).unwrap();
        there_and_back(&root, &made, |change| {
            let template = fs::read_to_string(&change.path).unwrap();
            for (program, _) in of(|version| version.major < 2) {
                rendered(&program, &template, &generated);
            }
            assert!(plan(&root.find_managed(), &wanted()).unwrap().change.is_none());
        });
        // Layout 3, where the generated file imports a directory.
        let root = Root::new();
        root.put(&at("config.toml"), &fixture(&format!("{name}-v3.toml")));
        let made = plan(&root.find_managed(), &wanted()).unwrap();
        there_and_back(&root, &made, |change| {
            assert_eq!(change.path, root.0.join(at("config-v3.toml.d/loment.toml")));
            // k3s has not been started since.
            assert!(plan(&root.find_managed(), &wanted()).unwrap().change.is_none());
            for (program, _) in of(|version| version.major >= 2) {
                let seen = found::dump(&program, &root.0.join(at("config.toml"))).unwrap();
                assert_eq!(seen.handlers.keys().collect::<Vec<_>>(), ["loment", "runc"]);
            }
        });
        // And where it does not.
        let generated = fixture(&format!("{name}-v3.toml")).replace("imports", "# imports");
        root.put(&at("config.toml"), &generated);
        let made = plan(&root.find_managed(), &wanted()).unwrap();
        there_and_back(&root, &made, |change| {
            assert_eq!(change.path, root.0.join(at("config-v3.toml.tmpl")));
            for (program, _) in of(|version| version.major >= 2) {
                rendered(&program, &change.text, &generated);
            }
        });
    }
}

/// What k3s makes of a template is read by containerd.
fn rendered(program: &Path, template: &str, base: &str) {
    let root = Root::new();
    root.put("config.toml", &template.replace("{{ template \"base\" . }}", base));
    let seen = root.find(program).dump.unwrap();
    assert_eq!(seen.handlers.keys().collect::<Vec<_>>(), ["loment", "runc"], "{program:?}");
}

#[test]
fn a_class_that_only_the_generated_file_of_k3s_has_is_written_again() {
    let root = Root::new();
    let table = super::plan::table(super::config::Schema::V2, &wanted());
    root.put("k3s/agent/etc/containerd/config.toml", &format!("{}{table}", fixture("k3s-v2.toml")));
    let made = plan(&root.find_managed(), &wanted()).unwrap();
    there_and_back(&root, &made, |change| assert!(change.path.ends_with("config.toml.tmpl")));
    let other = table.replace("loment.v2", "other.v2");
    root.put("k3s/agent/etc/containerd/config.toml", &format!("{}{other}", fixture("k3s-v2.toml")));
    assert!(plan(&root.find_managed(), &wanted()).unwrap_err().to_string().contains("--runtime-handler"));
}

#[test]
fn k3s_that_has_never_run_is_refused() {
    let root = Root::new();
    fs::create_dir_all(root.0.join("k3s/agent/etc/containerd")).unwrap();
    let error = plan(&root.find_managed(), &wanted()).unwrap_err().to_string();
    assert!(error.contains("start k3s once"), "{error}");
}

#[test]
fn microk8s_gets_its_template_edited() {
    let root = Root::new();
    root.put("microk8s/containerd-template.toml", &fixture("microk8s.toml"));
    let made = plan(&root.find_managed(), &wanted()).unwrap();
    there_and_back(&root, &made, |change| {
        assert!(change.path.ends_with("containerd-template.toml") && !change.text.contains("runtimes.runc"));
        let template = fs::read_to_string(&change.path).unwrap();
        for (program, _) in containerds() {
            let root = Root::new();
            root.put("config.toml", &template.replace("${RUNTIME_TYPE}", "io.containerd.runc.v2"));
            assert!(root.find(&program).dump.unwrap().handlers.contains_key("loment"));
        }
    });
}

#[test]
fn of_several_containerds_one_has_to_be_named() {
    let root = Root::new();
    root.put("config.toml", "version = 2\n").put("k3s/agent/etc/containerd/config.toml", &fixture("k3s-v2.toml"));
    let error = found::find(&root.places(), &Hints::default()).unwrap_err().to_string();
    assert!(error.contains("containerd, k3s") && error.contains("--kind"), "{error}");
    let hints = Hints { kind: Some(Kind::K3s), ..Hints::default() };
    assert_eq!(found::find(&root.places(), &hints).unwrap().kind, Kind::K3s);
    let error = found::find(&Root::new().places(), &Hints::default()).unwrap_err().to_string();
    assert!(error.contains("no containerd is found"), "{error}");
}

#[test]
fn a_containerd_that_docker_has_for_itself_is_told_of_and_left_alone() {
    for (program, _) in containerds() {
        let root = Root::new();
        root.put("config.toml", &fixture("nvidia-v2.toml")).put("docker.toml", "disabled_plugins = [\"cri\"]\n");
        let made = plan(&root.find(&program), &wanted()).unwrap();
        assert!(made.notes[0].contains("docker run --runtime io.containerd.loment.v2"), "{:?}", made.notes);
        there_and_back(&root, &made, |change| assert_eq!(change.path, root.0.join("config.toml")));
    }
}

#[test]
fn what_cannot_be_done_is_refused_with_a_remedy() {
    let containerds = containerds();
    let (program, version) = containerds.first().unwrap();
    let other =
        "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.loment]\nruntime_type = \"x\"\n";
    let braces = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd]\nruntimes = { }\n";
    for (text, expected) in [
        (fixture("docker-ce.toml").as_str(), "remove CRI from disabled_plugins"),
        ("version = 2\n[plugins", "is no TOML"),
        (other, "--runtime-handler"),
        (braces, "write that one with a header"),
    ] {
        let root = Root::new();
        root.put("config.toml", text);
        let error = plan(&root.find(program), &wanted()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let root = Root::new();
    root.put("config.toml", &fixture("nvidia-v2.toml"));
    let shim = Wanted { sandboxes_of_shim: true, ..wanted() };
    assert_eq!(plan(&root.find(program), &shim).is_ok(), *version >= Version::new(2, 1));
    let name = Wanted { handler: "a.b".into(), ..wanted() };
    assert!(plan(&root.find(program), &name).unwrap_err().to_string().contains("--runtime-handler"));
}

#[test]
fn a_path_of_the_shim_is_written_where_containerd_would_not_look() {
    let wanted = Wanted { runtime_path: Some("/opt/a \"b\"/shim".into()), ..wanted() };
    for (program, _) in containerds() {
        let root = Root::new();
        root.put("config.toml", &fixture("nvidia-v2.toml"));
        let made = plan(&root.find(&program), &wanted).unwrap();
        there_and_back(&root, &made, |_| {
            let seen = root.find(&program).dump.unwrap();
            assert_eq!(seen.handlers["loment"].runtime_path, "/opt/a \"b\"/shim");
        });
    }
}

fn change(way: Way) -> Change {
    let table = super::plan::table(super::config::Schema::V2, &wanted());
    Change { path: "/x/config.toml".into(), way, text: format!("\n# Begin\n{table}# End of it.\n") }
}

#[test]
fn what_others_have_added_since_stays() {
    let change = change(Way::Appended);
    let now = format!("version = 2\n{}[debug]\n", change.text);
    assert_eq!(undoing(&change, Some(&now)), Ok(Undo::Write("version = 2\n[debug]\n".into())));
}

#[test]
fn what_somebody_has_undone_already_is_nothing_to_undo() {
    assert_eq!(undoing(&change(Way::Appended), Some("version = 2\n")), Ok(Undo::Nothing));
    assert_eq!(undoing(&change(Way::Appended), None), Ok(Undo::Nothing));
    assert_eq!(undoing(&change(Way::Created), None), Ok(Undo::Nothing));
}

#[test]
fn what_others_have_changed_in_it_is_not_undone() {
    let change = change(Way::Appended);
    let edited = format!("version = 2\n{}", change.text.replace("io.loment.*", "x.*"));
    assert!(undoing(&change, Some(&edited)).unwrap_err().contains("by hand"));
    let twice = format!("{0}{0}", change.text);
    assert!(undoing(&change, Some(&twice)).is_err());
    let created = Change { way: Way::Created, ..change };
    assert!(undoing(&created, Some("version = 2\n")).unwrap_err().contains("by hand"));
}

#[test]
fn a_file_keeps_its_mode_and_a_link_stays_one() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let root = Root::new();
    root.put("real.toml", "a");
    fs::set_permissions(root.0.join("real.toml"), fs::Permissions::from_mode(0o600)).unwrap();
    symlink("real.toml", root.0.join("config.toml")).unwrap();
    apply::replace(&root.0.join("config.toml"), b"b", 0o644).unwrap();
    assert!(root.0.join("config.toml").is_symlink());
    assert_eq!(fs::read(root.0.join("real.toml")).unwrap(), b"b");
    assert_eq!(fs::metadata(root.0.join("real.toml")).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(root.census().len(), 2);
}

#[test]
fn a_record_is_read_as_it_was_written_and_leaves_nothing() {
    let root = Root::new();
    let state = root.0.join("state");
    assert!(record::all(&state).unwrap().is_empty());
    let mut one = Record::new("containerd", "loment", Path::new("/etc/containerd/config.toml"));
    one.change = Some(change(Way::Appended));
    let other = Record::new("k3s", "loment", Path::new("/x"));
    record::write(&state, &one).unwrap();
    record::write(&state, &other).unwrap();
    let all = record::all(&state).unwrap();
    assert_eq!(all, [one.clone(), other.clone()]);
    assert!(record::choose(all.clone(), None, "loment").unwrap_err().to_string().contains("--kind"));
    assert_eq!(record::choose(all.clone(), Some("k3s"), "loment").unwrap(), Some(other.clone()));
    assert_eq!(record::choose(all, None, "other").unwrap(), None);
    record::remove(&state, &one).unwrap();
    record::remove(&state, &other).unwrap();
    assert!(root.census().is_empty());
}

/// Lines that others may add.
const ABOVE: &str = "[a-z#= \\n]{0,40}";

proptest::proptest! {
    /// Whatever a file has, and whatever others add before and after, what was added is what is taken away.
    #[test]
    fn what_is_added_to_any_file_is_taken_away_again(old in "(?s).{0,200}", above in ABOVE, below in ABOVE) {
        let change = change(Way::Appended);
        let now = format!("{above}{old}{}{below}", change.text);
        if old.contains("# Begin") {
            return Ok(());
        }
        proptest::prop_assert_eq!(undoing(&change, Some(&now)), Ok(Undo::Write(format!("{above}{old}{below}"))));
    }
}
