//! Ports of a pod, reachable on this machine: which, how a pod's network is entered, and how bytes and datagrams move.

pub(crate) mod listen;
pub(crate) mod network;
pub(crate) mod ports;
pub(crate) mod tcp;
pub(crate) mod udp;

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use self::network::Network;
use self::ports::Port;
use crate::commands::note;

/// What all connections of a session share.
#[derive(Debug)]
pub(crate) struct Shared {
    network: Mutex<Arc<Network>>,
    /// The pod may have ended: it did not answer.
    pub(crate) doubt: Notify,
}

impl Shared {
    pub(crate) fn new(network: Network) -> Self {
        Self { network: Mutex::new(Arc::new(network)), doubt: Notify::new() }
    }

    pub(crate) fn network(&self) -> Arc<Network> {
        Arc::clone(&self.network.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The pod has got another sandbox.
    pub(crate) fn replace(&self, network: Network) {
        *self.network.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(network);
    }

    /// One connection has failed. The session goes on.
    fn failed(&self, port: Port, why: &str) {
        note(&format!("an error occurred forwarding {} -> {}: {why}", port.local, port.remote));
    }
}
