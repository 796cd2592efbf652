//! Every row of the validation table that concerns what is supported, by its number in the specification of the pod's
//! lifecycle (section 9), and the refusal of what is not.

use super::super::{defaults, load};
use super::*;

/// What `create` says about a pod with this metadata and spec.
fn said(metadata: &str, spec: &str) -> Vec<String> {
    let text = format!("apiVersion: v1\nkind: Pod\nmetadata: {metadata}\nspec: {spec}\n");
    let mut pod = load("f", &text).unwrap_or_else(|said| panic!("{said}\n{text}")).pods.remove(0);
    defaults::complete(&mut pod, "default");
    match validate(&pod, "loment") {
        Ok(_) => Vec::new(),
        Err(said) => said.0,
    }
}

/// The one problem of a spec, without the header.
fn problem(spec: &str) -> String {
    let mut said = said("{name: n}", spec);
    assert_eq!(said.len(), 1, "{said:#?}");
    said.remove(0).strip_prefix("The Pod \"n\" is invalid: ").unwrap().to_owned()
}

/// The one problem of a container whose other fields are right.
fn container_problem(fields: &str) -> String {
    problem(&format!("{{containers: [{{name: a, image: b, {fields}}}], volumes: [{{name: v}}]}}"))
}

const GOOD: &str = "{containers: [{name: a, image: b}]}";

#[test]
fn row_1_a_pod_needs_a_name() {
    assert_eq!(
        said("{}", GOOD),
        ["The Pod \"\" is invalid: metadata.name: Required value: name or generateName is required"]
    );
    assert!(said("{generateName: web-}", GOOD).is_empty());
}

#[test]
fn row_2_a_name_is_a_subdomain_and_better_a_label() {
    let said = said("{name: My_Pod}", GOOD);
    assert!(said[0].starts_with(
        "The Pod \"My_Pod\" is invalid: metadata.name: Invalid value: \"My_Pod\": a lowercase RFC 1123 subdomain must"
    ));
    let long = "a".repeat(254);
    assert!(self::said(&format!("{{name: {long}}}"), GOOD)[0].ends_with("must be no more than 253 characters"));
    let text = format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: a.b}}\nspec: {GOOD}\n");
    let mut pod = load("f", &text).unwrap().pods.remove(0);
    defaults::complete(&mut pod, "default");
    let warnings = validate(&pod, "loment").unwrap();
    assert!(warnings[0].starts_with("metadata.name: this is used in the Pod's hostname"), "{warnings:?}");
}

#[test]
fn rows_3_to_5_a_pod_needs_containers_with_name_and_image() {
    assert_eq!(problem("{containers: []}"), "spec.containers: Required value");
    assert_eq!(problem("{containers: [{image: b}]}"), "spec.containers[0].name: Required value");
    assert_eq!(problem("{containers: [{name: a}]}"), "spec.containers[0].image: Required value");
}

#[test]
fn row_6_a_container_name_is_a_label() {
    assert!(
        problem("{containers: [{name: A, image: b}]}")
            .starts_with("spec.containers[0].name: Invalid value: \"A\": a lowercase RFC 1123 label must")
    );
    assert_eq!(
        problem("{containers: [{name: a.b, image: b}]}"),
        "spec.containers[0].name: Invalid value: \"a.b\": must not contain dots"
    );
    let long = "a".repeat(64);
    assert!(
        problem(&format!("{{containers: [{{name: {long}, image: b}}]}}"))
            .ends_with("must be no more than 63 characters")
    );
}

#[test]
fn row_7_names_are_unique_among_all_containers() {
    assert_eq!(
        problem("{containers: [{name: web, image: b}], initContainers: [{name: web, image: b}]}"),
        "spec.initContainers[0].name: Duplicate value: \"web\""
    );
}

#[test]
fn rows_8_and_9_policies_are_spelled_exactly() {
    assert_eq!(
        problem("{restartPolicy: always, containers: [{name: a, image: b}]}"),
        "spec.restartPolicy: Unsupported value: \"always\": supported values: \"Always\", \"OnFailure\", \"Never\""
    );
    assert_eq!(
        container_problem("imagePullPolicy: always"),
        "spec.containers[0].imagePullPolicy: Unsupported value: \"always\": supported values: \"Always\", \
         \"IfNotPresent\", \"Never\""
    );
}

#[test]
fn rows_10_to_13_ports() {
    assert_eq!(container_problem("ports: [{name: a}]"), "spec.containers[0].ports[0].containerPort: Required value");
    assert_eq!(
        container_problem("ports: [{containerPort: 70000}]"),
        "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive"
    );
    assert_eq!(
        container_problem("ports: [{containerPort: 80, protocol: tcp}]"),
        "spec.containers[0].ports[0].protocol: Unsupported value: \"tcp\": supported values: \"SCTP\", \"TCP\", \"UDP\""
    );
    assert_eq!(
        container_problem("ports: [{containerPort: 80, name: sixteen-letters1}]"),
        "spec.containers[0].ports[0].name: Invalid value: \"sixteen-letters1\": must be no more than 15 characters"
    );
    assert_eq!(
        container_problem("ports: [{containerPort: 80, name: \"80\"}]"),
        "spec.containers[0].ports[0].name: Invalid value: \"80\": must contain at least one letter (a-z)"
    );
    assert_eq!(
        problem(
            "{containers: [{name: a, image: b, ports: [{containerPort: 1, hostPort: 8080}]}, {name: c, image: b, ports: \
             [{containerPort: 1, hostPort: 8080}]}]}"
        ),
        "spec.containers[1].ports[0].hostPort: Duplicate value: \"TCP//8080\""
    );
}

