//! What volumes need of the machine, and what containers are given of them.

use std::path::Path;

use super::*;
use crate::lower::env::Addresses;
use crate::lower::{Sources, containers};
use crate::manifest::{defaults, load};

struct Lowered {
    made: Result<Vec<Make>, Missing>,
    pins: Result<Vec<Pin>, Missing>,
    refreshed: Vec<Refresh>,
    mounts: Vec<(String, String, bool)>,
}

const OBJECTS: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: one}\nbinaryData: {b: AAE=}\n---\n\
                       apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {p: b2xk}\nstringData: {p: new}\n---\n";

fn lowered(spec: &str) -> Lowered {
    let text = format!(
        "{OBJECTS}apiVersion: v1\nkind: Pod\nmetadata: {{name: n, uid: u, labels: {{a: b}}, annotations: {{k: \"v\\n\"}}}}\nspec: \
         {{{spec}}}\n"
    );
    let mut objects = load("f", &text).unwrap_or_else(|said| panic!("{said}\n{text}"));
    let mut pod = objects.pods.remove(0);
    defaults::complete(&mut pod, "default");
    let sources = Sources::of("default", &objects.config_maps, &objects.secrets);
    let layout = Layout::of(&pod, Path::new("/state"), Path::new("/logs"));
    let host = Host { memory: 1 << 30, huge_pages: vec![2 << 20], ..Host::default() };
    let addresses = Addresses { pod: vec!["10.0.0.2".into()] };
    let scope = Scope { pod: &pod, sources: &sources, addresses: &addresses, host: &host };
    let spec = pod.spec.clone().unwrap();
    let first = containers(&spec).next().unwrap();
    let mounts = mounts(&pod, first, &layout).into_iter();
    Lowered {
        made: make(scope, &layout),
        pins: pins(scope, &layout),
        refreshed: refresh(scope, &layout).unwrap(),
        mounts: mounts.map(|mount| (mount.container_path, mount.host_path, mount.readonly)).collect(),
    }
}

fn with_volume(source: &str, more: &str) -> Lowered {
    lowered(&format!("containers: [{{name: a, image: b}}], volumes: [{{name: v, {source}}}], {more}"))
}

fn made(source: &str, more: &str) -> Make {
    with_volume(source, more).made.unwrap().remove(0)
}

fn refused(source: &str, more: &str) -> String {
    with_volume(source, more).made.unwrap_err().0
}

fn files(source: &str) -> Vec<(String, String, u32)> {
    match made(source, "") {
        Make::Files { files, .. } => files
            .into_iter()
            .map(|file| (file.path, String::from_utf8_lossy(&file.content).into_owned(), file.mode))
            .collect(),
        other => panic!("{other:?}"),
    }
}

fn bytes(source: &str, more: &str) -> u64 {
    match made(source, more) {
        Make::Memory { bytes, .. } => bytes,
        other => panic!("{other:?}"),
    }
}

#[test]
fn v1_memory_is_bounded_by_the_smallest_of_volume_pod_and_machine() {
    assert_eq!(bytes("emptyDir: {medium: Memory}", ""), 1 << 30);
    assert_eq!(bytes("emptyDir: {medium: Memory, sizeLimit: 1Mi}", ""), 1 << 20);
    let limits = "resources: {limits: {memory: 512Ki}}";
    assert_eq!(bytes("emptyDir: {medium: Memory, sizeLimit: 1Mi}", limits), 512 << 10);
    assert!(matches!(made("emptyDir: {sizeLimit: 1Mi}", ""), Make::Empty { mode: 0o777, .. }));
}

#[test]
fn v1_huge_pages_are_those_that_the_pod_asks_for() {
    let asks =
        |names: &str| format!("initContainers: [{{name: i, image: b, resources: {{limits: {{cpu: 1, {names}}}}}}}]");
    let page = |source: &str, names: &str| match made(source, &asks(names)) {
        Make::HugePages { page, .. } => page,
        other => panic!("{other:?}"),
    };
    assert_eq!(page("emptyDir: {medium: HugePages}", "hugepages-2Mi: 4Mi"), 2 << 20);
    assert_eq!(page("emptyDir: {medium: HugePages-2Mi}", "hugepages-2Mi: 4Mi, hugepages-1Gi: 1Gi"), 2 << 20);
    let volume = "volume \"v\": medium HugePages: ";
    assert_eq!(
        refused("emptyDir: {medium: HugePages}", ""),
        format!("{volume}no container of the pod asks for huge pages")
    );
    assert_eq!(
        refused("emptyDir: {medium: HugePages}", &asks("hugepages-1Gi: 1Gi")),
        format!("{volume}this machine has no huge pages of 1Gi (see /proc/sys/vm/nr_hugepages)")
    );
}

