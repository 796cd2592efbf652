//! A containerd that reads what the administrator writes.

use super::super::config::Version;
use super::super::found::{self, Hints, Kind};
use super::super::plan::{Wanted, Way, plan};
use super::{Root, containerds, fixture, of, there_and_back, there_and_back_with, wanted};

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
fn the_class_goes_into_a_file_that_an_imported_one_imports_if_that_one_counts() {
    for (program, _) in of(|version| version.major < 2) {
        let root = Root::new();
        root.put("config.toml", &fixture("imports-v2.toml"));
        root.put("conf.d/first.toml", "version = 2\nimports = [\"../more/x.toml\"]\n");
        root.put("more/x.toml", &fixture("nvidia-v2.toml"));
        assert_eq!(there_and_back_with(&program, &root).path, root.0.join("conf.d/../more/x.toml"));
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
fn a_class_of_another_runtime_is_never_taken_over_also_one_that_is_built_in() {
    for (program, _) in containerds() {
        for text in [None, Some("version = 2\n".to_owned()), Some(fixture("nvidia-v2.toml"))] {
            let root = Root::new();
            if let Some(text) = &text {
                root.put("config.toml", text);
            }
            let runc = Wanted { handler: "runc".into(), ..wanted() };
            let error = plan(&root.find(&program), &runc).unwrap_err().to_string();
            assert!(error.contains("io.containerd.runc.v2") && error.contains("--runtime-handler"), "{error}");
        }
    }
}

#[test]
fn a_configuration_that_is_named_and_not_there_is_refused_but_for_the_usual_one() {
    let root = Root::new();
    let (program, _) = containerds().remove(0);
    let named = |name: &str| Hints { config: Some(root.0.join(name)), program: Some(program.clone()), kind: None };
    let error = found::find(&root.places(), &named("misspelt.toml")).unwrap_err().to_string();
    assert!(error.contains("misspelt.toml: name with --config"), "{error}");
    assert!(found::find(&root.places(), &named("config.toml")).is_ok());
    root.put("other.toml", "version = 2\n");
    assert!(found::find(&root.places(), &named("other.toml")).is_ok());
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

/// Whatever containerd is on this machine: that of a distribution, of kubeadm's package, of 2.x, with what it imports.
#[test]
fn each_fixture_of_each_release_gets_its_bytes_back() {
    for (name, release, path) in [
        ("debian-1.6.toml", "1.6.20~ds1", "config.toml"),
        ("kubeadm-1.7.toml", "1.7.24", "config.toml"),
        ("nvidia-v2.toml", "1.7.24", "config.toml"),
        ("imports-v2.toml", "1.7.24", "config.toml"),
        ("imports-v2.toml", "2.0.5", "conf.d/loment.toml"),
        ("containerd-2.toml", "2.1.4", "conf.d/loment.toml"),
        ("containerd-2-no-imports.toml", "2.2.0", "config.toml"),
    ] {
        let root = Root::new();
        root.put("config.toml", &fixture(name));
        let found = root.find_managed_as(release);
        let made = plan(&found, &wanted()).unwrap();
        there_and_back(&root, &made, |change| {
            assert_eq!(change.path, root.0.join(path), "{name} with {release}");
            let seen = plan(&root.find_managed_as(release), &wanted()).unwrap();
            assert!(seen.change.is_none() && seen.notes[0].contains("already"), "{name} with {release}");
        });
    }
}
