//! Probes, hooks and termination messages as a manifest has them (A2, A11, A12, P3, P6, P7).

use std::time::Duration;

use loment_sandbox::lifecycle::{
    ContainerSpec, PodSpec,
    handler::{Handler, Hook, HttpGet, Port, Probe, Scheme, TcpSocket},
    restart::{RestartRule, RuleAction},
    spec::TerminationMessage,
};
use serde_json::{Value, json};

/// The container of a pod, with these fields beside its name.
fn read(fields: &Value) -> loment_sandbox::Result<ContainerSpec> {
    let mut container = json!({"name": "web", "ports": [
        {"name": "http", "containerPort": 8080}, {"name": "metrics", "containerPort": 9090}, {"containerPort": 1}]});
    container.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let other = json!({"name": "other", "ports": [{"name": "elsewhere", "containerPort": 7070}]});
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [container, other]}});
    PodSpec::from_manifest(&pod.to_string()).map(|pod| pod.containers[0].clone())
}

fn probe(written: &Value) -> Probe {
    read(&json!({"livenessProbe": written})).unwrap().liveness.unwrap()
}

fn refused(fields: &Value) -> String {
    read(fields).unwrap_err().to_string()
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[test]
fn a12_what_a_probe_does_not_say_is_as_kubernetes_defaults_it() {
    let expected = Probe {
        handler: Handler::HttpGet(HttpGet {
            host: None,
            port: Port::Number(80),
            path: "/".into(),
            scheme: Scheme::Http,
            headers: vec![],
        }),
        initial_delay: Duration::ZERO,
        timeout: secs(1),
        period: secs(10),
        success_threshold: 1,
        failure_threshold: 3,
        grace: None,
    };
    assert_eq!(probe(&json!({"httpGet": {"port": 80}})), expected);
    let nulls = json!({"httpGet": {"port": 80, "host": "", "path": null, "scheme": "", "httpHeaders": null},
        "exec": null, "initialDelaySeconds": null, "timeoutSeconds": 0, "periodSeconds": 0, "successThreshold": null,
        "failureThreshold": 0, "terminationGracePeriodSeconds": null});
    assert_eq!(probe(&nulls), expected, "0 is what a client writes that does not know the default");
}

#[test]
fn every_field_of_a_probe_is_read() {
    let written = json!({
        "httpGet": {"host": "example.com", "port": 8443, "path": "/healthz?full", "scheme": "HTTPS",
            "httpHeaders": [{"name": "X-A", "value": "1"}, {"name": "X-A", "value": "2"}]},
        "initialDelaySeconds": 3, "timeoutSeconds": 4, "periodSeconds": 5, "successThreshold": 6,
        "failureThreshold": 7, "terminationGracePeriodSeconds": 8});
    let header = |value: &str| ("X-A".to_owned(), value.to_owned());
    assert_eq!(
        probe(&written),
        Probe {
            handler: Handler::HttpGet(HttpGet {
                host: Some("example.com".into()),
                port: Port::Number(8443),
                path: "/healthz?full".into(),
                scheme: Scheme::Https,
                headers: vec![header("1"), header("2")],
            }),
            initial_delay: secs(3),
            timeout: secs(4),
            period: secs(5),
            success_threshold: 6,
            failure_threshold: 7,
            grace: Some(secs(8)),
        }
    );
}

#[test]
fn each_kind_of_probe_and_each_place_of_one_is_read() {
    let spec = read(&json!({
        "startupProbe": {"tcpSocket": {"port": 22, "host": "10.0.0.1"}},
        "livenessProbe": {"grpc": {"port": 5000, "service": "db"}},
        "readinessProbe": {"grpc": {"port": 5000}}}))
    .unwrap();
    let tcp = TcpSocket { host: Some("10.0.0.1".into()), port: Port::Number(22) };
    assert_eq!(spec.startup.unwrap().handler, Handler::TcpSocket(tcp));
    assert_eq!(spec.liveness.unwrap().handler, Handler::Grpc { port: 5000, service: "db".into() });
    assert_eq!(spec.readiness.unwrap().handler, Handler::Grpc { port: 5000, service: String::new() });
}

#[test]
fn p6_the_arguments_of_an_exec_probe_are_expanded_with_the_literal_environment_and_those_of_a_hook_are_not() {
    let command = json!(["test", "$(FILE)", "$(SECRET)-", "$(UNKNOWN)", "$$(FILE)"]);
    let spec = read(&json!({
        "env": [{"name": "FILE", "value": "/ready"}, {"name": "SECRET", "valueFrom": {"secretKeyRef": {}}}],
        "livenessProbe": {"exec": {"command": command}},
        "lifecycle": {"postStart": {"exec": {"command": command}}}}))
    .unwrap();
    let words = |words: [&str; 5]| words.map(str::to_owned).to_vec();
    let expanded = words(["test", "/ready", "-", "$(UNKNOWN)", "$(FILE)"]);
    assert_eq!(spec.liveness.unwrap().handler, Handler::Exec { command: expanded });
    let written = words(["test", "$(FILE)", "$(SECRET)-", "$(UNKNOWN)", "$$(FILE)"]);
    assert_eq!(spec.post_start.unwrap(), Hook::Exec { command: written });
}

#[test]
fn p7_a_port_is_named_by_the_ports_of_the_same_container() {
    let port = |port: Value| match probe(&json!({"tcpSocket": {"port": port}})).handler {
        Handler::TcpSocket(socket) => socket.port,
        other => panic!("{other:?}"),
    };
    assert_eq!(port(json!("metrics")), Port::Number(9090));
    assert_eq!(port(json!("8081")), Port::Number(8081), "a number in quotes");
    for bad in [json!("elsewhere"), json!("http2"), json!("0"), json!("65536")] {
        assert_eq!(port(bad.clone()), Port::Unknown(bad.as_str().unwrap().into()));
    }
    assert_eq!(port(json!(70000)), Port::Unknown("70000".into()));
}

#[test]
fn each_kind_of_hook_is_read() {
    let hooks = |post_start: Value, pre_stop: Value| {
        let spec = read(&json!({"lifecycle": {"postStart": post_start, "preStop": pre_stop}})).unwrap();
        (spec.post_start.unwrap(), spec.pre_stop.unwrap())
    };
    let (sleep, get) = hooks(json!({"sleep": {"seconds": 5}}), json!({"httpGet": {"port": "http", "path": "/drain"}}));
    assert_eq!(sleep, Hook::Sleep { length: secs(5) });
    assert!(matches!(get, Hook::HttpGet(HttpGet { port: Port::Number(8080), path, .. }) if path == "/drain"));
    let (tcp, exec) = hooks(json!({"tcpSocket": {"port": 1}}), json!({"exec": {"command": ["sh"]}}));
    assert_eq!(tcp, Hook::TcpSocket(TcpSocket { host: None, port: Port::Number(1) }));
    assert_eq!(exec, Hook::Exec { command: vec!["sh".into()] });
}

#[test]
fn a11_where_a_container_leaves_its_message_is_read() {
    let message = |fields: Value| read(&fields).unwrap().termination_message;
    assert_eq!(
        message(json!({})),
        TerminationMessage { path: "/dev/termination-log".into(), fall_back_to_logs: false }
    );
    let written = json!({"terminationMessagePath": "/tmp/said", "terminationMessagePolicy": "FallbackToLogsOnError"});
    assert_eq!(message(written), TerminationMessage { path: "/tmp/said".into(), fall_back_to_logs: true });
    assert!(!message(json!({"terminationMessagePolicy": "File"})).fall_back_to_logs);
}

#[test]
fn r4_a_rule_may_restart_all_containers() {
    let rule = json!({"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [42]}});
    let spec = read(&json!({"restartPolicy": "Never", "restartPolicyRules": [rule]})).unwrap();
    let expected = RestartRule { action: RuleAction::RestartAllContainers, negated: false, codes: vec![42] };
    assert_eq!(spec.restart_rules, [expected]);
}

#[test]
fn what_is_wrong_with_a_probe_or_a_hook_is_refused_with_its_place() {
    for (fields, place) in [
        (json!({"livenessProbe": {}}), "spec.containers[0].livenessProbe"),
        (
            json!({"readinessProbe": {"httpGet": {"scheme": "ftp"}}}),
            "spec.containers[0].readinessProbe.httpGet.scheme \"ftp\"",
        ),
        (
            json!({"startupProbe": {"exec": {}, "periodSeconds": -1}}),
            "spec.containers[0].startupProbe.periodSeconds -1",
        ),
        (json!({"livenessProbe": {"grpc": {}}}), "spec.containers[0].livenessProbe.grpc.port"),
        (json!({"lifecycle": {"preStop": {}}}), "spec.containers[0].lifecycle.preStop"),
        (json!({"terminationMessagePolicy": "Never"}), "spec.containers[0].terminationMessagePolicy \"Never\""),
    ] {
        let error = refused(&fields);
        assert!(error.starts_with(place), "{fields}: {error}");
    }
}

#[test]
fn the_annotations_that_limit_restarts_and_keep_sidecars_are_read() {
    let read = |annotations: Value| {
        let pod = json!({"metadata": {"name": "p", "generation": 4, "annotations": annotations},
            "spec": {"containers": [{"name": "web"}]}});
        PodSpec::from_manifest(&pod.to_string())
    };
    let spec =
        read(json!({"io.loment.pod.max-restarts": "3", "io.loment.pod.restart-sidecars-while-stopping": "true"}));
    let spec = spec.unwrap();
    assert_eq!((spec.max_restarts, spec.restart_sidecars_while_stopping, spec.generation), (Some(3), true, 4));
    let plain = read(json!({})).unwrap();
    assert_eq!((plain.max_restarts, plain.restart_sidecars_while_stopping), (None, false));
    for name in ["io.loment.pod.max-restarts", "io.loment.pod.restart-sidecars-while-stopping"] {
        for bad in ["", "many", "-1"] {
            let error = read(json!({name: bad})).unwrap_err().to_string();
            assert!(error.starts_with(&format!("metadata.annotations[{name}] {bad:?}")), "{error}");
        }
    }
}
