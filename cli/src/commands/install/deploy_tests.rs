//! The manifests of deploy/ and of docs/install.md are what they say they are.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser as _;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::node::v1::RuntimeClass;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::args::{Arguments, Verb};
use crate::manifest;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&fs::read_to_string(repository().join(path)).unwrap()).unwrap()
}

/// An object as the API knows it: a field that it does not know would be lost on the way.
fn typed<T: DeserializeOwned + Serialize>(object: &Value) -> T {
    let typed: T = serde_json::from_value(object.clone()).unwrap();
    assert_eq!(&serde_json::to_value(&typed).unwrap(), object);
    typed
}

/// The command line of a DaemonSet's init container, as `loment` reads it.
fn command(path: &str) -> (DaemonSet, Verb) {
    let set: DaemonSet = typed(&yaml(path));
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
    assert!(matches!(verb, Verb::Install(args) if args.again.is_wanted() && args.no_pod && !args.dry_run));
    let (uninstall, verb) = command("deploy/uninstall/daemonset.yaml");
    assert!(matches!(verb, Verb::Uninstall(args) if args.restarts()));
    assert_ne!(install.spec.selector, uninstall.spec.selector);
}

#[test]
fn the_unit_of_deploy_runs_a_command_that_there_is() {
    let unit = fs::read_to_string(repository().join("deploy/systemd/loment-resume.service")).unwrap();
    let command = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let verb = Arguments::try_parse_from(command.split_whitespace()).unwrap().verb;
    assert!(matches!(verb, Verb::Resume(_)), "{command}");
}

#[test]
fn each_resource_of_a_kustomization_is_there() {
    for directory in ["deploy/install", "deploy/uninstall"] {
        let resources = yaml(&format!("{directory}/kustomization.yaml"))["resources"].clone();
        for name in resources.as_array().unwrap() {
            assert!(yaml(&format!("{directory}/{}", name.as_str().unwrap()))["kind"].is_string());
        }
    }
    let spaces = ["install", "uninstall"].map(|directory| yaml(&format!("deploy/{directory}/namespace.yaml")));
    assert_eq!(spaces[0], spaces[1]);
    let space: Namespace = typed(&spaces[0]);
    let (set, _) = command("deploy/install/daemonset.yaml");
    assert_eq!(space.metadata.name, set.metadata.namespace);
    let class: RuntimeClass = typed(&yaml("deploy/install/runtimeclass.yaml"));
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
        let template = match kind.as_str() {
            "RuntimeClass" => {
                typed::<RuntimeClass>(&object);
                continue;
            }
            "Pod" => typed::<Pod>(&object).spec,
            "Deployment" => typed::<Deployment>(&object).spec.template.spec,
            "StatefulSet" => typed::<StatefulSet>(&object).spec.template.spec,
            "DaemonSet" => typed::<DaemonSet>(&object).spec.template.spec,
            "Job" => typed::<Job>(&object).spec.unwrap().template.spec,
            "CronJob" => typed::<CronJob>(&object).spec.job_template.spec.unwrap().template.spec,
            other => panic!("{other} is no workload of these"),
        };
        let spec = template.unwrap();
        assert_eq!(spec.runtime_class_name.as_deref(), Some("loment"), "{kind}");
        // What its pods are is what `loment create` takes too.
        let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "x" }, "spec": spec });
        assert_eq!(manifest::load(&kind, &pod.to_string()).unwrap().pods.len(), 1, "{kind}");
        kinds.push(kind);
    }
    for kind in ["Pod", "Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"] {
        assert!(kinds.iter().any(|one| one == kind), "{kind} is missing in {kinds:?}");
    }
}
