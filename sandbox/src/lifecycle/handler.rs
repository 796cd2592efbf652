//! Probes and hooks: what is asked of a container while it runs.

use std::{fmt, time::Duration};

/// A probe of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What is done.
    pub handler: Handler,
    /// Not before this much has passed since the container started.
    pub initial_delay: Duration,
    /// How long one attempt may take; the host sees to it.
    pub timeout: Duration,
    /// Time from one attempt to the next.
    pub period: Duration,
    /// So many successes in a row make it succeed.
    pub success_threshold: u32,
    /// So many failures in a row make it fail.
    pub failure_threshold: u32,
    /// `terminationGracePeriodSeconds` of the probe: replaces the pod's when its failure ends the container.
    pub grace: Option<Duration>,
}

/// How a container is probed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handler {
    /// A program in the container; 0 is success.
    Exec {
        /// Its arguments, with the container's literal environment filled in.
        command: Vec<String>,
    },
    /// A request; 200 to 399 is success.
    HttpGet(HttpGet),
    /// A connection; being made is success.
    TcpSocket(TcpSocket),
    /// `grpc.health.v1.Health/Check`; `SERVING` is success.
    Grpc {
        /// The port.
        port: u16,
        /// The service asked for, often empty.
        service: String,
    },
}

/// A hook of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hook {
    /// A program in the container; 0 is success. Its arguments are taken as they are written.
    Exec {
        /// Its arguments.
        command: Vec<String>,
    },
    /// A request; any answer is success.
    HttpGet(HttpGet),
    /// Nothing, for a while.
    Sleep {
        /// For how long.
        length: Duration,
    },
    /// Kept in the API for old manifests: it has no meaning and fails when it is run.
    TcpSocket(TcpSocket),
}

/// A request over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpGet {
    /// Where to; `None` is the pod's address.
    pub host: Option<String>,
    /// The port.
    pub port: Port,
    /// Path and query, `/` when there is none.
    pub path: String,
    /// With or without TLS.
    pub scheme: Scheme,
    /// Headers in their order; one name may come more than once.
    pub headers: Vec<(String, String)>,
}

/// A connection over TCP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpSocket {
    /// Where to; `None` is the pod's address.
    pub host: Option<String>,
    /// The port.
    pub port: Port,
}

/// A port as a probe or hook names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Port {
    /// A number, or a name that the container has among its ports.
    Number(u16),
    /// What names no port of the container: an error each time it is used.
    Unknown(String),
}

/// Of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// In clear.
    Http,
    /// With TLS; the server's certificate is not verified.
    Https,
}

/// Which of a container's probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProbeKind {
    /// Whether it has started: until then the others wait, and what waits for the container does.
    Startup,
    /// Whether it is to be started again.
    Liveness,
    /// Whether it is ready to serve.
    Readiness,
}

/// Which of a container's hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HookKind {
    /// Beside the program as soon as that runs.
    PostStart,
    /// Before the stop signal.
    PreStop,
}

/// How an attempt at a probe ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It succeeded.
    Success,
    /// It succeeded, and there is something to say about it: a redirect to another host.
    Warning(String),
    /// It failed: the wrong answer, none in time, or no connection.
    Failure(String),
    /// It could not be made: a port that has no number, no way to run a program in the container.
    Error(String),
}

impl fmt::Display for ProbeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl fmt::Display for HookKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}
