//! Rows that concern containers.

use super::*;

#[test]
fn validation_04_a_container_needs_a_name() {
    assert_eq!(problem("{containers: [{image: b}]}"), "spec.containers[0].name: Required value");
}

#[test]
fn validation_05_a_container_needs_an_image() {
    assert_eq!(problem("{containers: [{name: a}]}"), "spec.containers[0].image: Required value");
    assert_eq!(
        problem("{containers: [{name: a, image: \" b\"}]}"),
        "spec.containers[0].image: Invalid value: \" b\": must not have leading or trailing whitespace"
    );
}

#[test]
fn validation_06_a_container_name_is_a_label() {
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
fn validation_07_names_are_unique_among_all_containers() {
    assert_eq!(
        problem("{containers: [{name: web, image: b}], initContainers: [{name: web, image: b}]}"),
        "spec.initContainers[0].name: Duplicate value: \"web\""
    );
}

#[test]
fn validation_09_the_pull_policy_is_spelled_exactly() {
    assert_eq!(
        container_problem("imagePullPolicy: always"),
        "imagePullPolicy: Unsupported value: \"always\": supported values: \"Always\", \"IfNotPresent\", \"Never\""
    );
}

#[test]
fn validation_10_a_port_is_a_port() {
    assert_eq!(container_problem("ports: [{name: a}]"), "ports[0].containerPort: Required value");
    assert_eq!(
        container_problem("ports: [{containerPort: 70000}]"),
        "ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive"
    );
}

#[test]
fn validation_11_a_protocol_is_spelled_exactly() {
    assert_eq!(
        container_problem("ports: [{containerPort: 80, protocol: tcp}]"),
        "ports[0].protocol: Unsupported value: \"tcp\": supported values: \"SCTP\", \"TCP\", \"UDP\""
    );
}

#[test]
fn validation_12_a_port_name_is_short_and_has_a_letter() {
    assert_eq!(
        container_problem("ports: [{containerPort: 80, name: a-very-long-name}]"),
        "ports[0].name: Invalid value: \"a-very-long-name\": must be no more than 15 characters"
    );
    assert_eq!(
        container_problem("ports: [{containerPort: 80, name: \"80\"}]"),
        "ports[0].name: Invalid value: \"80\": must contain at least one letter (a-z)"
    );
    assert_eq!(
        container_problem("ports: [{containerPort: 80, name: a}, {containerPort: 81, name: a}]"),
        "ports[1].name: Duplicate value: \"a\""
    );
}

#[test]
fn validation_13_host_port_clash() {
    let ports = "ports: [{containerPort: 80, hostPort: 8080}]";
    assert_eq!(
        problem(&format!("{{containers: [{{name: a, image: b, {ports}}}, {{name: c, image: b, {ports}}}]}}")),
        "spec.containers[1].ports[0].hostPort: Duplicate value: \"TCP//8080\""
    );
    let init = format!("{{containers: [{{name: a, image: b, {ports}}}], initContainers: [{{name: i, image: b}}]}}");
    assert!(said("{name: n}", &init).is_empty());
}

#[test]
fn validation_14_a_mount_names_a_volume() {
    assert_eq!(
        container_problem("volumeMounts: [{name: data, mountPath: /d}]"),
        "volumeMounts[0].name: Not found: \"data\""
    );
}

#[test]
fn validation_15_mount_paths_are_there_and_differ() {
    assert_eq!(container_problem("volumeMounts: [{name: v}]"), "volumeMounts[0].mountPath: Required value");
    assert_eq!(
        container_problem("volumeMounts: [{name: v, mountPath: /d}, {name: v, mountPath: /d}]"),
        "volumeMounts[1].mountPath: Invalid value: \"/d\": must be unique"
    );
}

#[test]
fn validation_19_a_request_is_within_its_limit() {
    assert_eq!(
        container_problem("resources: {requests: {cpu: 2}, limits: {cpu: 1}}"),
        "resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1"
    );
    assert_eq!(
        container_problem("resources: {requests: {cpu: 1, hugepages-2Mi: 2Mi}, limits: {hugepages-2Mi: 4Mi}}"),
        "resources.requests: Invalid value: \"2Mi\": must be equal to hugepages-2Mi limit of 4Mi"
    );
    assert_eq!(
        container_problem("resources: {limits: {hugepages-2Mi: 4Mi}}"),
        "resources: Forbidden: HugePages require cpu or memory"
    );
}

#[test]
fn validation_20_an_unknown_resource() {
    assert_eq!(
        container_problem("resources: {requests: {mem: 1}}"),
        "resources.requests[mem]: Invalid value: \"mem\": must be a standard resource type or fully qualified"
    );
    let limits = problems(&with_container("resources: {limits: {mem: 1}}"));
    assert!(
        limits.contains(
            &"spec.containers[0].resources.limits[mem]: Invalid value: \"mem\": must be a standard resource type or fully \
              qualified"
                .to_owned()
        ),
        "{limits:?}"
    );
}

#[test]
fn validation_21_environment() {
    assert_eq!(container_problem("env: [{value: x}]"), "env[0].name: Required value");
    assert_eq!(
        container_problem("env: [{name: A, value: x, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]"),
        "env[0].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty"
    );
    assert!(
        container_problem("env: [{name: A, valueFrom: {fieldRef: {fieldPath: metadata.labels}}}]").starts_with(
            "env[0].valueFrom.fieldRef.fieldPath: Unsupported value: \"metadata.labels\": supported values: \"metadata.name\", "
        )
    );
    assert!(
        said(
            "{name: n}",
            &with_container("env: [{name: A, valueFrom: {fieldRef: {fieldPath: \"metadata.labels['x']\"}}}]")
        )
        .is_empty()
    );
    assert_eq!(
        container_problem("env: [{name: A, valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: 1Mi}}}]"),
        "env[0].valueFrom.resourceFieldRef.divisor: Invalid value: \"1Mi\": only divisor's values 1m, 1 are supported with \
         the cpu resource"
    );
}

#[test]
fn validation_22_probes() {
    assert_eq!(container_problem("livenessProbe: {}"), "livenessProbe: Required value: must specify a handler type");
    assert_eq!(
        container_problem("livenessProbe: {exec: {command: [x]}, httpGet: {port: 80}}"),
        "livenessProbe.httpGet: Forbidden: may not specify more than 1 handler type"
    );
    for probe in ["livenessProbe", "startupProbe"] {
        assert_eq!(
            container_problem(&format!("{probe}: {{exec: {{command: [x]}}, successThreshold: 2}}")),
            format!("{probe}.successThreshold: Invalid value: 2: must be 1")
        );
    }
    assert_eq!(
        container_problem("readinessProbe: {tcpSocket: {port: 80}, periodSeconds: -1}"),
        "readinessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0"
    );
    assert_eq!(
        container_problem("readinessProbe: {tcpSocket: {port: 80}, terminationGracePeriodSeconds: 1}"),
        "readinessProbe.terminationGracePeriodSeconds: Invalid value: 1: must not be set for readinessProbes"
    );
    assert_eq!(
        container_problem("livenessProbe: {grpc: {port: 0}}"),
        "livenessProbe.grpc.port: Invalid value: 0: must be between 1 and 65535, inclusive"
    );
    let good = "livenessProbe: {httpGet: {port: web}}, readinessProbe: {exec: {command: [x]}, successThreshold: 3}, \
                startupProbe: {grpc: {port: 1}}, lifecycle: {postStart: {exec: {command: [x]}}, preStop: {sleep: {seconds: \
                3}}}";
    assert!(said("{name: n}", &with_container(good)).is_empty());
}

#[test]
fn validation_23_probes_and_hooks_of_init_containers() {
    let init = |fields: &str| {
        format!("{{containers: [{{name: a, image: b}}], initContainers: [{{name: i, image: b, {fields}}}]}}")
    };
    for field in ["lifecycle: {preStop: {exec: {command: [x]}}}", "livenessProbe: {exec: {command: [x]}}"] {
        let name = field.split(':').next().unwrap();
        for policy in ["", ", restartPolicy: OnFailure"] {
            assert_eq!(
                problem(&init(&format!("{field}{policy}"))),
                format!(
                    "spec.initContainers[0].{name}: Forbidden: may not be set for init containers without \
                     restartPolicy=Always"
                )
            );
        }
        assert!(said("{name: n}", &init(&format!("{field}, restartPolicy: Always"))).is_empty(), "a sidecar may");
    }
}

#[test]
fn validation_26_security_contexts() {
    assert_eq!(
        container_problem("securityContext: {runAsUser: -1}"),
        "securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive"
    );
    assert_eq!(
        container_problem("securityContext: {privileged: true, allowPrivilegeEscalation: false}"),
        "securityContext: Invalid value: \"\": cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
    );
    assert_eq!(
        container_problem("securityContext: {procMount: Unmasked}"),
        "securityContext.procMount: Invalid value: \"Unmasked\": `hostUsers` must be false to use `Unmasked`"
    );
}

#[test]
fn validation_27_bidirectional_needs_privilege() {
    assert_eq!(
        container_problem("volumeMounts: [{name: v, mountPath: /d, mountPropagation: Bidirectional}]"),
        "volumeMounts[0].mountPropagation: Forbidden: Bidirectional mount propagation is available only to privileged \
         containers"
    );
}

#[test]
fn validation_28_ports_on_the_host_network() {
    assert_eq!(
        problem("{hostNetwork: true, containers: [{name: a, image: b, ports: [{containerPort: 80, hostPort: 81}]}]}"),
        "spec.containers[0].ports[0].hostPort: Invalid value: 81: must match `containerPort` when `hostNetwork` is true"
    );
}

#[test]
fn validation_30_a_sleep_ends_within_the_grace_and_a_signal_needs_the_system() {
    assert_eq!(
        container_problem("lifecycle: {preStop: {sleep: {seconds: 31}}}"),
        "lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than terminationGracePeriodSeconds (30)"
    );
    assert_eq!(
        container_problem("lifecycle: {stopSignal: SIGINT}"),
        "lifecycle.stopSignal: Forbidden: may not be set for containers with empty `spec.os.name`"
    );
    for signal in ["SIGINT", "SIGRTMIN", "SIGRTMIN+3", "SIGRTMAX-1"] {
        let spec = format!(
            "{{os: {{name: linux}}, containers: [{{name: a, image: b, lifecycle: {{stopSignal: {signal}}}}}]}}"
        );
        assert_eq!(problems(&spec), Vec::<String>::new(), "{signal}");
    }
    assert_eq!(
        problem("{os: {name: linux}, containers: [{name: a, image: b, lifecycle: {stopSignal: SIGNAL}}]}"),
        "spec.containers[0].lifecycle.stopSignal: Invalid value: \"SIGNAL\": must be the name of a signal, as in SIGTERM or SIGRTMIN+3"
    );
}

#[test]
fn validation_33_a_bad_quantity() {
    assert!(
        container_problem("resources: {requests: {cpu: 1x}}").starts_with(
            "resources.requests[cpu]: Invalid value: \"1x\": quantities must match the regular expression"
        )
    );
}

#[test]
fn r1_restart_rules_stand_beside_a_policy() {
    let rule = |rule: &str| format!("restartPolicy: Never, restartPolicyRules: [{rule}]");
    assert!(
        said("{name: n}", &with_container(&rule("{action: Restart, exitCodes: {operator: In, values: [42]}}")))
            .is_empty()
    );
    assert_eq!(
        container_problem("restartPolicyRules: [{action: Restart, exitCodes: {operator: In, values: [1]}}]"),
        "restartPolicy: Required value: must specify restartPolicy when restart rules are used"
    );
    assert_eq!(
        container_problem(&rule("{action: Stop, exitCodes: {operator: In, values: [1]}}")),
        "restartPolicyRules[0].action: Unsupported value: \"Stop\": supported values: \"Restart\", \"RestartAllContainers\""
    );
    assert_eq!(
        container_problem(&rule("{action: Restart, exitCodes: {operator: Is, values: [1]}}")),
        "restartPolicyRules[0].exitCodes.operator: Unsupported value: \"Is\": supported values: \"In\", \"NotIn\""
    );
    let many = vec!["{action: Restart, exitCodes: {operator: In, values: [1]}}"; 21].join(", ");
    assert_eq!(container_problem(&rule(&many)), "restartPolicyRules: Too many: 21: must have at most 20 items");
}
