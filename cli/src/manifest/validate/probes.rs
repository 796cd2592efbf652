//! Rules for probes.

use k8s_openapi::api::core::v1::{Container, ExecAction, GRPCAction, HTTPGetAction, PodSpec, Probe, TCPSocketAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::errors::{Errors, quoted};
use super::names::check_port_name;
use super::ports::{RANGE, is_port};

/// What a probe or a hook does; at most one of them may be given.
#[derive(Clone, Copy, Default)]
pub(super) struct Handlers<'a> {
    pub(super) exec: Option<&'a ExecAction>,
    pub(super) http_get: Option<&'a HTTPGetAction>,
    pub(super) tcp_socket: Option<&'a TCPSocketAction>,
    pub(super) grpc: Option<&'a GRPCAction>,
    pub(super) sleep: Option<i64>,
}

pub(super) fn check(errors: &mut Errors, path: &str, container: &Container, spec: &PodSpec) {
    let probes = [
        ("livenessProbe", &container.liveness_probe),
        ("readinessProbe", &container.readiness_probe),
        ("startupProbe", &container.startup_probe),
    ];
    for (name, probe) in probes {
        let Some(probe) = probe else { continue };
        let path = format!("{path}.{name}");
        check_probe(errors, &path, probe, spec);
        let grace = format!("{path}.terminationGracePeriodSeconds");
        if name == "readinessProbe" {
            if let Some(seconds) = probe.termination_grace_period_seconds {
                errors.invalid(&grace, seconds, "must not be set for readinessProbes");
            }
            continue;
        }
        if let Some(threshold) = probe.success_threshold.filter(|threshold| *threshold != 1) {
            errors.invalid(&format!("{path}.successThreshold"), threshold, "must be 1");
        }
        if let Some(seconds) = probe.termination_grace_period_seconds.filter(|seconds| *seconds <= 0) {
            errors.invalid(&grace, seconds, "must be greater than 0");
        }
    }
}

fn check_probe(errors: &mut Errors, path: &str, probe: &Probe, spec: &PodSpec) {
    let handlers = Handlers {
        exec: probe.exec.as_ref(),
        http_get: probe.http_get.as_ref(),
        tcp_socket: probe.tcp_socket.as_ref(),
        grpc: probe.grpc.as_ref(),
        sleep: None,
    };
    check_handlers(errors, path, handlers, spec);
    let numbers = [
        ("initialDelaySeconds", probe.initial_delay_seconds),
        ("timeoutSeconds", probe.timeout_seconds),
        ("periodSeconds", probe.period_seconds),
        ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ];
    for (field, number) in numbers {
        if let Some(number) = number.filter(|number| *number < 0) {
            errors.invalid(&format!("{path}.{field}"), number, "must be greater than or equal to 0");
        }
    }
}

pub(super) fn check_handlers(errors: &mut Errors, path: &str, handlers: Handlers<'_>, spec: &PodSpec) {
    let given = [
        ("exec", handlers.exec.is_some()),
        ("httpGet", handlers.http_get.is_some()),
        ("tcpSocket", handlers.tcp_socket.is_some()),
        ("grpc", handlers.grpc.is_some()),
        ("sleep", handlers.sleep.is_some()),
    ];
    let given: Vec<&str> = given.iter().filter(|(_, set)| *set).map(|(name, _)| *name).collect();
    if given.is_empty() {
        return errors.required(path, "must specify a handler type");
    }
    for name in given.iter().skip(1) {
        errors.forbidden(&format!("{path}.{name}"), "may not specify more than 1 handler type");
    }
    // Of several handlers only the first is looked into, as the others are wrong anyway.
    let path = format!("{path}.{}", given.first().unwrap_or(&""));
    if let Some(exec) = handlers.exec {
        if exec.command.iter().flatten().next().is_none() {
            errors.required(&format!("{path}.command"), "");
        }
    } else if let Some(http) = handlers.http_get {
        check_http(errors, &path, http);
    } else if let Some(tcp) = handlers.tcp_socket {
        check_port(errors, &format!("{path}.port"), &tcp.port);
    } else if let Some(grpc) = handlers.grpc {
        check_number(errors, &format!("{path}.port"), grpc.port);
        errors.refuse(&format!("{path}.mode"), grpc.mode.is_some(), super::pod::ALPHA);
    } else if let Some(seconds) = handlers.sleep {
        let grace = spec.termination_grace_period_seconds.unwrap_or(30);
        if !(0..=grace).contains(&seconds) {
            let detail = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
            errors.invalid(&path, seconds, &detail);
        }
    }
}

fn check_http(errors: &mut Errors, path: &str, http: &HTTPGetAction) {
    if http.path.as_deref().unwrap_or_default().is_empty() {
        errors.required(&format!("{path}.path"), "");
    }
    check_port(errors, &format!("{path}.port"), &http.port);
    let scheme = http.scheme.as_deref().unwrap_or_default();
    if !["HTTP", "HTTPS"].contains(&scheme) {
        errors.unsupported(&format!("{path}.scheme"), scheme, &["HTTP", "HTTPS"]);
    }
    errors.refuse(&format!("{path}.protocol"), http.protocol.is_some(), super::pod::ALPHA);
    for (index, header) in http.http_headers.iter().flatten().enumerate() {
        let name = &header.name;
        if name.is_empty() || !name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-') {
            let detail = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex \
                          used for validation is '[-A-Za-z0-9]+')";
            errors.invalid(&format!("{path}.httpHeaders[{index}].name"), quoted(name), detail);
        }
    }
}

fn check_port(errors: &mut Errors, path: &str, port: &IntOrString) {
    match port {
        IntOrString::Int(number) => check_number(errors, path, *number),
        IntOrString::String(name) if name.is_empty() => errors.required(path, ""),
        IntOrString::String(name) => check_port_name(errors, path, name),
    }
}

fn check_number(errors: &mut Errors, path: &str, number: i32) {
    if !is_port(number) {
        errors.invalid(path, number, RANGE);
    }
}
