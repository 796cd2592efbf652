//! Ids and names that look like paths, or like nothing.

use std::fs;

use containerd_shim_protos::{
    api::{CreateTaskRequest, ExecProcessRequest},
    protobuf::Message as _,
    sandbox_api::CreateSandboxRequest,
    ttrpc::Code,
};
use serde_json::json;

use super::{TASK, Victim};
use crate::task::patience;

const SANDBOX: &str = "containerd.runtime.sandbox.v1.Sandbox";

fn bad_names() -> Vec<String> {
    let names =
        ["", ".", "..", "../x", "a/b", "/etc", "a\0b", "a\nb", " ", "\u{e4}", "a\u{202e}b", "-\u{0}", "\u{1f4a3}"];
    names.map(str::to_owned).into_iter().chain(["x".repeat(1024), "/".repeat(1024), "../".repeat(100_000)]).collect()
}

#[test]
fn an_id_that_is_no_name_is_refused_by_the_rule_and_nothing_is_made() {
    let victim = Victim::new();
    let mut raw = victim.connect();
    for id in bad_names() {
        let create = CreateTaskRequest { id: id.clone(), ..victim.task.create.clone() };
        let sandbox = CreateSandboxRequest {
            sandbox_id: id.clone(),
            bundle_path: victim.task.create.bundle.clone(),
            ..CreateSandboxRequest::default()
        };
        let requests =
            [(TASK, "Create", create.write_to_bytes()), (SANDBOX, "CreateSandbox", sandbox.write_to_bytes())];
        for (service, method, payload) in requests {
            let response = raw.ask(service, method, payload.unwrap()).unwrap();
            let status = response.status();
            let shown: String = id.chars().take(20).collect();
            assert_eq!(status.code(), Code::INVALID_ARGUMENT, "{method} {shown:?}: {}", status.message);
            let names_rule = status.message.contains("[A-Za-z0-9_+-]") || status.message.contains("255");
            assert!(names_rule && status.message.len() < 300, "{method} {shown:?}: {}", status.message);
        }
    }
    drop(raw);
    victim.is_unharmed();
}

#[test]
fn an_execs_id_that_is_no_name_is_refused_by_the_rule_and_nothing_is_made() {
    let victim = Victim::new();
    victim.task.created().unwrap();
    victim.task.started().unwrap();
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", victim.shim)).unwrap().count();
    let before = descriptors();
    for exec_id in bad_names() {
        let request = ExecProcessRequest {
            id: victim.task.id.clone(),
            exec_id: exec_id.clone(),
            ..ExecProcessRequest::default()
        };
        let error = victim.task.client.exec(patience(), &request).unwrap_err();
        assert_eq!(super::code(&error), Code::INVALID_ARGUMENT);
        let said = error.to_string();
        assert!(said.contains("exec_id") && said.len() < 500, "{said}");
    }
    assert_eq!(descriptors(), before);
    victim.task.killed().unwrap();
    victim.task.ended();
    victim.task.deleted().unwrap();
    victim.is_unharmed();
}

#[test]
fn a_pods_container_whose_name_looks_like_a_path_is_refused() {
    let victim = Victim::new();
    for name in ["..", "../../etc", "a/b", "a\0b"] {
        let manifest = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": name}]}});
        victim.task.change(|spec| {
            spec["annotations"] = json!({
                "io.kubernetes.cri.container-type": "sandbox",
                "io.loment.pod.manifest": manifest.to_string(),
            });
        });
        let (code, message) = victim.refusal_of(&victim.task.create);
        assert_eq!(code, Code::INVALID_ARGUMENT, "{message}");
        assert!(message.contains("spec.containers[0].name"), "{message}");
    }
}
