//! The containers of a pod.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, EnvVar, HTTPGetAction, Lifecycle, LifecycleHandler, Probe, VolumeMount};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use super::{Lines, rfc1123, text};
use crate::print::view::View;

pub(super) fn all(lines: &mut Lines, view: &View) {
    let spec = view.found.pod.spec.clone().unwrap_or_default();
    let inits = spec.init_containers.unwrap_or_default();
    for (title, containers) in [("Init Containers", inits), ("Containers", spec.containers)] {
        if containers.is_empty() {
            continue;
        }
        lines.add(0, format!("{title}:"));
        for container in &containers {
            let status = view.container_statuses().find(|status| status["name"] == *container.name);
            one(lines, container, status.unwrap_or(&Value::Null));
        }
    }
}

fn one(lines: &mut Lines, container: &Container, status: &Value) {
    lines.add(1, format!("{}:", container.name));
    lines.field(2, "Container ID", text(status, "containerID").unwrap_or_default());
    lines.field(2, "Image", container.image.as_deref().unwrap_or_default());
    lines.field(2, "Image ID", text(status, "imageID").unwrap_or_default());
    ports(lines, container);
    words(lines, "Command", container.command.as_ref());
    words(lines, "Args", container.args.as_ref());
    if let Some(policy) = &container.restart_policy {
        lines.field(2, "Restart Policy", policy);
    }
    state(lines, "State", &status["state"]);
    if status["lastState"]["terminated"].is_object() {
        state(lines, "Last State", &status["lastState"]);
    }
    lines.field(2, "Ready", if status["ready"] == true { "True" } else { "False" });
    lines.field(2, "Restart Count", status["restartCount"].as_u64().unwrap_or(0));
    let resources = container.resources.clone().unwrap_or_default();
    amounts(lines, "Limits", resources.limits.as_ref());
    amounts(lines, "Requests", resources.requests.as_ref());
    let probes = [
        ("Liveness", &container.liveness_probe),
        ("Readiness", &container.readiness_probe),
        ("Startup", &container.startup_probe),
    ];
    for (name, probe) in probes {
        if let Some(probe) = probe {
            lines.field(2, name, self::probe(probe));
        }
    }
    hooks(lines, container.lifecycle.as_ref());
    environment(lines, container);
    mounts(lines, container.volume_mounts.as_deref().unwrap_or_default());
}

fn ports(lines: &mut Lines, container: &Container) {
    let ports = container.ports.as_deref().unwrap_or_default();
    let protocol = |port: &k8s_openapi::api::core::v1::ContainerPort| port.protocol.clone().unwrap_or("TCP".to_owned());
    let inner: Vec<String> = ports
        .iter()
        .map(|port| {
            let name = port.name.as_ref().map_or_else(String::new, |name| format!(" ({name})"));
            format!("{}/{}{name}", port.container_port, protocol(port))
        })
        .collect();
    let outer: Vec<String> =
        ports.iter().map(|port| format!("{}/{}", port.host_port.unwrap_or(0), protocol(port))).collect();
    let (one, many) = if ports.len() > 1 { ("Ports", "Host Ports") } else { ("Port", "Host Port") };
    let shown = |all: Vec<String>| if all.is_empty() { "<none>".to_owned() } else { all.join(", ") };
    lines.field(2, one, shown(inner));
    lines.field(2, many, shown(outer));
}

fn words(lines: &mut Lines, name: &str, words: Option<&Vec<String>>) {
    let Some(words) = words.filter(|words| !words.is_empty()) else { return };
    lines.add(2, format!("{name}:"));
    for word in words {
        word.lines().for_each(|line| lines.add(3, line));
    }
}

fn state(lines: &mut Lines, name: &str, state: &Value) {
    let (kind, details) = match state {
        state if state["running"].is_object() => ("Running", &state["running"]),
        state if state["waiting"].is_object() => ("Waiting", &state["waiting"]),
        state if state["terminated"].is_object() => ("Terminated", &state["terminated"]),
        _ => ("Waiting", &Value::Null),
    };
    lines.field(2, name, kind);
    for (name, key) in [("Reason", "reason"), ("Message", "message")] {
        if let Some(value) = text(details, key) {
            lines.field(3, name, value.trim_end());
        }
    }
    if kind == "Terminated" {
        lines.field(3, "Exit Code", &details["exitCode"]);
        if let Some(signal) = details["signal"].as_u64().filter(|signal| *signal > 0) {
            lines.field(3, "Signal", signal);
        }
    }
    for (name, key) in [("Started", "startedAt"), ("Finished", "finishedAt")] {
        if let Some(time) = text(details, key) {
            lines.field(3, name, rfc1123(time));
        }
    }
}

fn amounts(lines: &mut Lines, name: &str, amounts: Option<&BTreeMap<String, Quantity>>) {
    let Some(amounts) = amounts.filter(|amounts| !amounts.is_empty()) else { return };
    lines.add(2, format!("{name}:"));
    amounts.iter().for_each(|(resource, amount)| lines.field(3, resource, &amount.0));
}

