//! Rows that concern volumes.

use super::*;

fn volume(source: &str) -> String {
    spec_problem(&format!("volumes: [{{name: v, {source}}}]")).strip_prefix("spec.volumes[0].").unwrap().to_owned()
}

fn mount(fields: &str) -> Vec<String> {
    let all = problems(&with_container(&format!("volumeMounts: [{{name: v, mountPath: /d, {fields}}}]")));
    all.iter().map(|line| line.strip_prefix("spec.containers[0].volumeMounts[0].").unwrap().to_owned()).collect()
}

#[test]
fn validation_16_a_volume_has_one_source_and_a_name_of_its_own() {
    assert_eq!(
        volume("emptyDir: {}, hostPath: {path: /x}"),
        "hostPath: Forbidden: may not specify more than 1 volume type"
    );
    assert_eq!(spec_problem("volumes: [{name: v}, {name: v}]"), "spec.volumes[1].name: Duplicate value: \"v\"");
}

#[test]
fn validation_17_a_host_path_is_a_plain_path_of_a_known_type() {
    assert_eq!(volume("hostPath: {}"), "hostPath.path: Required value");
    assert_eq!(volume("hostPath: {path: /a/../b}"), "hostPath.path: Invalid value: \"/a/../b\": must not contain '..'");
    assert!(
        volume("hostPath: {path: /a, type: Dir}")
            .starts_with("hostPath.type: Unsupported value: \"Dir\": supported values: \"\", ")
    );
}

#[test]
fn validation_18_a_sub_path_is_relative_and_of_one_kind() {
    assert_eq!(
        mount("subPath: /x, subPathExpr: y"),
        [
            "subPath: Invalid value: \"/x\": must be a relative path",
            "subPathExpr: Invalid value: \"y\": subPathExpr and subPath are mutually exclusive",
        ]
    );
    assert_eq!(mount("subPath: a/../b"), ["subPath: Invalid value: \"a/../b\": must not contain '..'"]);
    assert!(mount("subPath: a/b").is_empty());
}

#[test]
fn a_recursive_read_only_mount_is_read_only_and_private() {
    assert_eq!(
        mount("recursiveReadOnly: Enabled"),
        ["recursiveReadOnly: Forbidden: may only be specified when readOnly is true"]
    );
    assert_eq!(
        mount("recursiveReadOnly: IfPossible, readOnly: true, mountPropagation: HostToContainer"),
        ["recursiveReadOnly: Forbidden: may only be specified when mountPropagation is None or not specified"]
    );
    assert!(mount("recursiveReadOnly: Enabled, readOnly: true").is_empty());
}

#[test]
fn projected_sources_are_one_each_and_do_not_collide() {
    assert_eq!(volume("projected: {sources: [{}]}"), "projected.sources[0]: Required value: must specify a source");
    let secret = "secret: {name: s, items: [{key: k, path: p}]}";
    let field = "downwardAPI: {items: [{path: p, fieldRef: {fieldPath: metadata.name}}]}";
    assert_eq!(
        volume(&format!("projected: {{sources: [{{{secret}}}, {{{field}}}]}}")),
        "projected.sources[1]: Invalid value: \"p\": conflicting duplicate paths"
    );
    assert_eq!(
        volume("projected: {sources: [{serviceAccountToken: {path: token}}]}"),
        "projected.sources[0].serviceAccountToken: Forbidden: not supported by loment: it is issued by an API server, and \
         there is none"
    );
    assert_eq!(
        volume("downwardAPI: {items: [{path: ../p, fieldRef: {fieldPath: metadata.name}}]}"),
        "downwardAPI.items[0].path: Invalid value: \"../p\": must not contain '..'"
    );
    assert_eq!(
        volume("downwardAPI: {items: [{path: p, resourceFieldRef: {resource: limits.cpu}}]}"),
        "downwardAPI.items[0].resourceFieldRef.containerName: Required value"
    );
}

#[test]
fn an_empty_volume_is_on_a_known_medium() {
    assert!(volume("emptyDir: {medium: Disk}").starts_with("emptyDir.medium: Unsupported value: \"Disk\""));
    assert!(
        volume("emptyDir: {sizeLimit: 1x}").starts_with("emptyDir.sizeLimit: Invalid value: \"1x\": quantities must")
    );
    let good = "{containers: [{name: a, image: b}], volumes: [{name: v, emptyDir: {medium: Memory, sizeLimit: 1Mi}}, {name: w, \
                emptyDir: {sizeLimit: 1Gi}}]}";
    assert!(said("{name: n}", good).is_empty());
}

#[test]
fn who_mounts_a_part_that_an_init_container_may_write_is_warned() {
    let spec = "{containers: [{name: a, image: b, volumeMounts: [{name: v, mountPath: /d, subPath: x}]}], initContainers: \
                [{name: i, image: b, volumeMounts: [{name: v, mountPath: /v}]}], volumes: [{name: v, emptyDir: {}}]}";
    let warnings = outcome("{name: n}", spec, &[]).unwrap();
    assert!(
        warnings[0].starts_with("spec.containers[0].volumeMounts[0].subPath: \"x\" is made as a directory"),
        "{warnings:?}"
    );
}
