//! The manifests of deploy/ and of docs/install.md are what they say they are.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser as _;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::node::v1::RuntimeClass;
use serde_json::Value;

use crate::args::{Arguments, Verb};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&fs::read_to_string(repository().join(path)).unwrap()).unwrap()
}

/// The command line of a DaemonSet's init container, as `loment` reads it.
fn command(path: &str) -> (DaemonSet, Verb) {
    let set: DaemonSet = serde_json::from_value(yaml(path)).unwrap();
    let spec = set.spec.clone().template.spec.unwrap();
    assert_eq!(spec.host_pid, Some(true));
    let init = &spec.init_containers.unwrap()[0];
    assert_eq!(init.security_context.as_ref().unwrap().privileged, Some(true));
    let words = init.args.clone().unwrap();
    let host = words.iter().position(|word| word == "--host").unwrap();
    assert_eq!(words[host + 1], init.volume_mounts.as_ref().unwrap()[0].mount_path);
    let words = std::iter::once("loment".to_owned()).chain(words);
    (set, Arguments::try_parse_from(words).unwrap().verb)
}

#[test]
fn the_daemon_sets_of_deploy_run_commands_that_there_are() {
    let (install, verb) = command("deploy/install/daemonset.yaml");
    assert!(matches!(verb, Verb::Install(args) if args.restart && args.no_pod && !args.dry_run));
    let (uninstall, verb) = command("deploy/uninstall/daemonset.yaml");
    assert!(matches!(verb, Verb::Uninstall(_)));
    assert_ne!(install.spec.selector, uninstall.spec.selector);
}

#[test]
fn each_resource_of_a_kustomization_is_there() {
    for directory in ["deploy/install", "deploy/uninstall"] {
        let resources = yaml(&format!("{directory}/kustomization.yaml"))["resources"].clone();
        for name in resources.as_array().unwrap() {
            assert!(yaml(&format!("{directory}/{}", name.as_str().unwrap()))["kind"].is_string());
        }
    }
    let class: RuntimeClass = serde_json::from_value(yaml("deploy/install/runtimeclass.yaml")).unwrap();
    assert_eq!(class.handler, "loment");
    assert_eq!(class.overhead.unwrap().pod_fixed.unwrap()["memory"].0, "1Mi");
}

#[test]
fn the_workloads_of_the_documentation_name_the_class_where_their_pods_are_described() {
    let text = fs::read_to_string(repository().join("docs/install.md")).unwrap();
    let blocks = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let mut kinds = Vec::new();
    for block in blocks {
        let object: Value = serde_saphyr::from_str(block).unwrap();
        let kind = object["kind"].as_str().unwrap().to_owned();
        let pod = match kind.as_str() {
            "RuntimeClass" => continue,
            "Pod" => &object["spec"],
            "CronJob" => &object["spec"]["jobTemplate"]["spec"]["template"]["spec"],
            _ => &object["spec"]["template"]["spec"],
        };
        assert_eq!(pod["runtimeClassName"], "loment", "{kind}");
        assert!(pod["containers"][0]["image"].is_string(), "{kind}");
        kinds.push(kind);
    }
    for kind in ["Pod", "Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"] {
        assert!(kinds.iter().any(|one| one == kind), "{kind} is missing in {kinds:?}");
    }
}
