//! Rows that concern the pod as a whole.

use super::*;

#[test]
fn validation_01_a_pod_needs_a_name() {
    assert_eq!(
        said("{}", GOOD),
        ["The Pod \"\" is invalid: metadata.name: Required value: name or generateName is required"]
    );
    assert!(said("{generateName: web-}", GOOD).is_empty());
    for prefix in ["../../etc/", "Web-", "a/b", "web."] {
        let said = said(&format!("{{generateName: {prefix:?}}}"), GOOD);
        assert!(said[0].contains("metadata.generateName: Invalid value"), "{said:?}");
    }
}

#[test]
fn validation_02_a_name_is_a_subdomain_and_better_a_label() {
    let said = said("{name: My_Pod}", GOOD);
    assert!(said[0].starts_with(
        "The Pod \"My_Pod\" is invalid: metadata.name: Invalid value: \"My_Pod\": a lowercase RFC 1123 subdomain must"
    ));
    let long = "a".repeat(254);
    assert!(super::said(&format!("{{name: {long}}}"), GOOD)[0].ends_with("must be no more than 253 characters"));
    let warnings = outcome("{name: a.b}", GOOD, &[]).unwrap();
    assert!(warnings[0].starts_with("metadata.name: this is used in the Pod's hostname"), "{warnings:?}");
}

#[test]
fn validation_03_a_pod_needs_containers() {
    assert_eq!(problem("{containers: []}"), "spec.containers: Required value");
}

#[test]
fn validation_08_the_restart_policy_is_spelled_exactly() {
    assert_eq!(
        problem("{restartPolicy: always, containers: [{name: a, image: b}]}"),
        "spec.restartPolicy: Unsupported value: \"always\": supported values: \"Always\", \"OnFailure\", \"Never\""
    );
}

#[test]
fn validation_24_the_deadline_is_positive() {
    assert_eq!(
        spec_problem("activeDeadlineSeconds: 0"),
        "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"
    );
}

#[test]
fn validation_25_annotations_have_a_limit() {
    let large = "x".repeat(256 * 1024);
    assert_eq!(
        said(&format!("{{name: n, annotations: {{a: {large}}}}}"), GOOD),
        ["The Pod \"n\" is invalid: metadata.annotations: Too long: may not be more than 262144 bytes"]
    );
    let just = "x".repeat(256 * 1024 - 1);
    assert!(said(&format!("{{name: n, annotations: {{a: {just}}}}}"), GOOD).is_empty());
}

#[test]
fn an_annotation_that_is_misspelt_is_taken_with_a_warning() {
    let warnings = outcome("{name: n, annotations: {io.loment.pod.max-restart: '3', a: b}}", GOOD, &[]).unwrap();
    assert!(warnings.len() == 1 && warnings[0].contains("did you mean"), "{warnings:?}");
}

#[test]
fn annotations_that_the_shim_would_refuse_are_refused_before() {
    for (annotation, expected) in [
        (
            "io.loment.pod.backoff-initial: 400mr",
            "[io.loment.pod.backoff-initial]: Invalid value: \"400mr\": must be a duration of at least 1ms (write it like 200ms or 1m30s)",
        ),
        ("io.loment.pod.max-restarts: many", "[io.loment.pod.max-restarts]: Invalid value: \"many\": must be a number"),
    ] {
        let metadata = format!("{{name: n, annotations: {{{annotation}}}}}");
        assert_eq!(said(&metadata, GOOD), [format!("The Pod \"n\" is invalid: metadata.annotations{expected}")]);
    }
}

#[test]
fn validation_27_namespaces_that_exclude_each_other() {
    assert_eq!(
        spec_problem("shareProcessNamespace: true, hostPID: true"),
        "spec.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled"
    );
    for field in ["hostPID", "hostIPC", "hostNetwork"] {
        let said = problems(&format!("{{containers: [{{name: a, image: b}}], hostUsers: false, {field}: true}}"));
        assert_eq!(said[0], format!("spec.{field}: Forbidden: when `hostUsers` is false, `{field}` must be false"));
    }
}