#[test]
fn v3_keys_become_files_with_text_over_data() {
    let file = |path: &str, content: &str, mode| (path.to_owned(), content.to_owned(), mode);
    assert_eq!(files("configMap: {name: c}"), [file("a", "one", 0o644), file("b", "\0\u{1}", 0o644)]);
    assert_eq!(
        files("configMap: {name: c, defaultMode: 0400, items: [{key: a, path: d/x, mode: 0600}]}"),
        [file("d/x", "one", 0o600)]
    );
    assert_eq!(files("secret: {secretName: s}"), [file("p", "new", 0o644)]);
    assert_eq!(files("secret: {secretName: none, optional: true}"), []);
    assert_eq!(
        refused("configMap: {name: none}", ""),
        "volume \"v\": configmap \"none\" not found (put it in the same file or give it with --configmap)"
    );
    assert_eq!(
        refused("configMap: {name: c, items: [{key: z, path: z}]}", ""),
        "volume \"v\": configmap \"c\" has no key \"z\""
    );
}

#[test]
fn v3_only_a_config_map_is_on_the_disk() {
    let in_memory = |source: &str| match made(source, "") {
        Make::Files { in_memory, .. } => in_memory,
        other => panic!("{other:?}"),
    };
    assert!(!in_memory("configMap: {name: c}"));
    assert!(in_memory("secret: {secretName: s}"));
    assert!(in_memory("downwardAPI: {}"));
    assert!(in_memory("projected: {sources: [{configMap: {name: c}}]}"));
}

const ABOUT: &str = "{items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}, {path: n, mode: 0400, fieldRef: \
                     {fieldPath: metadata.name}}, {path: cpu, resourceFieldRef: {containerName: a, resource: requests.cpu, \
                     divisor: 1m}}, {path: k, fieldRef: {fieldPath: metadata.annotations}}]}";

#[test]
fn v4_fields_of_the_pod_become_files() {
    let file = |path: &str, content: &str, mode| (path.to_owned(), content.to_owned(), mode);
    let about = [
        file("labels", "a=\"b\"", 0o644),
        file("n", "n", 0o400),
        file("cpu", "0", 0o644),
        file("k", "k=\"v\\n\"", 0o644),
    ];
    assert_eq!(files(&format!("downwardAPI: {ABOUT}")), about);
    let projected =
        format!("projected: {{defaultMode: 0440, sources: [{{secret: {{name: s}}}}, {{downwardAPI: {ABOUT}}}]}}");
    let mut expected = vec![file("p", "new", 0o440)];
    expected.extend(about.map(|(path, content, mode)| (path, content, if mode == 0o644 { 0o440 } else { mode })));
    assert_eq!(files(&projected), expected);
    let refreshed = with_volume(&projected, "").refreshed;
    assert_eq!(refreshed[0].path, Path::new("/state/pods/u/volumes/v"));
    let names: Vec<&str> = refreshed[0].files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(names, ["labels", "n", "cpu", "k"], "a secret stays what it is");
    assert!(with_volume("secret: {secretName: s}", "").refreshed.is_empty());
}

fn mounting(fields: &str) -> Lowered {
    lowered(&format!(
        "containers: [{{name: a, image: b, env: [{{name: IP, valueFrom: {{fieldRef: {{fieldPath: status.podIP}}}}}}, {{name: \
         EMPTY}}], volumeMounts: [{{name: v, mountPath: /d, {fields}}}]}}], volumes: [{{name: v, emptyDir: {{}}}}]"
    ))
}

#[test]
fn v5_a_part_of_a_volume_is_given_by_its_pin() {
    let Lowered { pins, mounts, .. } = mounting("subPath: x/y, readOnly: true");
    let at = "/state/pods/u/volume-subpaths/a/0";
    assert_eq!(
        pins.unwrap(),
        [Pin {
            what: "container \"a\": volume mount \"v\"".into(),
            root: "/state/pods/u/volumes/v".into(),
            sub_path: "x/y".into(),
            at: at.into(),
            read_only: false,
        }]
    );
    assert_eq!(mounts[0], ("/d".to_owned(), at.to_owned(), true));
    assert!(mounting("readOnly: true").pins.unwrap().is_empty());
    assert!(mounting("readOnly: true, recursiveReadOnly: Enabled").pins.unwrap()[0].read_only);
}

#[test]
fn v5_an_expression_needs_all_its_variables() {
    let expanded =
        |expression: &str| mounting(&format!("subPathExpr: {expression}")).pins.map(|pins| pins[0].sub_path.clone());
    assert_eq!(expanded("of-$(IP)").unwrap(), "of-10.0.0.2");
    assert_eq!(expanded("$$(IP)").unwrap(), "$(IP)");
    for (expression, why) in [("$(NONE)", "missing value for \"NONE\""), ("$(EMPTY)", "missing value for \"EMPTY\"")] {
        assert_eq!(
            expanded(expression).unwrap_err().0,
            format!("container \"a\": cannot expand subPathExpr \"{expression}\": {why}")
        );
    }
}

#[test]
fn v9_the_users_mounts_win_and_parents_come_first() {
    let mounts = lowered(
        "containers: [{name: a, image: b, volumeMounts: [{name: v, mountPath: /a/b/}, {name: v, mountPath: //etc/hosts}, {name: \
         v, mountPath: /a}]}], volumes: [{name: v, configMap: {name: c}}]",
    )
    .mounts;
    let paths: Vec<(&str, bool)> = mounts.iter().map(|(path, _, read_only)| (path.as_str(), *read_only)).collect();
    assert_eq!(paths, [("/a", true), ("/a/b", true), ("/etc/hosts", true), ("/dev/termination-log", false)]);
}