#[test]
fn rows_14_and_15_mounts() {
    assert_eq!(
        container_problem("volumeMounts: [{name: data, mountPath: /d}]"),
        "spec.containers[0].volumeMounts[0].name: Not found: \"data\""
    );
    assert_eq!(
        container_problem("volumeMounts: [{name: v}]"),
        "spec.containers[0].volumeMounts[0].mountPath: Required value"
    );
    assert_eq!(
        container_problem("volumeMounts: [{name: v, mountPath: /d}, {name: v, mountPath: /d}]"),
        "spec.containers[0].volumeMounts[1].mountPath: Invalid value: \"/d\": must be unique"
    );
}

#[test]
fn rows_16_and_17_volumes() {
    let volumes = |volumes: &str| problem(&format!("{{containers: [{{name: a, image: b}}], volumes: {volumes}}}"));
    assert_eq!(
        volumes("[{name: v, emptyDir: {}, hostPath: {path: /x}}]"),
        "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"
    );
    assert_eq!(volumes("[{name: v}, {name: v}]"), "spec.volumes[1].name: Duplicate value: \"v\"");
    assert_eq!(volumes("[{name: v, hostPath: {}}]"), "spec.volumes[0].hostPath.path: Required value");
    assert_eq!(
        volumes("[{name: v, hostPath: {path: /a/../b}}]"),
        "spec.volumes[0].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'"
    );
    assert!(
        volumes("[{name: v, hostPath: {path: /a, type: Dir}}]")
            .starts_with("spec.volumes[0].hostPath.type: Unsupported value: \"Dir\": supported values: \"\", ")
    );
}

#[test]
fn row_18_sub_paths() {
    let said = said(
        "{name: n}",
        "{volumes: [{name: v}], containers: [{name: a, image: b, volumeMounts: [{name: v, mountPath: /d, subPath: /x, \
         subPathExpr: y}]}]}",
    );
    let mount = "* spec.containers[0].volumeMounts[0]";
    assert_eq!(
        said,
        [
            "The Pod \"n\" is invalid: ".to_owned(),
            format!("{mount}.subPath: Invalid value: \"/x\": must be a relative path"),
            format!("{mount}.subPath: Forbidden: not supported yet by loment"),
            format!("{mount}.subPathExpr: Forbidden: not supported yet by loment"),
            format!("{mount}.subPathExpr: Invalid value: \"y\": subPathExpr and subPath are mutually exclusive"),
        ]
    );
}

#[test]
fn rows_19_20_and_33_resources() {
    assert_eq!(
        container_problem("resources: {requests: {cpu: 2}, limits: {cpu: 1}}"),
        "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1"
    );
    assert_eq!(
        container_problem("resources: {requests: {mem: 1}}"),
        "spec.containers[0].resources.requests[mem]: Invalid value: \"mem\": must be a standard resource type or fully \
         qualified"
    );
    assert!(
        container_problem("resources: {requests: {cpu: 1x}}")
            .starts_with("spec.containers[0].resources.requests[cpu]: Invalid value: \"1x\": quantities must match")
    );
}

#[test]
fn row_21_environment() {
    assert_eq!(container_problem("env: [{value: x}]"), "spec.containers[0].env[0].name: Required value");
    assert_eq!(
        container_problem("env: [{name: A, value: x, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]"),
        "spec.containers[0].env[0].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty"
    );
    assert!(container_problem("env: [{name: A, valueFrom: {fieldRef: {fieldPath: metadata.labels}}}]").starts_with(
        "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Unsupported value: \"metadata.labels\": supported \
             values: \"metadata.name\", "
    ));
    assert!(said(
        "{name: n}",
        "{containers: [{name: a, image: b, env: [{name: A, valueFrom: {fieldRef: {fieldPath: \"metadata.labels['x']\"}}}]}]}"
    )
    .is_empty());
}

#[test]
fn rows_22_and_23_probes_and_hooks_are_refused_with_the_reason() {
    assert_eq!(
        container_problem("livenessProbe: {exec: {command: [x]}}"),
        "spec.containers[0].livenessProbe: Forbidden: not supported yet by loment"
    );
    assert_eq!(
        container_problem("lifecycle: {preStop: {exec: {command: [x]}}}"),
        "spec.containers[0].lifecycle.preStop: Forbidden: not supported yet by loment"
    );
    assert_eq!(
        problem(
            "{containers: [{name: a, image: b}], initContainers: [{name: i, image: b, lifecycle: {preStop: {exec: {command: \
             [x]}}}}]}"
        ),
        "spec.initContainers[0].lifecycle: Forbidden: may not be set for init containers without restartPolicy=Always"
    );
}