#[test]
fn validation_29_a_pod_without_a_resolver_names_one() {
    assert_eq!(
        spec_problem("dnsPolicy: None"),
        "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"
    );
    assert_eq!(
        spec_problem("dnsPolicy: None, dnsConfig: {}"),
        "spec.dnsConfig.nameservers: Required value: must provide at least one DNS nameserver when `dnsPolicy` is None"
    );
    assert_eq!(
        spec_problem("dnsConfig: {nameservers: [192.0.2.1, 192.0.2.2, 192.0.2.3, 192.0.2.4]}"),
        "spec.dnsConfig.nameservers: Invalid value: 4: must not have more than 3 nameservers"
    );
    let many = vec!["a.example"; 33].join(", ");
    assert_eq!(
        spec_problem(&format!("dnsConfig: {{searches: [{many}]}}")),
        "spec.dnsConfig.searches: Invalid value: 33: must not have more than 32 search paths"
    );
}

#[test]
fn a_hostname_is_one_that_the_kernel_keeps() {
    assert!(spec_problem("hostname: A").starts_with("spec.hostname: Invalid value: \"A\": a lowercase RFC 1123 label"));
    let long = "a".repeat(40);
    assert!(
        spec_problem(&format!("hostname: {long}, subdomain: sub, setHostnameAsFQDN: true"))
            .ends_with("is too long (64 characters is the max, 70 characters requested)")
    );
    assert!(
        spec_problem("hostnameOverride: a, setHostnameAsFQDN: true")
            .starts_with("spec.hostnameOverride: Forbidden: may not be set when setHostnameAsFQDN is true")
    );
}

#[test]
fn kernel_parameters_are_safe_allowed_or_refused() {
    let sysctl = |name: &str| format!("securityContext: {{sysctls: [{{name: {name}, value: \"1\"}}]}}");
    let path = "spec.securityContext.sysctls[0].name";
    assert_eq!(
        spec_problem(&sysctl("net.core.somaxconn")),
        format!(
            "{path}: Forbidden: SysctlForbidden: forbidden sysctl: \"net.core.somaxconn\" not allowlisted \
             (--allowed-unsafe-sysctls=net.core.somaxconn allows it)"
        )
    );
    assert_eq!(
        spec_problem(&sysctl("kernel.panic")),
        format!("{path}: Forbidden: SysctlForbidden: sysctl \"kernel.panic\" is not known to be namespaced")
    );
    let allowed = |pattern: &str, name: &str| {
        let spec = format!("{{containers: [{{name: a, image: b}}], {}}}", sysctl(name));
        outcome("{name: n}", &spec, &[pattern.to_owned()]).is_ok()
    };
    assert!(allowed("net.core.somaxconn", "net/core/somaxconn"));
    assert!(allowed("kernel.msg*", "kernel.msgmax"));
    assert!(!allowed("net.core.*", "net.ipv4.ip_forward"));
    assert!(!allowed("*", "kernel.panic"), "what is the machine's stays the machine's");
    assert!(
        spec_problem(&format!("hostNetwork: true, {}", sysctl("net.ipv4.tcp_syncookies")))
            .ends_with("may not be specified when 'hostNetwork' is true")
    );
}

#[test]
fn what_the_pod_shares_is_as_much_as_its_containers_need() {
    let pod = |shared: &str, own: &str| {
        problem(&format!("{{containers: [{{name: a, image: b, resources: {own}}}], resources: {shared}}}"))
    };
    assert_eq!(
        pod("{requests: {cpu: 1}}", "{requests: {cpu: 2}}"),
        "spec.resources.requests[cpu]: Invalid value: \"1\": must be greater than or equal to aggregate container requests of 2"
    );
    assert_eq!(
        pod("{limits: {memory: 1Mi}, requests: {memory: 1Mi}}", "{limits: {memory: 2Mi}, requests: {memory: 1Mi}}"),
        "spec.containers[0].resources.limits[memory]: Invalid value: \"2097152\": must be less than or equal to pod limits \
         of 1Mi"
    );
    assert_eq!(
        spec_problem("resources: {requests: {ephemeral-storage: 1Gi}}").split(": supported").next().unwrap(),
        "spec.resources.requests[ephemeral-storage]: Unsupported value: \"ephemeral-storage\""
    );
}
