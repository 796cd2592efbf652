//! `grpc`: `grpc.health.v1.Health/Check` over HTTP/2 in clear.
//! <https://github.com/grpc/grpc/blob/master/doc/health-checking.md>

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;

use crate::{
    address,
    question::{Answer, Grpc},
};

/// `grpc.health.v1.HealthCheckRequest`.
#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

/// `grpc.health.v1.HealthCheckResponse`.
#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckResponse {
    #[prost(enumeration = "ServingStatus", tag = "1")]
    status: i32,
}

/// `grpc.health.v1.HealthCheckResponse.ServingStatus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
enum ServingStatus {
    Unknown = 0,
    Serving = 1,
    NotServing = 2,
    ServiceUnknown = 3,
}

impl ServingStatus {
    fn name(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN",
            Self::Serving => "SERVING",
            Self::NotServing => "NOT_SERVING",
            Self::ServiceUnknown => "SERVICE_UNKNOWN",
        }
    }
}

/// Status codes of gRPC that are told apart.
const OK: &str = "0";
const UNIMPLEMENTED: &str = "12";
/// A message before its bytes: not compressed, and its length.
const PREFIX: usize = 5;
/// The longest answer that is read; a right one has two bytes.
const LONGEST: usize = 4096;

/// Asks, and says what came of it.
pub(crate) async fn ask(request: &Grpc) -> Answer {
    let place = address::authority(&request.host, request.port);
    let stream = match address::connect(&request.host, request.port).await {
        Ok(stream) => stream,
        Err(reason) => return Answer::failure(format!("error: failed to connect service at {place:?}: {reason}")),
    };
    match check(stream, &place, &request.service).await {
        Ok(Checked { code, message, .. }) if code == UNIMPLEMENTED => Answer::failure(format!(
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {message}"
        )),
        Ok(Checked { code, message, .. }) if code != OK => {
            Answer::failure(format!("error: health rpc probe failed: status {code}: {message}"))
        }
        Ok(Checked { status: ServingStatus::Serving, .. }) => Answer::success("service healthy".into()),
        Ok(Checked { status, .. }) => {
            Answer::failure(format!("service unhealthy (responded with {:?})", status.name()))
        }
        Err(reason) => Answer::failure(format!("error: health rpc probe failed: {reason}")),
    }
}

/// What a server said.
struct Checked {
    /// Status of the call.
    code: String,
    message: String,
    status: ServingStatus,
}

async fn check(stream: tokio::net::TcpStream, place: &str, service: &str) -> Result<Checked, String> {
    let words = |error: hyper::Error| error.to_string();
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(words)?;
    tokio::spawn(connection);
    let call = Request::post(format!("http://{place}/grpc.health.v1.Health/Check"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .header(header::USER_AGENT, "kube-probe/1.36")
        .body(Full::new(framed(&HealthCheckRequest { service: service.to_owned() })))
        .map_err(|error| error.to_string())?;
    answer(sender.send_request(call).await.map_err(words)?).await
}

async fn answer(response: Response<Incoming>) -> Result<Checked, String> {
    if !response.status().is_success() {
        return Err(format!("unexpected HTTP status {}", response.status()));
    }
    // An error without a message comes with the status among the headers.
    let mut trailers = response.headers().clone();
    let (mut body, mut bytes) = (response.into_body(), Vec::new());
    while let Some(frame) = body.frame().await {
        match frame.map_err(|error| error.to_string())?.into_data() {
            Ok(data) if bytes.len() + data.len() <= LONGEST => bytes.extend_from_slice(&data),
            Ok(_) => return Err("the answer is too long".into()),
            Err(frame) => trailers.extend(frame.into_trailers().unwrap_or_default()),
        }
    }
    let text = |name: &str| text(&trailers, name);
    let code = text("grpc-status").ok_or("the answer is none of gRPC: it has no grpc-status")?;
    let message = text("grpc-message").unwrap_or_default();
    let status = if code == OK { status(&bytes)? } else { ServingStatus::Unknown };
    Ok(Checked { code, message, status })
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

fn framed(message: &HealthCheckRequest) -> Bytes {
    let mut bytes = BytesMut::with_capacity(PREFIX + message.encoded_len());
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(message.encoded_len()).unwrap_or_default());
    bytes.put_slice(&message.encode_to_vec());
    bytes.freeze()
}

fn status(bytes: &[u8]) -> Result<ServingStatus, String> {
    let message = bytes.get(PREFIX..).filter(|_| bytes.first() == Some(&0)).ok_or("the answer has no message")?;
    let response = HealthCheckResponse::decode(message).map_err(|error| error.to_string())?;
    Ok(ServingStatus::try_from(response.status).unwrap_or(ServingStatus::Unknown))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_framed_as_grpc_wants_it() {
        let bytes = framed(&HealthCheckRequest { service: "db".into() });
        assert_eq!(&bytes[..], [0, 0, 0, 0, 4, 0x0a, 2, b'd', b'b']);
        assert_eq!(&framed(&HealthCheckRequest::default())[..], [0, 0, 0, 0, 0]);
    }

    #[test]
    fn an_answer_says_whether_it_serves() {
        assert_eq!(status(&[0, 0, 0, 0, 2, 0x08, 1]), Ok(ServingStatus::Serving));
        assert_eq!(status(&[0, 0, 0, 0, 2, 0x08, 2]), Ok(ServingStatus::NotServing));
        assert_eq!(status(&[0, 0, 0, 0, 0]), Ok(ServingStatus::Unknown));
        assert!(status(&[]).is_err() && status(&[1, 0, 0, 0, 0]).is_err());
    }
}
