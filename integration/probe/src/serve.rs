//! Servers that probes ask.

use std::{net::Ipv6Addr, path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer},
};

/// How often the file is looked for that says whether the service serves.
const LOOK: Duration = Duration::from_millis(20);

fn run(server: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("make the event loop")?;
    runtime.block_on(server)
}

/// Answers every request with an empty page, behind a certificate that nobody has signed.
pub(crate) fn https(port: u16) -> Result<()> {
    let made = rcgen::generate_simple_self_signed(["pod.test".to_owned()]).context("make a certificate")?;
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    run(async {
        let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await.context("listen")?;
        loop {
            let (stream, _) = listener.accept().await.context("accept")?;
            // A client that does not speak TLS, or hangs up, is no reason to end.
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
            let _ = stream.shutdown().await;
        }
    })
}

/// Serves `grpc.health.v1.Health`: the service `test` serves as long as `file` exists.
pub(crate) fn grpc(port: u16, file: &Path) -> Result<()> {
    run(async {
        let (reporter, service) = tonic_health::server::health_reporter();
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve((Ipv6Addr::UNSPECIFIED, port).into()));
        loop {
            let status = match file.exists() {
                true => tonic_health::ServingStatus::Serving,
                false => tonic_health::ServingStatus::NotServing,
            };
            reporter.set_service_status("test", status).await;
            tokio::time::sleep(LOOK).await;
        }
    })
}
