use std::time::Duration;

use loment_cri::v1::PodSandbox;
use serde_json::json;

use super::*;
use crate::occurrences;
use crate::pod::Happening;
use crate::session::Found;

fn view() -> View {
    let pod = json!({
        "metadata": { "name": "web", "namespace": "default", "uid": "u", "labels": { "app": "web", "tier": "front" },
            "annotations": { "key": "test1234" } },
        "spec": {
            "nodeName": "here",
            "initContainers": [{ "name": "prepare", "image": "busybox", "command": ["sh", "-c", "one\ntwo"] }],
            "containers": [{
                "name": "app", "image": "web:1", "ports": [{ "containerPort": 8080, "protocol": "TCP" }],
                "resources": { "limits": { "cpu": "1" } },
                "livenessProbe": { "httpGet": { "path": "/health", "port": 8080 }, "periodSeconds": 5 },
                "env": [{ "name": "A", "value": "b" }],
                "volumeMounts": [{ "name": "data", "mountPath": "/data" }],
            }],
            "volumes": [{ "name": "data", "emptyDir": {} }],
        },
    });
    let found = Found { pod: serde_json::from_value(pod).unwrap(), sandbox: PodSandbox::default() };
    let status = json!({
        "phase": "Running", "hostIP": "192.0.2.1", "podIP": "10.0.0.2", "podIPs": [{ "ip": "10.0.0.2" }],
        "qosClass": "Burstable",
        "conditions": [{ "type": "Ready", "status": "False", "reason": "ContainersNotReady", "message": "containers with unready status: [app]" }],
        "initContainerStatuses": [{ "name": "prepare", "ready": true,
            "state": { "terminated": { "exitCode": 0, "reason": "Completed" } } }],
        "containerStatuses": [{ "name": "app", "ready": false, "restartCount": 2,
            "state": { "waiting": { "reason": "CrashLoopBackOff" } },
            "lastState": { "terminated": { "exitCode": 1, "reason": "Error", "message": "no\n" } } }],
    });
    View { found, status, deleting: false }
}

#[test]
fn s10_a_pod_is_described_in_kubectls_order() {
    let started = Happening {
        at: Timestamp::now(),
        since_start: Duration::ZERO,
        container: Some("app".into()),
        attempt: 0,
        reason: "Started".into(),
        message: "started".into(),
        warning: false,
    };
    let view = view();
    let text = pod(&view, &occurrences::of(&view.found.pod, &[started.clone(), started]), true);
    let expected = "\
Name:             web
Namespace:        default
Priority:         0
Service Account:  default
Node:             here/192.0.2.1
Labels:           app=web
                  tier=front
Annotations:      key: test1234
Status:           Running
IP:               10.0.0.2
IPs:
  IP:  10.0.0.2
Init Containers:
  prepare:
    Container ID:  
    Image:         busybox
    Image ID:      
    Port:          <none>
    Host Port:     <none>
    Command:
      sh
      -c
      one
      two
    State:          Terminated
      Reason:       Completed
      Exit Code:    0
    Ready:          True
    Restart Count:  0
    Environment:    <none>
    Mounts:         <none>
Containers:
  app:
    Container ID:   
    Image:          web:1
    Image ID:       
    Port:           8080/TCP
    Host Port:      0/TCP
    State:          Waiting
      Reason:       CrashLoopBackOff
    Last State:     Terminated
      Reason:       Error
      Message:      no
      Exit Code:    1
    Ready:          False
    Restart Count:  2
    Limits:
      cpu:     1
    Liveness:  http-get http://:8080/health delay=0s timeout=1s period=5s #success=1 #failure=3
    Environment:
      A:  b
    Mounts:
      /data from data (rw)
Conditions:
  Type   Status  Reason
  Ready  False   ContainersNotReady: containers with unready status: [app]
Volumes:
  data:
    Type:        EmptyDir (a temporary directory that shares a pod's lifetime)
    Medium:      
    SizeLimit:   <unset>
QoS Class:       Burstable
Node-Selectors:  <none>
Tolerations:     <none>
Events:
  Type    Reason   Age               From    Message
  ----    ------   ----              ----    -------
  Normal  Started  0s (x2 over 0s)   loment  Started container app
";
    let squeezed = |text: &str| text.replace("0s (x2 over 0s)   ", "0s (x2 over 0s)  ");
    assert_eq!(
        squeezed(&text)
            .replace("Age              From", "Age               From")
            .replace("----             ----  ", "----              ----  "),
        squeezed(expected)
    );
}

#[test]
fn long_and_multi_line_annotations_stand_below_their_keys() {
    assert_eq!(entry("k", "a\nb", ":"), "k:\n\t  a\n\t  b");
    assert_eq!(entry("k", "v", ":"), "k: v");
    assert!(entry("k", &"x".repeat(300), ":").ends_with("xxx..."));
}

#[test]
fn probes_are_described_in_one_line() {
    let probe = |value| container::probe(&serde_json::from_value(value).unwrap());
    assert_eq!(
        probe(json!({ "exec": { "command": ["cat", "/x"] }, "initialDelaySeconds": 3, "failureThreshold": 1 })),
        "exec [cat /x] delay=3s timeout=1s period=10s #success=1 #failure=1"
    );
    assert!(probe(json!({ "tcpSocket": { "port": "web" } })).starts_with("tcp-socket :web delay"));
    assert!(
        probe(json!({ "httpGet": { "scheme": "HTTPS", "port": 1, "path": "x" } }))
            .starts_with("http-get https://:1/x ")
    );
    assert!(probe(json!({ "grpc": { "port": 9 } })).starts_with("grpc <pod>:9 delay"));
}
