//! What is read from a manifest, and what is refused.

use std::time::Duration;

use loment_sandbox::lifecycle::{
    Backoff, PodSpec, RestartPolicy,
    qos::QosClass,
    restart::{RestartRule, RuleAction},
};
use proptest::prelude::{ProptestConfig, proptest};
use serde_json::{Value, json};

fn read(manifest: &Value) -> loment_sandbox::Result<PodSpec> {
    PodSpec::from_manifest(&manifest.to_string())
}

/// A pod with one container, changed by a JSON merge.
fn with(changes: &Value) -> Value {
    fn merge(into: &mut Value, from: &Value) {
        match (into, from) {
            (Value::Object(into), Value::Object(from)) => {
                for (key, value) in from {
                    merge(into.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
            (into, from) => *into = from.clone(),
        }
    }
    let mut pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "web", "image": "busybox"}]}});
    merge(&mut pod, changes);
    pod
}

#[test]
fn the_manifest_of_the_notes_is_read_with_its_empty_and_null_fields() {
    let spec = read(&json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"creationTimestamp": null, "labels": {"run": "busybox"}, "name": "busybox"},
        "spec": {
            "containers": [
                {"args": ["bin/sh", "-c", "ls; sleep 3600"], "image": "busybox", "name": "busybox1", "resources": {}},
                {"args": ["bin/sh", "-c", "sleep 3600"], "image": "busybox", "name": "busybox2", "resources": {}}],
            "dnsPolicy": "ClusterFirst", "restartPolicy": "Never"},
        "status": {}
    }))
    .unwrap();
    assert_eq!((&*spec.name, &*spec.namespace, &*spec.uid), ("busybox", "default", ""));
    assert_eq!(spec.restart_policy, RestartPolicy::Never);
    assert_eq!(spec.containers.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["busybox1", "busybox2"]);
    assert_eq!(spec.qos, QosClass::BestEffort);
}

#[test]
fn a12_what_is_not_said_is_as_kubernetes_defaults_it() {
    let spec = read(&with(&json!({}))).unwrap();
    assert_eq!(spec.restart_policy, RestartPolicy::Always);
    assert_eq!(spec.grace, Duration::from_secs(30));
    assert_eq!(spec.active_deadline, None);
    assert_eq!(spec.backoff, Backoff::default());
    assert_eq!(spec.containers[0].stop_signal, 15);
}

#[test]
fn every_field_may_be_null() {
    let nulls = json!({
        "kind": null, "status": null,
        "metadata": {"namespace": null, "uid": null, "annotations": null},
        "spec": {"restartPolicy": null, "terminationGracePeriodSeconds": null, "activeDeadlineSeconds": null,
            "readinessGates": null, "initContainers": null, "resources": null,
            "containers": [{"name": "web", "image": null, "restartPolicy": null, "restartPolicyRules": null,
                "lifecycle": null, "resources": {"limits": null, "requests": {"cpu": null}}}]}
    });
    assert_eq!(read(&with(&nulls)).unwrap().containers[0].name, "web");
}

