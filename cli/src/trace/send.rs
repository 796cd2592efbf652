//! Handing a trace to a collector: OTLP over HTTP, its JSON form, at `/v1/traces`.

use std::time::Duration;

use anyhow::{Context as _, bail};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Request, Uri, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// What a collector may take for its answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How much of an answer is read.
const LONGEST_ANSWER: usize = 64 * 1024;

/// Sends a request to the collector at `endpoint`, as in `http://localhost:4318`; the path is added unless it has one.
///
/// Errors: the endpoint is no such URL, nobody listens there, or the collector refuses, in its own words.
pub(crate) async fn send(endpoint: &str, request: &Value) -> anyhow::Result<()> {
    let endpoint: Uri = endpoint.parse().with_context(|| format!("{endpoint:?} is no URL"))?;
    let (Some(host), Some("http")) = (endpoint.host(), endpoint.scheme_str()) else {
        bail!(
            "collector {endpoint}: expected http://HOST[:PORT] (a collector behind TLS is reached through a local one)"
        );
    };
    let sent = tokio::time::timeout(PATIENCE, post(&endpoint, host, request)).await;
    sent.unwrap_or_else(|_| bail!("no answer within {} s", PATIENCE.as_secs()))
        .with_context(|| format!("send the trace to {endpoint}"))
}

async fn post(endpoint: &Uri, host: &str, request: &Value) -> anyhow::Result<()> {
    let port = endpoint.port_u16().unwrap_or(4318);
    let stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await.context("connect")?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let path = if endpoint.path() == "/" { "/v1/traces" } else { endpoint.path() };
    let post = Request::post(path)
        .header(header::HOST, format!("{host}:{port}"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(serde_json::to_vec(request)?)))?;
    // What befalls the connection befalls the exchange too.
    tokio::spawn(connection);
    let answer = sender.send_request(post).await?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), LONGEST_ANSWER).collect().await;
    let body = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).trim().to_owned()).unwrap_or_default();
    if status.is_success() { Ok(()) } else { bail!("{status} {body}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    /// Sends to somebody who answers like this; what he has got.
    async fn sent_to(answer: &str, path: &str) -> (anyhow::Result<()>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}{path}", listener.local_addr().unwrap());
        let collector = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut got = String::new();
            while !got.ends_with("{\"a\":1}") {
                let mut buffer = [0; 1024];
                let count = stream.read(&mut buffer).await.unwrap();
                assert_ne!(count, 0, "the whole request is sent: {got}");
                got.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            got
        };
        let request = json!({ "a": 1 });
        tokio::join!(send(&endpoint, &request), collector)
    }

    #[tokio::test]
    async fn a_collector_gets_json_at_its_path() {
        let (sent, got) = sent_to("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", "").await;
        sent.unwrap();
        assert!(got.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{got}");
        assert!(got.contains("content-type: application/json\r\n"), "{got}");
        let (_, got) = sent_to("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "/otlp/v1/traces").await;
        assert!(got.starts_with("POST /otlp/v1/traces "), "{got}");
    }

    /// What OTLP's JSON form says of each field: `opentelemetry-proto`, `docs/specification.md`, "JSON Protobuf Encoding".
    #[tokio::test]
    async fn a_collector_can_read_the_whole_of_a_trace() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let collector = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut got = Vec::new();
            loop {
                assert_ne!(stream.read_buf(&mut got).await.unwrap(), 0, "the whole request is sent");
                let text = String::from_utf8(got.clone()).unwrap_or_default();
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
                if body.len() == length.parse::<usize>().unwrap() {
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
                    return serde_json::from_str::<Value>(body).unwrap();
                }
            }
        };
        let request = super::super::otlp::request(&super::super::tests::trace());
        let (sent, got) = tokio::join!(send(&endpoint, &request), collector);
        sent.unwrap();
        let resource = &got["resourceSpans"][0];
        let service = json!({ "key": "service.name", "value": { "stringValue": "containerd-shim-loment-v2" } });
        assert!(resource["resource"]["attributes"].as_array().unwrap().contains(&service), "{resource}");
        let spans = resource["scopeSpans"][0]["spans"].as_array().unwrap();
        assert!(spans.len() > 10, "{} spans", spans.len());
        let is_hex = |value: &Value, digits| {
            value.as_str().is_some_and(|id| id.len() == digits && id.bytes().all(|digit| digit.is_ascii_hexdigit()))
        };
        let is_time = |value: &Value| value.as_str().is_some_and(|nanos| nanos.parse::<u64>().is_ok());
        for span in spans {
            assert!(is_hex(&span["traceId"], 32) && is_hex(&span["spanId"], 16), "{span}");
            assert!(span["parentSpanId"] == "" || is_hex(&span["parentSpanId"], 16), "{span}");
            assert!(is_time(&span["startTimeUnixNano"]) && is_time(&span["endTimeUnixNano"]), "{span}");
            assert!(span["kind"].is_u64() && !span["name"].as_str().unwrap().is_empty(), "{span}");
        }
    }

    #[tokio::test]
    async fn a_refusal_is_told_in_the_collectors_words() {
        let (sent, _) = sent_to("HTTP/1.1 400 Bad Request\r\ncontent-length: 8\r\n\r\nno spans", "").await;
        let error = format!("{:#}", sent.unwrap_err());
        assert!(error.ends_with(": 400 Bad Request no spans"), "{error}");
    }

    #[tokio::test]
    async fn what_is_no_collector_is_told() {
        for (endpoint, expected) in
            [("localhost", "expected http://"), ("https://localhost", "TLS"), ("h t", "is no URL")]
        {
            let error = format!("{:#}", send(endpoint, &json!({})).await.unwrap_err());
            assert!(error.contains(expected), "{error}");
        }
    }
}
