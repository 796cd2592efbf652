//! k3s, RKE2, MicroK8s.

use std::fs;
use std::path::Path;

use super::super::config::Schema;
use super::super::found::{self, Kind};
use super::super::plan::{Wanted, plan, table};
use super::{Root, containerds, fixture, of, there_and_back, wanted};

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
    let table = table(Schema::V2, &wanted());
    root.put("k3s/agent/etc/containerd/config.toml", &format!("{}{table}", fixture("k3s-v2.toml")));
    let made = plan(&root.find_managed(), &wanted()).unwrap();
    there_and_back(&root, &made, |change| assert!(change.path.ends_with("config.toml.tmpl")));
    let other = table.replace("loment.v2", "other.v2");
    root.put("k3s/agent/etc/containerd/config.toml", &format!("{}{other}", fixture("k3s-v2.toml")));
    assert!(plan(&root.find_managed(), &wanted()).unwrap_err().to_string().contains("--runtime-handler"));
}

#[test]
fn a_class_that_k3s_rke2_or_microk8s_has_for_runc_is_never_taken_over() {
    for (path, name) in [
        ("k3s/agent/etc/containerd/config.toml", "k3s-v2.toml"),
        ("k3s/agent/etc/containerd/config.toml", "k3s-v3.toml"),
        ("rke2/agent/etc/containerd/config.toml", "rke2-v2.toml"),
        ("rke2/agent/etc/containerd/config.toml", "rke2-v3.toml"),
        ("microk8s/containerd-template.toml", "microk8s.toml"),
    ] {
        let root = Root::new();
        root.put(path, &fixture(name));
        let error = plan(&root.find_managed(), &Wanted { handler: "runc".into(), ..wanted() }).unwrap_err().to_string();
        assert!(error.contains("--runtime-handler"), "{name}: {error}");
    }
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
