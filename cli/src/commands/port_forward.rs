//! `loment port-forward`: ports of a pod on this machine, until it is interrupted.
//!
//! A connection that fails ends with a message, and the session goes on, through restarts of the container too.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use super::{note, print};
use crate::args::Global;
use crate::forward::listen::{self, Addresses, Listener};
use crate::forward::network::Network;
use crate::forward::ports::{self, Port, Protocol};
use crate::forward::{Shared, tcp, udp};
use crate::print::duration;
use crate::session::{Found, Session};
use crate::streams::target;
use crate::{pod, resource};

/// How long to wait before a pod is asked again for its new sandbox.
const PAUSE: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  # Port 8080 of this machine leads to port 8080 of pod web
  loment port-forward web 8080:8080
  # Several ports; one that is free here leads to the port that the pod calls \"http\"
  loment port-forward pod/web 8888:80 :http
  # For other machines, too
  loment port-forward --address 0.0.0.0 web 8888:80
  # Datagrams
  loment port-forward web 5353:53/udp")]
pub(crate) struct PortForward {
    /// Pod, as in "web" or "pod/web"
    pub(crate) pod: String,
    /// Ports: "8080", "LOCAL:8080", ":8080" (any local port that is free), a name of the pod's, "53/udp"
    #[arg(required = true, value_name = "[LOCAL:]REMOTE")]
    pub(crate) ports: Vec<String>,
    /// Where to listen: addresses, or "localhost" for both of its own
    #[arg(long = "address", value_delimiter = ',', default_value = "localhost", value_name = "ADDRESS,...")]
    pub(crate) listen: Vec<String>,
    /// containerd's GRPC socket; before the verb it is --address, as everywhere
    // The argument of all verbs, by its id: clap leaves it out where a verb has one of that id, which frees its long
    // name. What is given here becomes the global one's value.
    #[arg(id = "address", short = 'a', long = "containerd-address", env = "CONTAINERD_ADDRESS", value_name = "SOCKET")]
    _address: Option<String>,
    /// How long to wait for a pod that does not run yet
    #[arg(long, default_value = "1m", value_parser = duration::parse, value_name = "DURATION")]
    pub(crate) pod_running_timeout: Duration,
}

pub(crate) async fn run(global: &Global, args: &PortForward) -> anyhow::Result<()> {
    let name = resource::name(&args.pod)?;
    let session = Session::open(global).await?;
    let found = session.pod(&name).await?;
    let ports = args.ports.iter().map(|word| ports::parse(word, &found.pod)).collect::<anyhow::Result<Vec<_>>>()?;
    let addresses = listen::addresses(&args.listen)?;
    let mut interrupt = signal(SignalKind::interrupt()).context("wait for signals")?;
    let all = async {
        let phase = target::until_running(&session, &found, args.pod_running_timeout).await?;
        if phase != "Running" {
            bail!("unable to forward port because pod is not running. Current status={phase}");
        }
        let shared = Arc::new(Shared::new(Network::of(&session, &found).await?));
        let mut servers = serve(ports, &addresses, &shared)?;
        tokio::select! {
            Some(ended) = servers.join_next() => ended.context("serve a port")?,
            lost = until_lost(&session, &found, &shared) => lost,
        }
    };
    tokio::select! {
        ended = all => ended,
        _ = interrupt.recv() => Ok(()),
    }
}

