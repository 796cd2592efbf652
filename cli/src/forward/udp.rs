//! Datagrams: each peer of this machine has a socket of its own in the pod, so that answers find their way.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::network::loopback;
use super::ports::Port;
use super::{Shared, network::Network};

/// The largest datagram.
const LARGEST: usize = 65_535;

/// How many datagrams of one peer may wait; those that come then are lost, as on any network.
const WAITING: usize = 256;

/// A peer that neither sends nor is sent anything for so long is forgotten.
const IDLE: Duration = Duration::from_secs(60);

/// Moves datagrams for ever.
pub(crate) async fn serve(socket: std::net::UdpSocket, port: Port, shared: Arc<Shared>) -> anyhow::Result<()> {
    let socket = Arc::new(UdpSocket::from_std(socket)?);
    let mut peers: HashMap<SocketAddr, mpsc::Sender<Vec<u8>>> = HashMap::new();
    let mut buffer = vec![0; LARGEST];
    loop {
        // An error is about a datagram that was sent before, to a peer that is gone.
        let Ok((count, peer)) = socket.recv_from(&mut buffer).await else { continue };
        peers.retain(|_, sender| !sender.is_closed());
        let sender = peers.entry(peer).or_insert_with(|| {
            let (sender, receiver) = mpsc::channel(WAITING);
            let flow = Flow { peer, port, local: Arc::clone(&socket), shared: Arc::clone(&shared) };
            tokio::spawn(flow.run(receiver));
            sender
        });
        let _ = sender.try_send(buffer[..count].to_vec());
    }
}

/// The datagrams of one peer.
struct Flow {
    peer: SocketAddr,
    port: Port,
    local: Arc<UdpSocket>,
    shared: Arc<Shared>,
}

impl Flow {
    async fn run(self, mut from_peer: mpsc::Receiver<Vec<u8>>) {
        let network = self.shared.network();
        let mut unsent: Vec<u8> = Vec::new();
        let mut reasons = Vec::new();
        // Nobody listens at an address: that comes back as an error, and the other one is tried.
        for (name, address) in loopback(self.port.remote) {
            match self.pump(&network, address, &mut from_peer, &mut unsent).await {
                Ok(()) => return,
                Err(error) => reasons.push(format!("{name}: {error}")),
            }
        }
        self.shared.failed(self.port, &format!("failed to reach it inside the pod: {}", reasons.join(", ")));
        self.shared.doubt.notify_one();
    }

    async fn pump(
        &self,
        network: &Network,
        address: SocketAddr,
        from_peer: &mut mpsc::Receiver<Vec<u8>>,
        unsent: &mut Vec<u8>,
    ) -> std::io::Result<()> {
        let inside = network.datagrams_to(address).await?;
        if !unsent.is_empty() {
            inside.send(unsent).await?;
        }
        let mut buffer = vec![0; LARGEST];
        loop {
            tokio::select! {
                datagram = from_peer.recv() => {
                    let Some(datagram) = datagram else { return Ok(()) };
                    inside.send(&datagram).await?;
                    *unsent = datagram;
                }
                received = inside.recv(&mut buffer) => match received {
                    Ok(count) => {
                        unsent.clear();
                        // To a peer that is gone.
                        let _ = self.local.send_to(&buffer[..count], self.peer).await;
                    }
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                },
                () = tokio::time::sleep(IDLE) => return Ok(()),
            }
        }
    }
}
