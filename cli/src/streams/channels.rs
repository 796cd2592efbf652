//! containerd's streaming server, by WebSocket: each message begins with a byte that says which stream it is of
//! (`v4.channel.k8s.io`).

use anyhow::{Context as _, anyhow, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;

const PROTOCOL: &str = "v4.channel.k8s.io";

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;
const RESIZE: u8 = 4;

/// A connection to the streams of a container.
#[derive(Debug)]
pub(crate) struct Channels {
    socket: WebSocketStream<TcpStream>,
}

/// What has come from a container.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrived {
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    /// The streams have ended.
    End,
}

impl Channels {
    /// Connects to a URL that CRI has answered with.
    pub(crate) async fn connect(url: &str) -> anyhow::Result<Self> {
        let Some(rest) = url.strip_prefix("http://") else {
            bail!(
                "connect to {url}: containerd's streaming server demands TLS (enable_tls_streaming), which is not supported"
            );
        };
        let address = rest.split('/').next().unwrap_or(rest);
        let mut request = format!("ws://{rest}").into_client_request().with_context(|| format!("understand {url}"))?;
        request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static(PROTOCOL));
        let stream = TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        let connected = tokio_tungstenite::client_async(request, stream).await;
        let (socket, answer) = connected.with_context(|| format!("open a WebSocket at {address}"))?;
        if answer.headers().get("Sec-WebSocket-Protocol").is_none_or(|chosen| chosen != PROTOCOL) {
            bail!("open a WebSocket at {address}: the server does not speak {PROTOCOL}");
        }
        Ok(Self { socket })
    }

    /// Waits for what comes next.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Arrived> {
        loop {
            let message = match self.socket.next().await {
                None | Some(Ok(Message::Close(_))) => return Ok(Arrived::End),
                Some(message) => message.context("read a container's streams")?,
            };
            if let Message::Binary(bytes) = message
                && let Some(arrived) = arrived(&bytes)?
            {
                return Ok(arrived);
            }
        }
    }

    /// Sends a part of the input.
    pub(crate) async fn input(&mut self, data: &[u8]) -> anyhow::Result<()> {
        self.send(STDIN, data).await
    }

    /// Tells the terminal its size in characters.
    pub(crate) async fn resize(&mut self, (columns, rows): (u16, u16)) -> anyhow::Result<()> {
        self.send(RESIZE, json!({ "Width": columns, "Height": rows }).to_string().as_bytes()).await
    }

    async fn send(&mut self, channel: u8, data: &[u8]) -> anyhow::Result<()> {
        let message = [&[channel], data].concat();
        self.socket.send(Message::Binary(message.into())).await.context("write to a container's streams")
    }

    /// Says that nothing more will be sent.
    pub(crate) async fn close(&mut self) {
        // The other side may have closed already.
        let _ = self.socket.close(None).await;
    }
}

/// Takes a message apart; nothing is left of one that only says that the connection is there, or that all went well.
fn arrived(message: &[u8]) -> anyhow::Result<Option<Arrived>> {
    let Some((channel, data)) = message.split_first() else { return Ok(None) };
    match *channel {
        _ if data.is_empty() => Ok(None),
        STDOUT => Ok(Some(Arrived::Stdout(data.to_vec()))),
        STDERR => Ok(Some(Arrived::Stderr(data.to_vec()))),
        STATUS => {
            let status: Value = serde_json::from_slice(data).unwrap_or_default();
            if status["status"] == "Success" {
                return Ok(None);
            }
            let said = String::from_utf8_lossy(data);
            Err(anyhow!("{}", status["message"].as_str().unwrap_or(said.trim())))
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_of_the_stream_that_its_first_byte_names() {
        assert_eq!(arrived(b"\x01text").unwrap(), Some(Arrived::Stdout(b"text".to_vec())));
        assert_eq!(arrived(b"\x02oops").unwrap(), Some(Arrived::Stderr(b"oops".to_vec())));
        for silent in [b"".as_slice(), b"\x01", b"\x03{\"status\":\"Success\"}", b"\x09x"] {
            assert_eq!(arrived(silent).unwrap(), None);
        }
        let failed = arrived(b"\x03{\"status\":\"Failure\",\"message\":\"no such container\"}").unwrap_err();
        assert_eq!(failed.to_string(), "no such container");
        assert_eq!(arrived(b"\x03broken\n").unwrap_err().to_string(), "broken");
    }
}