/// Listens for all ports.
fn serve(
    mut ports: Vec<Port>,
    addresses: &Addresses,
    shared: &Arc<Shared>,
) -> anyhow::Result<JoinSet<anyhow::Result<()>>> {
    let mut servers = JoinSet::new();
    for port in &mut ports {
        let listeners = match listen::open(port, addresses) {
            Ok(listeners) => listeners,
            Err(why) => {
                note(&format!("Unable to listen on port {}: {why}", port.local));
                continue;
            }
        };
        for listener in listeners {
            let suffix = if port.protocol == Protocol::Udp { "/udp" } else { "" };
            print(&format!("Forwarding from {} -> {}{suffix}\n", listener.address()?, port.remote))?;
            let shared = Arc::clone(shared);
            match listener {
                Listener::Tcp(listener) => servers.spawn(tcp::serve(listener, *port, shared)),
                Listener::Udp(socket) => servers.spawn(udp::serve(socket, *port, shared)),
            };
        }
    }
    if servers.is_empty() {
        let ports: Vec<String> = ports.iter().map(|port| format!("{{{} {}}}", port.local, port.remote)).collect();
        bail!("unable to listen on any of the requested ports: [{}]", ports.join(" "));
    }
    Ok(servers)
}

/// Waits until the pod has ended or is gone. One whose sandbox was made anew has another network.
async fn until_lost(session: &Session, found: &Found, shared: &Shared) -> anyhow::Result<()> {
    loop {
        let network = shared.network();
        tokio::select! {
            () = network.ended() => {
                if let Some(network) = again(session, found).await {
                    shared.replace(network);
                    continue;
                }
            }
            () = shared.doubt.notified() => if !is_over(session, found).await { continue },
        }
        bail!("lost connection to pod");
    }
}

/// The network of the pod's new sandbox; nothing when the pod will not run again.
async fn again(session: &Session, found: &Found) -> Option<Network> {
    loop {
        let now = session.find(found.namespace(), found.name()).await.ok()??;
        if now.pod.metadata.uid != found.pod.metadata.uid || pod::deletion(&now).is_some() {
            return None;
        }
        if let Ok(network) = Network::of(session, &now).await {
            return Some(network);
        }
        if is_over(session, &now).await {
            return None;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether the pod has come to its last phase. One that cannot be asked may come back.
async fn is_over(session: &Session, found: &Found) -> bool {
    match pod::status(session, found).await {
        Ok(status) => target::completed(&status).is_some(),
        Err(_) => session.find(found.namespace(), found.name()).await.is_ok_and(|found| found.is_none()),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, FromArgMatches as _};

    use crate::args::{Arguments, Verb};

    /// Where is listened, and containerd's socket. `variable` stands for what the environment has.
    fn read(line: &str, variable: Option<&'static str>) -> (Vec<String>, Option<String>) {
        // A variable goes before a default, and after what is typed, as a default does.
        let given = |argument: clap::Arg| match variable {
            Some(socket) => argument.env(None).default_value(socket),
            None => argument.env(None),
        };
        let command = Arguments::command()
            .mut_arg("address", given)
            .mut_subcommand("port-forward", |verb| verb.mut_arg("address", given));
        let matches = command.try_get_matches_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"));
        let arguments = Arguments::from_arg_matches(&matches).unwrap();
        let Verb::PortForward(args) = arguments.verb else { panic!("{line}") };
        (args.listen, arguments.global.address)
    }

    #[test]
    fn the_address_after_the_verb_is_where_to_listen_and_the_one_before_it_is_containerds() {
        for (line, listen, socket) in [
            ("loment port-forward web 80", "localhost", None),
            ("loment port-forward --address 0.0.0.0 web 80", "0.0.0.0", None),
            ("loment port-forward web 80 --address=::1,127.0.0.1", "::1,127.0.0.1", None),
            ("loment --address /s port-forward web 80", "localhost", Some("/s")),
            ("loment -a /s port-forward --address 127.0.0.2 web 80", "127.0.0.2", Some("/s")),
            ("loment port-forward -a /s --address 127.0.0.2 web 80", "127.0.0.2", Some("/s")),
            ("loment port-forward --containerd-address /s web 80", "localhost", Some("/s")),
        ] {
            for variable in [None, Some("/of/the/environment")] {
                let (heard, address) = read(line, variable);
                assert_eq!(heard.join(","), listen, "{line}");
                assert_eq!(address.as_deref(), socket.or(variable), "{line}");
            }
        }
    }
}
