//! Probes and hooks out of a manifest.

use std::{collections::HashMap, time::Duration};

use super::{
    expand,
    written::{self, ContainerPort, Variable},
};
use crate::{
    Error, Result,
    lifecycle::handler::{Handler, Hook, HttpGet, Port, Probe, Scheme, TcpSocket},
};

/// What probes and hooks need to know of their container.
pub(super) struct Context {
    ports: HashMap<String, u16>,
    environment: HashMap<String, String>,
}

impl Context {
    pub(super) fn new(ports: Vec<ContainerPort>, environment: Vec<Variable>) -> Self {
        Self {
            ports: ports.into_iter().filter_map(|port| Some((port.name?, port.container_port?))).collect(),
            environment: environment
                .into_iter()
                .filter_map(|variable| Some((variable.name?, variable.value.unwrap_or_default())))
                .collect(),
        }
    }

    pub(super) fn probe(&self, path: &str, written: written::Probe) -> Result<Probe> {
        let number = |name: &str, value: Option<i64>, default: u32| match value {
            // 0 is what a client writes that does not know the default.
            None | Some(0) => Ok(default),
            Some(value) => u32::try_from(value)
                .map_err(|_| Error::invalid(format!("{path}.{name}"), value, "must be greater than or equal to 0")),
        };
        let seconds =
            |name: &str, value, default| Ok::<_, Error>(Duration::from_secs(number(name, value, default)?.into()));
        let handler = written.handler;
        Ok(Probe {
            initial_delay: seconds("initialDelaySeconds", written.initial_delay_seconds, 0)?,
            timeout: seconds("timeoutSeconds", written.timeout_seconds, 1)?,
            period: seconds("periodSeconds", written.period_seconds, 10)?,
            success_threshold: number("successThreshold", written.success_threshold, 1)?,
            failure_threshold: number("failureThreshold", written.failure_threshold, 3)?,
            grace: match written.termination_grace_period_seconds {
                None => None,
                grace => Some(seconds("terminationGracePeriodSeconds", grace, 0)?),
            },
            handler: if let Some(exec) = handler.exec {
                let command = exec.command.unwrap_or_default();
                Handler::Exec { command: command.iter().map(|word| expand::expand(word, &self.environment)).collect() }
            } else if let Some(get) = handler.http_get {
                Handler::HttpGet(self.http_get(&format!("{path}.httpGet"), get)?)
            } else if let Some(socket) = handler.tcp_socket {
                Handler::TcpSocket(self.tcp_socket(socket))
            } else if let Some(grpc) = handler.grpc {
                Handler::Grpc {
                    port: grpc
                        .port
                        .ok_or_else(|| Error::invalid(format!("{path}.grpc.port"), "\"\"", "is required"))?,
                    service: grpc.service.unwrap_or_default(),
                }
            } else {
                return Err(Error::invalid(path, "{}", "must specify a handler type"));
            },
        })
    }

    pub(super) fn hook(&self, path: &str, written: written::Handler) -> Result<Hook> {
        if let Some(exec) = written.exec {
            Ok(Hook::Exec { command: exec.command.unwrap_or_default() })
        } else if let Some(get) = written.http_get {
            Ok(Hook::HttpGet(self.http_get(&format!("{path}.httpGet"), get)?))
        } else if let Some(sleep) = written.sleep {
            let length = u64::try_from(sleep.seconds.unwrap_or_default()).unwrap_or_default();
            Ok(Hook::Sleep { length: Duration::from_secs(length) })
        } else if let Some(socket) = written.tcp_socket {
            Ok(Hook::TcpSocket(self.tcp_socket(socket)))
        } else {
            Err(Error::invalid(path, "{}", "must specify a handler type"))
        }
    }

    fn http_get(&self, path: &str, written: written::HttpGet) -> Result<HttpGet> {
        let scheme = written.scheme.filter(|scheme| !scheme.is_empty()).unwrap_or_else(|| "HTTP".into());
        let headers = written.http_headers.unwrap_or_default().into_iter();
        Ok(HttpGet {
            host: written.host.filter(|host| !host.is_empty()),
            port: self.port(written.port),
            path: written.path.filter(|path| !path.is_empty()).unwrap_or_else(|| "/".into()),
            scheme: match scheme.as_str() {
                "HTTP" => Scheme::Http,
                "HTTPS" => Scheme::Https,
                _ => {
                    let known = "supported values: \"HTTP\", \"HTTPS\"";
                    return Err(Error::invalid(format!("{path}.scheme"), super::quoted(&scheme), known));
                }
            },
            headers: headers.map(|h| (h.name.unwrap_or_default(), h.value.unwrap_or_default())).collect(),
        })
    }

    fn tcp_socket(&self, written: written::TcpSocket) -> TcpSocket {
        TcpSocket { host: written.host.filter(|host| !host.is_empty()), port: self.port(written.port) }
    }

    /// A number is taken as it is; a name is one of the container's ports, or a number after all.
    fn port(&self, written: Option<written::Port>) -> Port {
        let valid = |number: i64| u16::try_from(number).ok().filter(|number| *number > 0);
        match written {
            None => Port::Unknown(String::new()),
            Some(written::Port::Number(number)) => {
                valid(number).map_or_else(|| Port::Unknown(number.to_string()), Port::Number)
            }
            Some(written::Port::Name(name)) => {
                let found = self.ports.get(&name).copied().or_else(|| name.parse().ok().and_then(valid));
                found.map_or(Port::Unknown(name), Port::Number)
            }
        }
    }
}