#[test]
fn row_24_deadline() {
    assert_eq!(
        problem("{activeDeadlineSeconds: 0, containers: [{name: a, image: b}]}"),
        "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"
    );
}

#[test]
fn row_25_annotations_have_a_limit() {
    let large = "x".repeat(256 * 1024);
    assert_eq!(
        said(&format!("{{name: n, annotations: {{a: {large}}}}}"), GOOD),
        ["The Pod \"n\" is invalid: metadata.annotations: Too long: may not be more than 262144 bytes"]
    );
}

#[test]
fn row_26_security_contexts() {
    assert_eq!(
        container_problem("securityContext: {runAsUser: -1}"),
        "spec.containers[0].securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive"
    );
    assert_eq!(
        container_problem("securityContext: {privileged: true, allowPrivilegeEscalation: false}"),
        "spec.containers[0].securityContext: Invalid value: \"\": cannot set `allowPrivilegeEscalation` to false and \
         `privileged` to true"
    );
}

#[test]
fn row_27_what_excludes_each_other() {
    assert_eq!(
        container_problem("volumeMounts: [{name: v, mountPath: /d, mountPropagation: Bidirectional}]"),
        "spec.containers[0].volumeMounts[0].mountPropagation: Forbidden: Bidirectional mount propagation is available \
         only to privileged containers"
    );
    assert_eq!(
        problem("{shareProcessNamespace: true, hostPID: true, containers: [{name: a, image: b}]}"),
        "spec.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled"
    );
}

#[test]
fn rows_28_and_29_network() {
    assert_eq!(
        problem("{hostNetwork: true, containers: [{name: a, image: b, ports: [{containerPort: 80, hostPort: 81}]}]}"),
        "spec.containers[0].ports[0].hostPort: Invalid value: 81: must match `containerPort` when `hostNetwork` is true"
    );
    assert_eq!(
        problem("{dnsPolicy: None, containers: [{name: a, image: b}]}"),
        "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"
    );
}

#[test]
fn row_30_a_stop_signal_needs_to_know_the_system() {
    assert_eq!(
        container_problem("lifecycle: {stopSignal: SIGINT}"),
        "spec.containers[0].lifecycle.stopSignal: Forbidden: may not be set for containers with empty `spec.os.name`"
    );
    assert_eq!(
        problem("{os: {name: linux}, containers: [{name: a, image: b, lifecycle: {stopSignal: SIGNAL}}]}"),
        "spec.containers[0].lifecycle.stopSignal: Invalid value: \"SIGNAL\": must be the name of a signal, as in SIGTERM"
    );
}

#[test]
fn all_problems_are_reported_at_once_below_one_header() {
    let said = said("{name: n}", "{restartPolicy: never, containers: [{image: b}, {name: c}]}");
    assert_eq!(
        said,
        [
            "The Pod \"n\" is invalid: ",
            "* spec.containers[0].name: Required value",
            "* spec.containers[1].image: Required value",
            "* spec.restartPolicy: Unsupported value: \"never\": supported values: \"Always\", \"OnFailure\", \"Never\"",
        ]
    );
}

#[test]
fn what_would_change_the_pod_but_is_not_supported_is_refused_not_ignored() {
    let later = "Forbidden: not supported yet by loment";
    let volume =
        |source: &str| problem(&format!("{{containers: [{{name: a, image: b}}], volumes: [{{name: v, {source}}}]}}"));
    assert_eq!(volume("projected: {}"), format!("spec.volumes[0].projected: {later}"));
    assert_eq!(volume("emptyDir: {medium: Memory}"), format!("spec.volumes[0].emptyDir.medium: {later}"));
    assert_eq!(
        volume("persistentVolumeClaim: {claimName: c}"),
        format!("spec.volumes[0].persistentVolumeClaim: {later}")
    );
    let spec = |fields: &str| problem(&format!("{{containers: [{{name: a, image: b}}], {fields}}}"));
    assert_eq!(spec("hostUsers: false"), format!("spec.hostUsers: {later}"));
    assert_eq!(spec("resources: {limits: {cpu: 1}}"), format!("spec.resources: {later}"));
    assert!(spec("runtimeClassName: kata").starts_with("spec.runtimeClassName: Invalid value: \"kata\": "));
    assert!(
        spec("securityContext: {sysctls: [{name: kernel.panic, value: \"1\"}]}")
            .starts_with("spec.securityContext.sysctls[0].name: Forbidden: ")
    );
}

#[test]
fn what_means_nothing_on_one_machine_is_accepted() {
    let spec = "{containers: [{name: a, image: b}], nodeSelector: {disk: ssd}, nodeName: x, affinity: {}, tolerations: \
                [{operator: Exists}], serviceAccountName: s, serviceAccount: s, automountServiceAccountToken: true, \
                schedulerName: x, priority: 3, priorityClassName: p, preemptionPolicy: Never, enableServiceLinks: false, \
                imagePullSecrets: [{name: r}], topologySpreadConstraints: [], runtimeClassName: loment}";
    assert!(said("{name: n}", spec).is_empty());
}