#[test]
fn what_the_machine_follows_is_read() {
    let spec = read(&with(&json!({
        "metadata": {"namespace": "ns", "uid": "u"},
        "spec": {"terminationGracePeriodSeconds": 5, "activeDeadlineSeconds": 60,
            "readinessGates": [{"conditionType": "example.com/gate"}],
            "containers": [{"name": "web", "restartPolicy": "Never", "lifecycle": {"stopSignal": "SIGUSR1"},
                "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "NotIn", "values": [1, 2]}}]}]}
    })))
    .unwrap();
    assert_eq!((&*spec.namespace, &*spec.uid), ("ns", "u"));
    assert_eq!((spec.grace, spec.active_deadline), (Duration::from_secs(5), Some(Duration::from_secs(60))));
    assert_eq!(spec.readiness_gates, ["example.com/gate"]);
    assert_eq!(spec.containers[0].restart_policy, Some(RestartPolicy::Never));
    assert_eq!(
        spec.containers[0].restart_rules,
        [RestartRule { action: RuleAction::Restart, negated: true, codes: vec![1, 2] }]
    );
    assert_eq!(spec.containers[0].stop_signal, 10);
}

#[test]
fn stop_signals_are_read_by_name() {
    let signal = |name: &str| {
        read(&with(&json!({"spec": {"containers": [{"name": "web", "lifecycle": {"stopSignal": name}}]}})))
            .map(|spec| spec.containers[0].stop_signal)
    };
    for (name, number) in
        [("SIGTERM", 15), ("SIGQUIT", 3), ("SIGWINCH", 28), ("SIGRTMIN", 34), ("SIGRTMIN+3", 37), ("SIGRTMAX-1", 63)]
    {
        assert_eq!(signal(name).unwrap(), number, "{name}");
    }
    for name in ["", "TERM", "15", "SIGNOPE", "SIGRTMIN+31", "SIGRTMIN-1", "SIGRTMAX+1", "SIGRTMIN+x"] {
        let error = signal(name).unwrap_err().to_string();
        assert!(error.starts_with("spec.containers[0].lifecycle.stopSignal"), "{error}");
    }
}

#[test]
fn i9_the_back_off_is_read_from_annotations() {
    let backoff =
        |annotations: Value| read(&with(&json!({"metadata": {"annotations": annotations}}))).map(|spec| spec.backoff);
    let millis = Duration::from_millis;
    let curve = backoff(json!({
        "io.loment.pod.backoff-initial": "200ms",
        "io.loment.pod.backoff-max": "1m30s",
        "io.loment.pod.backoff-reset": "1h"
    }));
    assert_eq!(curve.unwrap(), Backoff { initial: millis(200), max: millis(90_000), reset: millis(3_600_000) });
    let lowered = backoff(json!({"io.loment.pod.backoff-max": "4s"})).unwrap();
    assert_eq!((lowered.initial, lowered.max), (millis(4_000), millis(4_000)));
    let raised = backoff(json!({"io.loment.pod.backoff-initial": "10m"})).unwrap();
    assert_eq!((raised.initial, raised.max), (millis(600_000), millis(600_000)));
    for bad in ["", "0s", "10", "fast", "-1s"] {
        let error = backoff(json!({"io.loment.pod.backoff-initial": bad})).unwrap_err().to_string();
        assert!(error.starts_with("metadata.annotations[io.loment.pod.backoff-initial]"), "{error}");
    }
    let twisted = json!({"io.loment.pod.backoff-initial": "10s", "io.loment.pod.backoff-max": "5s"});
    assert!(backoff(twisted).unwrap_err().to_string().contains("io.loment.pod.backoff-max"));
}

#[test]
fn the_quality_of_service_follows_from_the_resources() {
    let qos = |resources: Value| {
        read(&with(&json!({"spec": {"containers": [{"name": "web", "resources": resources}]}}))).map(|spec| spec.qos)
    };
    assert_eq!(qos(json!({"limits": {"cpu": 1, "memory": "64Mi"}})).unwrap(), QosClass::Guaranteed);
    let equal = json!({"limits": {"cpu": "1", "memory": "64Mi"}, "requests": {"cpu": "1000m", "memory": "65536Ki"}});
    assert_eq!(qos(equal).unwrap(), QosClass::Guaranteed);
    assert_eq!(qos(json!({"requests": {"cpu": "100m"}})).unwrap(), QosClass::Burstable);
    let error = qos(json!({"limits": {"cpu": "1x"}})).unwrap_err().to_string();
    assert!(error.starts_with("spec.containers[0].resources.limits[cpu] \"1x\""), "{error}");
}

#[test]
fn what_is_wrong_is_refused_with_its_place() {
    let apps = |containers: Value| with(&json!({"spec": {"containers": containers}}));
    for (manifest, place) in [
        (with(&json!({"kind": "Deployment"})), "kind \"Deployment\""),
        (with(&json!({"metadata": {"name": null}})), "metadata.name"),
        (with(&json!({"metadata": {"name": ""}})), "metadata.name"),
        (json!({"metadata": {"name": "p"}}), "spec.containers"),
        (apps(json!([])), "spec.containers"),
        (apps(json!([{"image": "busybox"}])), "spec.containers[0].name"),
        (apps(json!([{"name": "a"}, {"name": "a"}])), "spec.containers[1].name \"a\""),
        (with(&json!({"spec": {"initContainers": [{"name": "web"}]}})), "spec.containers[0].name \"web\""),
        (with(&json!({"spec": {"restartPolicy": "always"}})), "spec.restartPolicy \"always\""),
        (apps(json!([{"name": "a", "restartPolicy": "Sometimes"}])), "spec.containers[0].restartPolicy \"Sometimes\""),
        (
            apps(json!([{"name": "a", "restartPolicyRules": [{"action": "Pause"}]}])),
            "spec.containers[0].restartPolicyRules[0].action",
        ),
        (
            apps(
                json!([{"name": "a", "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "Is"}}]}]),
            ),
            "spec.containers[0].restartPolicyRules[0].exitCodes.operator \"Is\"",
        ),
        (with(&json!({"spec": {"containers": "web"}})), "pod manifest"),
        (json!("Pod"), "pod manifest"),
        (json!(null), "pod manifest"),
    ] {
        let error = read(&manifest).unwrap_err().to_string();
        assert!(error.starts_with(place), "{manifest}: {error}");
    }
    assert!(PodSpec::from_manifest("not json").unwrap_err().to_string().contains("line 1"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_it_panic(text in "\\PC*", cut in 0_usize..400) {
        let _ = PodSpec::from_manifest(&text);
        let manifest = with(&serde_json::json!({"metadata": {"annotations": {"io.loment.pod.backoff-max": text.clone()}},
            "spec": {"restartPolicy": "Never", "containers": [{"name": "web", "lifecycle": {"stopSignal": text}}]}}))
        .to_string();
        let _ = PodSpec::from_manifest(&manifest);
        let _ = manifest.get(..cut.min(manifest.len())).map(PodSpec::from_manifest);
    }
}

#[test]
fn a_name_that_looks_like_a_path_is_refused() {
    let long = "x".repeat(256);
    for name in ["..", ".", "../web", "a/b", "/", "a\0b", long.as_str()] {
        let error = read(&with(&json!({"spec": {"containers": [{"name": name}]}}))).unwrap_err().to_string();
        assert!(error.starts_with("spec.containers[0].name ") && error.len() < 300, "{error}");
    }
    assert!(read(&with(&json!({"spec": {"containers": [{"name": "a.b..c"}]}}))).is_ok());
}

#[test]
fn a_manifest_has_a_largest_size_and_a_largest_depth() {
    let padded = |bytes: usize| with(&json!({"metadata": {"annotations": {"a": "x".repeat(bytes)}}}));
    assert!(read(&padded(3 << 20)).is_ok());
    let error = read(&padded(10 << 20)).unwrap_err().to_string();
    assert!(error.contains("longer than the 4 MiB"), "{error}");
    for open in ["[", "{\"a\":"] {
        let error = PodSpec::from_manifest(&open.repeat(100_000)).unwrap_err().to_string();
        assert!(error.contains("pod manifest") && error.len() < 300, "{error}");
    }
}
