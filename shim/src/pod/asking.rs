//! Probes and hooks, carried out: in the container, or from its network. Never with a tool of the image.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use loment_sandbox::lifecycle::{
    Outcome,
    handler::{Handler, Hook, HttpGet, Port, Probe, Scheme, TcpSocket},
};
use serde_json::json;

use super::{host::Host, prober};
use crate::{failure::Result, task::Task};

impl Host {
    /// Carries out a probe once.
    pub(super) async fn probe(self: Arc<Self>, task: Arc<Task>, probe: Probe) -> Outcome {
        let limit = probe.timeout;
        match &probe.handler {
            Handler::Exec { command } => exec_probe(&task, command, limit).await,
            Handler::HttpGet(get) => self.http(&task, get, Some(limit)).await,
            Handler::TcpSocket(socket) => self.tcp(&task, socket, limit).await,
            Handler::Grpc { port, service } => {
                let question = |host: String| json!({"grpc": {"host": host, "port": port, "service": service}});
                self.ask(&task, None, question, Some(limit)).await
            }
        }
    }

    /// Carries out a hook to its end. Why it failed, if it did.
    pub(super) async fn hook(self: Arc<Self>, task: Arc<Task>, hook: Hook) -> Option<String> {
        match &hook {
            Hook::Sleep { length } => {
                tokio::time::sleep(*length).await;
                None
            }
            Hook::Exec { command } => match task.run_within(command).await {
                Ok(captured) if captured.exit.code == 0 => None,
                Ok(captured) => {
                    let said = String::from_utf8_lossy(&captured.output);
                    Some(format!("command {:?} exited with {}: {said}", command.join(" "), captured.exit.code))
                }
                Err(failure) => Some(failure.message),
            },
            Hook::HttpGet(get) => match self.http(&task, get, None).await {
                Outcome::Success | Outcome::Warning(_) => None,
                Outcome::Failure(message) | Outcome::Error(message) => Some(message),
            },
            Hook::TcpSocket(_) => Some("a hook cannot be a tcpSocket: write exec, httpGet or sleep".into()),
        }
    }

    /// `limit`: of a probe; without one it is a hook.
    async fn http(&self, task: &Task, get: &HttpGet, limit: Option<Duration>) -> Outcome {
        let port = match number(&get.port) {
            Ok(port) => port,
            Err(unknown) => return unknown,
        };
        let question = |host: String| {
            let (path, headers, https) = (&get.path, &get.headers, get.scheme == Scheme::Https);
            json!({
                "http": {"host": host, "port": port, "path": path, "https": https, "headers": headers},
                "hook": limit.is_none(),
            })
        };
        self.ask(task, get.host.as_deref(), question, limit).await
    }

    async fn tcp(&self, task: &Task, socket: &TcpSocket, limit: Duration) -> Outcome {
        let port = match number(&socket.port) {
            Ok(port) => port,
            Err(unknown) => return unknown,
        };
        let address = match socket.host.as_deref().map(str::parse::<IpAddr>) {
            None => self.address(),
            Some(Ok(address)) => Ok(address),
            // Looking up a name may take long, and waits: it is not for this thread.
            Some(Err(_)) => {
                let question = |host: String| json!({"tcp": {"host": host, "port": port}});
                return self.ask(task, socket.host.as_deref(), question, Some(limit)).await;
            }
        };
        let to = match address {
            Ok(address) => SocketAddr::new(address, port),
            Err(failure) => return Outcome::Error(failure.message),
        };
        match tokio::time::timeout(limit, self.connect(to)).await {
            Ok(Ok(None)) => Outcome::Success,
            Ok(Ok(Some(reason))) => Outcome::Failure(format!("dial tcp {to}: connect: {reason}")),
            Ok(Err(failure)) => Outcome::Error(failure.message),
            Err(_) => Outcome::Failure(format!("dial tcp {to}: i/o timeout")),
        }
    }

    /// Connects from the pod's network, and hangs up. Answers with the reason when nobody takes it.
    async fn connect(&self, to: SocketAddr) -> Result<Option<String>> {
        let stream = match self.network()?.connect(to) {
            Ok(stream) => tokio::net::TcpStream::from_std(stream),
            // A route that is missing is told at once.
            Err(error) => return Ok(Some(error.errno().map_or_else(|| error.to_string(), in_words))),
        };
        let failed = |error: &std::io::Error| crate::failure::Failure::io("connect to", to, error);
        let stream = stream.map_err(|error| failed(&error))?;
        stream.writable().await.map_err(|error| failed(&error))?;
        let refused = stream.take_error().map_err(|error| failed(&error))?;
        Ok(refused.map(|error| {
            error.raw_os_error().map_or_else(|| error.to_string(), |raw| in_words(nix::errno::Errno::from_raw(raw)))
        }))
    }

    /// Has the prober ask, from the pod's network; whom is not named is the pod itself.
    async fn ask(
        &self,
        task: &Task,
        host: Option<&str>,
        question: impl FnOnce(String) -> serde_json::Value,
        limit: Option<Duration>,
    ) -> Outcome {
        let asked = self.network().and_then(|network| {
            let host =
                host.map_or_else(|| self.address().map(|address| address.to_string()), |host| Ok(host.to_owned()));
            Ok((network, question(host?)))
        });
        match asked {
            Ok((network, question)) => prober::ask(task.shared_shim(), &network, question, limit).await,
            Err(failure) => Outcome::Error(failure.message),
        }
    }
}

async fn exec_probe(task: &Task, command: &[String], limit: Duration) -> Outcome {
    match tokio::time::timeout(limit, task.run_within(command)).await {
        Ok(Ok(captured)) if captured.exit.code == 0 => Outcome::Success,
        Ok(Ok(captured)) => Outcome::Failure(String::from_utf8_lossy(&captured.output).into_owned()),
        Ok(Err(failure)) => Outcome::Error(failure.message),
        Err(_) => Outcome::Failure(format!("command {:?} timed out after {}s", command.join(" "), limit.as_secs_f64())),
    }
}

fn number(port: &Port) -> std::result::Result<u16, Outcome> {
    match port {
        Port::Number(number) => Ok(*number),
        Port::Unknown(name) => {
            Err(Outcome::Error(format!("couldn't find port: {name:?} is neither a number nor a port of the container")))
        }
    }
}

fn in_words(errno: nix::errno::Errno) -> String {
    errno.desc().to_lowercase()
}
