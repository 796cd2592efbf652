//! `loment stats`: what pods use, for machines that watch.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{note, print};
use crate::args::Global;
use crate::print::prometheus;
use crate::session::Session;
use crate::usage::{self, Which};

const EXAMPLES: &str = "\
Examples:
  # Print it once
  loment stats --prometheus

  # Serve it to a Prometheus on this machine
  loment stats --prometheus --listen 127.0.0.1:9101";

/// How long a client may take to say what it wants, and to take the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest request that is read: the answer does not depend on more than its first line.
const LONGEST: usize = 8192;
/// Until accepting is tried again after it has failed.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Stats {
    /// In the text format of Prometheus, under the names that cAdvisor has given them
    #[arg(long, required = true)]
    pub(crate) prometheus: bool,
    /// Serve it at http://ADDRESS:PORT/metrics until interrupted; only on a loopback address: anybody may read it
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<SocketAddr>,
}

pub(crate) async fn run(global: &Global, args: &Stats) -> anyhow::Result<()> {
    let session = Session::open(global).await?;
    match args.listen {
        None => print(&page(&session).await?),
        Some(address) => serve(Arc::new(session), address).await,
    }
}

/// All pods of all namespaces, or of the one that was named.
async fn page(session: &Session) -> anyhow::Result<String> {
    let which = Which { namespace: session.global.namespace.as_deref(), names: &[], labels: None };
    Ok(prometheus::page(&usage::read(session, which).await?))
}

async fn serve(session: Arc<Session>, address: SocketAddr) -> anyhow::Result<()> {
    if !address.ip().is_loopback() {
        bail!(
            "serve at {address}: whoever reaches it may read it; give a loopback address, and let who has keys stand before it"
        );
    }
    let listener = TcpListener::bind(address).await.with_context(|| format!("listen on {address}"))?;
    let bound = listener.local_addr().with_context(|| format!("listen on {address}"))?;
    note(&format!("serving http://{bound}/metrics"));
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let session = Arc::clone(&session);
                    // A client that goes away, or takes too long, has nobody to be told.
                    tokio::spawn(async move { tokio::time::timeout(PATIENCE, answer(&session, stream)).await });
                }
                // For want of descriptors, which comes again at once for as long as it lasts.
                Err(_) => tokio::time::sleep(ACCEPT_AGAIN).await,
            },
            interrupted = tokio::signal::ctrl_c() => return interrupted.context("wait for an interrupt"),
        }
    }
}

async fn answer(session: &Session, mut stream: TcpStream) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut chunk = [0; 1024];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") && request.len() < LONGEST {
        match stream.read(&mut chunk).await? {
            0 => return Ok(()),
            n => request.extend_from_slice(chunk.get(..n).unwrap_or_default()),
        }
    }
    let (status, body) = match target(&request) {
        Some("/metrics") => match page(session).await {
            Ok(page) => ("200 OK", page),
            Err(error) => ("503 Service Unavailable", format!("{error:#}\n")),
        },
        Some(_) => ("404 Not Found", "there is /metrics\n".to_owned()),
        None => ("405 Method Not Allowed", "there is GET /metrics\n".to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}

/// The path that a GET is for.
fn target(request: &[u8]) -> Option<&str> {
    let line = request.split(|byte| *byte == b'\r').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    (method == "GET").then(|| target.split('?').next().unwrap_or(target))
}

#[cfg(test)]
mod tests {
    use super::target;

    #[test]
    fn only_the_first_line_of_a_get_matters() {
        assert_eq!(target(b"GET /metrics?a=b HTTP/1.1\r\nHost: x\r\n\r\n"), Some("/metrics"));
        assert_eq!(target(b"GET / HTTP/1.1\r\n\r\n"), Some("/"));
        assert_eq!(target(b"POST /metrics HTTP/1.1\r\n\r\n"), None);
        assert_eq!(target(b"\xff\xfe"), None);
        assert_eq!(target(b""), None);
    }
}
