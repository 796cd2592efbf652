//! What is asked, and what the answer is.

use std::{process::ExitCode, time::Duration};

use serde::{Deserialize, Serialize};

use crate::address::authority;

/// A question to a server.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Question {
    /// What is asked.
    #[serde(flatten)]
    pub(crate) ask: Ask,
    /// Milliseconds that it may take; absent is as long as it takes.
    #[serde(default)]
    pub(crate) timeout_ms: Option<u64>,
    /// Whether a hook is carried out: then any answer of the server is success.
    #[serde(default)]
    pub(crate) hook: bool,
}

/// What is asked.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Ask {
    /// A page.
    Http(Http),
    /// gRPC's health service.
    Grpc(Grpc),
    /// No more than a connection. (To an address the shim connects by itself; names it leaves to this program.)
    Tcp(Tcp),
}

/// `httpGet` of a probe or a hook.
#[derive(Debug, Deserialize)]
pub(crate) struct Http {
    /// Name or address.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// With its query; empty is `/`.
    #[serde(default)]
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) https: bool,
    /// Names and values, in order.
    #[serde(default)]
    pub(crate) headers: Vec<(String, String)>,
}

/// `grpc` of a probe.
#[derive(Debug, Deserialize)]
pub(crate) struct Grpc {
    /// Name or address.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Which service; empty is the server as a whole.
    #[serde(default)]
    pub(crate) service: String,
}

/// `tcpSocket` of a probe.
#[derive(Debug, Deserialize)]
pub(crate) struct Tcp {
    /// Name or address.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Ask {
    /// What it means that there was no answer in time.
    pub(crate) fn timed_out(&self, limit: Duration) -> Answer {
        let limit = limit.as_secs_f64();
        Answer::failure(match self {
            Self::Http(_) => format!("no answer within {limit}s: context deadline exceeded"),
            Self::Grpc(_) => format!("timeout: health rpc did not complete within {limit}s"),
            Self::Tcp(Tcp { host, port }) => format!("dial tcp {}: i/o timeout", authority(host, *port)),
        })
    }
}

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Outcome {
    /// As it should be.
    Success,
    /// As it should be, and something is to be told.
    Warning,
    /// Not as it should be.
    Failure,
    /// It could not be asked.
    Error,
}

impl Outcome {
    /// The program's exit code for it.
    pub(crate) fn exit_code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Success | Self::Warning => 0,
            Self::Failure => 1,
            Self::Error => 2,
        })
    }
}

/// What is told.
#[derive(Debug, Serialize)]
pub(crate) struct Answer {
    pub(crate) outcome: Outcome,
    pub(crate) message: String,
}

impl Answer {
    pub(crate) fn success(message: String) -> Self {
        Self { outcome: Outcome::Success, message }
    }

    pub(crate) fn warning(message: String) -> Self {
        Self { outcome: Outcome::Warning, message }
    }

    pub(crate) fn failure(message: String) -> Self {
        Self { outcome: Outcome::Failure, message }
    }

    pub(crate) fn error(message: String) -> Self {
        Self { outcome: Outcome::Error, message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_json_with_what_is_asked_as_a_key() {
        let text = r#"{"http":{"host":"10.0.0.1","port":8080,"path":"/x","headers":[["A","b"]]},"timeoutMs":1000}"#;
        let question: Question = serde_json::from_str(text).unwrap();
        let Ask::Http(http) = question.ask else { panic!("{:?}", question.ask) };
        assert_eq!((http.host.as_str(), http.port, http.path.as_str(), http.https), ("10.0.0.1", 8080, "/x", false));
        assert_eq!((question.timeout_ms, question.hook), (Some(1000), false));
        let question: Question = serde_json::from_str(r#"{"grpc":{"host":"::1","port":5000}}"#).unwrap();
        assert!(matches!(question.ask, Ask::Grpc(Grpc { port: 5000, ref service, .. }) if service.is_empty()));
    }

    #[test]
    fn an_answer_is_one_line_of_json() {
        let line = serde_json::to_string(&Answer::failure("two\nlines".into())).unwrap();
        assert_eq!(line, r#"{"outcome":"failure","message":"two\nlines"}"#);
    }
}