/// `http-get http://:8080/ delay=0s timeout=1s period=10s #success=1 #failure=3`
pub(super) fn probe(probe: &Probe) -> String {
    let number = |value: Option<i32>, default: i32| value.unwrap_or(default);
    let handler = if let Some(exec) = &probe.exec {
        format!("exec [{}]", exec.command.clone().unwrap_or_default().join(" "))
    } else if let Some(get) = &probe.http_get {
        format!("http-get {}", url(get))
    } else if let Some(tcp) = &probe.tcp_socket {
        format!("tcp-socket {}:{}", tcp.host.as_deref().unwrap_or_default(), port(&tcp.port))
    } else if let Some(grpc) = &probe.grpc {
        format!("grpc <pod>:{} {}", grpc.port, grpc.service.as_deref().unwrap_or_default()).trim_end().to_owned()
    } else {
        "unknown".to_owned()
    };
    format!(
        "{handler} delay={}s timeout={}s period={}s #success={} #failure={}",
        number(probe.initial_delay_seconds, 0),
        number(probe.timeout_seconds, 1),
        number(probe.period_seconds, 10),
        number(probe.success_threshold, 1),
        number(probe.failure_threshold, 3)
    )
}

fn port(port: &IntOrString) -> String {
    match port {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(name) => name.clone(),
    }
}

fn url(get: &HTTPGetAction) -> String {
    let scheme = get.scheme.as_deref().unwrap_or("HTTP").to_lowercase();
    let path = get.path.as_deref().unwrap_or("/");
    let slash = if path.starts_with('/') { "" } else { "/" };
    format!("{scheme}://{}:{}{slash}{path}", get.host.as_deref().unwrap_or_default(), port(&get.port))
}

fn hooks(lines: &mut Lines, lifecycle: Option<&Lifecycle>) {
    let Some(lifecycle) = lifecycle else { return };
    for (name, hook) in [("Post Start", &lifecycle.post_start), ("Pre Stop", &lifecycle.pre_stop)] {
        if let Some(hook) = hook {
            lines.field(2, name, handler(hook));
        }
    }
    if let Some(signal) = &lifecycle.stop_signal {
        lines.field(2, "Stop Signal", signal);
    }
}

fn handler(hook: &LifecycleHandler) -> String {
    if let Some(exec) = &hook.exec {
        return format!("exec [{}]", exec.command.clone().unwrap_or_default().join(" "));
    }
    if let Some(get) = &hook.http_get {
        return format!("http-get {}", url(get));
    }
    hook.sleep.as_ref().map_or("unknown".to_owned(), |sleep| format!("sleep {}s", sleep.seconds))
}

fn environment(lines: &mut Lines, container: &Container) {
    let from: Vec<String> = container
        .env_from
        .iter()
        .flatten()
        .filter_map(|source| {
            let (name, kind, optional) = match (&source.config_map_ref, &source.secret_ref) {
                (Some(map), _) => (&map.name, "ConfigMap", map.optional),
                (None, Some(secret)) => (&secret.name, "Secret", secret.optional),
                (None, None) => return None,
            };
            let prefix = source.prefix.as_ref().map_or_else(String::new, |prefix| format!(" with prefix '{prefix}'"));
            Some(format!("{name}\t{kind}{prefix}\tOptional: {}", optional == Some(true)))
        })
        .collect();
    if !from.is_empty() {
        lines.add(2, "Environment Variables from:");
        from.iter().for_each(|line| lines.add(3, line));
    }
    let variables = container.env.as_deref().unwrap_or_default();
    if variables.is_empty() {
        lines.field(2, "Environment", "<none>");
        return;
    }
    lines.add(2, "Environment:");
    variables.iter().for_each(|one| lines.field(3, &one.name, variable(one)));
}

fn variable(variable: &EnvVar) -> String {
    let Some(source) = &variable.value_from else { return variable.value.clone().unwrap_or_default() };
    let key = |kind: &str, key: &str, name: &str, optional: Option<bool>| {
        format!("<set to the key '{key}' in {kind} '{name}'>\tOptional: {}", optional == Some(true))
    };
    if let Some(field) = &source.field_ref {
        return format!("({}:{})", field.api_version.as_deref().unwrap_or("v1"), field.field_path);
    }
    if let Some(field) = &source.resource_field_ref {
        return field.resource.clone();
    }
    if let Some(from) = &source.config_map_key_ref {
        return key("config map", &from.key, &from.name, from.optional);
    }
    source.secret_key_ref.as_ref().map_or_else(String::new, |from| key("secret", &from.key, &from.name, from.optional))
}

fn mounts(lines: &mut Lines, mounts: &[VolumeMount]) {
    if mounts.is_empty() {
        lines.field(2, "Mounts", "<none>");
        return;
    }
    lines.add(2, "Mounts:");
    let mut mounts: Vec<&VolumeMount> = mounts.iter().collect();
    mounts.sort_by(|a, b| a.mount_path.cmp(&b.mount_path));
    for mount in mounts {
        let mut flags = vec![if mount.read_only == Some(true) { "ro" } else { "rw" }.to_owned()];
        flags.extend(mount.sub_path.as_ref().map(|path| format!("path={path:?}")));
        flags.extend(mount.sub_path_expr.as_ref().map(|path| format!("path={path:?}")));
        lines.add(3, format!("{} from {} ({})", mount.mount_path, mount.name, flags.join(",")));
    }
}
