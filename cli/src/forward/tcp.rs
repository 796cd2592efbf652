//! Connections: each stands for itself, and one that fails ends no other.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream};

use super::Shared;
use super::ports::Port;
use crate::commands::{note, print};

/// How much is moved at once.
const CHUNK: usize = 64 << 10;

/// How long to wait when there are too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// Takes connections for ever.
pub(crate) async fn serve(listener: std::net::TcpListener, port: Port, shared: Arc<Shared>) -> anyhow::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                print(&format!("Handling connection for {}\n", port.local))?;
                tokio::spawn(forward(client, port, Arc::clone(&shared)));
            }
            Err(error) => {
                note(&format!("error: accept a connection for {}: {error}", port.local));
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn forward(mut client: TcpStream, port: Port, shared: Arc<Shared>) {
    let mut server = match shared.network().dial(port.remote).await {
        Ok(server) => server,
        Err(why) => {
            shared.failed(port, &why);
            shared.doubt.notify_one();
            reset(&client);
            return;
        }
    };
    // Each direction ends by itself: who has only finished writing still gets its answer.
    let moved = async {
        client.set_nodelay(true)?;
        copy_bidirectional_with_sizes(&mut client, &mut server, CHUNK, CHUNK).await
    };
    let moved: io::Result<(u64, u64)> = moved.await;
    if let Err(error) = moved {
        shared.failed(port, &error.to_string());
        // What one side has broken off is broken off for the other, and not ended in good order.
        reset(&client);
        reset(&server);
    }
}

/// Makes the end of a connection a reset.
fn reset(stream: &TcpStream) {
    // One that is gone needs none.
    let _ = stream.set_zero_linger();
}
