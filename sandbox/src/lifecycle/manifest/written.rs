//! The part of a `v1.Pod` that is read, as it is written. Every field may be absent or null.

use std::collections::BTreeMap;

use serde::Deserialize;

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Pod {
    pub(super) kind: Option<String>,
    pub(super) metadata: Option<Metadata>,
    pub(super) spec: Option<Spec>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Metadata {
    pub(super) name: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) uid: Option<String>,
    pub(super) generation: Option<i64>,
    pub(super) annotations: Option<BTreeMap<String, Option<String>>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    pub(super) restart_policy: Option<String>,
    pub(super) termination_grace_period_seconds: Option<i64>,
    pub(super) active_deadline_seconds: Option<i64>,
    pub(super) readiness_gates: Option<Vec<Gate>>,
    pub(super) init_containers: Option<Vec<Container>>,
    pub(super) containers: Option<Vec<Container>>,
    pub(super) resources: Option<Resources>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Gate {
    pub(super) condition_type: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Container {
    pub(super) name: Option<String>,
    pub(super) image: Option<String>,
    pub(super) env: Option<Vec<Variable>>,
    pub(super) ports: Option<Vec<ContainerPort>>,
    pub(super) restart_policy: Option<String>,
    pub(super) restart_policy_rules: Option<Vec<Rule>>,
    pub(super) lifecycle: Option<Lifecycle>,
    pub(super) liveness_probe: Option<Probe>,
    pub(super) readiness_probe: Option<Probe>,
    pub(super) startup_probe: Option<Probe>,
    pub(super) resources: Option<Resources>,
    pub(super) termination_message_path: Option<String>,
    pub(super) termination_message_policy: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Variable {
    pub(super) name: Option<String>,
    pub(super) value: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ContainerPort {
    pub(super) name: Option<String>,
    pub(super) container_port: Option<u16>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Rule {
    pub(super) action: Option<String>,
    pub(super) exit_codes: Option<ExitCodes>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ExitCodes {
    pub(super) operator: Option<String>,
    pub(super) values: Option<Vec<u32>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Lifecycle {
    pub(super) post_start: Option<Handler>,
    pub(super) pre_stop: Option<Handler>,
    pub(super) stop_signal: Option<String>,
}

/// What a probe and a hook have in common; each reads what it can be.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Handler {
    pub(super) exec: Option<Exec>,
    pub(super) http_get: Option<HttpGet>,
    pub(super) tcp_socket: Option<TcpSocket>,
    pub(super) grpc: Option<Grpc>,
    pub(super) sleep: Option<Sleep>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Probe {
    #[serde(flatten)]
    pub(super) handler: Handler,
    pub(super) initial_delay_seconds: Option<i64>,
    pub(super) timeout_seconds: Option<i64>,
    pub(super) period_seconds: Option<i64>,
    pub(super) success_threshold: Option<i64>,
    pub(super) failure_threshold: Option<i64>,
    pub(super) termination_grace_period_seconds: Option<i64>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Exec {
    pub(super) command: Option<Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct HttpGet {
    pub(super) host: Option<String>,
    pub(super) port: Option<Port>,
    pub(super) path: Option<String>,
    pub(super) scheme: Option<String>,
    pub(super) http_headers: Option<Vec<Header>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Header {
    pub(super) name: Option<String>,
    pub(super) value: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct TcpSocket {
    pub(super) host: Option<String>,
    pub(super) port: Option<Port>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Grpc {
    pub(super) port: Option<u16>,
    pub(super) service: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Sleep {
    pub(super) seconds: Option<i64>,
}

/// A number or a name.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Port {
    Number(i64),
    Name(String),
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Resources {
    pub(super) requests: Option<BTreeMap<String, Quantity>>,
    pub(super) limits: Option<BTreeMap<String, Quantity>>,
}

/// JSON allows a bare number where a quantity is meant.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Quantity {
    Text(String),
    Number(serde_json::Number),
    Null(()),
}
