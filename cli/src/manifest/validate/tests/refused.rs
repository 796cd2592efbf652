//! What is valid and still not taken, and what is taken and means nothing.

use super::*;

#[test]
fn what_would_change_the_pod_but_is_not_supported_is_refused_not_ignored() {
    for (fields, path) in [
        ("volumes: [{name: v, persistentVolumeClaim: {claimName: c}}]", "spec.volumes[0].persistentVolumeClaim"),
        ("volumes: [{name: v, nfs: {server: s, path: /p}}]", "spec.volumes[0].nfs"),
        ("hostUsers: false", "spec.hostUsers"),
        ("schedulingGates: [{name: g}]", "spec.schedulingGates"),
        ("resourceClaims: [{name: c}]", "spec.resourceClaims"),
    ] {
        let said = spec_problem(fields);
        assert!(said.starts_with(&format!("{path}: Forbidden: not supported by loment: ")), "{said}");
    }
    for (fields, path) in [
        ("env: [{name: A, valueFrom: {fileKeyRef: {volumeName: v, path: p, key: k}}}]", "env[0].valueFrom.fileKeyRef"),
        ("resources: {requests: {example.com/gpu: 1}}", "resources.requests[example.com/gpu]"),
        ("volumeDevices: [{name: v, devicePath: /dev/x}]", "volumeDevices"),
    ] {
        let said = container_problem(fields);
        assert!(said.starts_with(&format!("{path}: Forbidden: not supported by loment: ")), "{said}");
    }
    assert!(spec_problem("runtimeClassName: kata").starts_with("spec.runtimeClassName: Invalid value: \"kata\": "));
    assert_eq!(
        spec_problem("os: {name: windows}"),
        "spec.os.name: Unsupported value: \"windows\": supported values: \"linux\""
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

#[test]
fn readiness_gates_that_nobody_opens_are_warned_of() {
    let spec = "{containers: [{name: a, image: b}], readinessGates: [{conditionType: example.com/ready}]}";
    let warnings = outcome("{name: n}", spec, &[]).unwrap();
    assert!(warnings[0].starts_with("spec.readinessGates: "), "{warnings:?}");
}
