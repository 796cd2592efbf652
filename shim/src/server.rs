//! The shim's one thread: accepts, serves, reaps, and leaves when it is no longer wanted.

use std::{
    future::Future,
    io,
    os::unix::net::UnixListener,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_core::Stream;
use loment_cgroups::Layout;
use nix::sys::{
    signal::{SigSet, Signal},
    signalfd::{SfdFlags, SignalFd},
};
use tokio::{net::UnixStream, time::Sleep};
use ttrpc::r#async::{Server, transport::Listener};

use crate::{
    address,
    bootstrap::Start,
    events::Events,
    failure::{Failure, Result},
    home::Home,
    members::Members,
    rpc,
    shim::Shim,
    socket,
    task::ready::readable,
    traces::{Began, Traces},
};

/// How many descriptors the kernel may name at once as ready. Space for them is kept; more are named the next time.
const READY: usize = 32;
/// How long the last events may take to be sent before the shim leaves.
const FLUSH: Duration = Duration::from_secs(5);
/// Until accepting is tried again after it has failed.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// For the answer to Shutdown to reach its client.
const LINGER: Duration = Duration::from_millis(20);

/// Serves until the shim is no longer wanted.
pub(crate) fn run(start: &Start, bundle: &Path, listener: UnixListener, address: &str, began: Began) -> Result<()> {
    // Nothing that this runtime does spawns a thread: the process may fork at any moment.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_io_events_per_tick(READY)
        .build()
        .map_err(|error| Failure::io("make", "the event loop", &error))?;
    runtime.block_on(async {
        let served = serve(start, bundle, listener, began).await;
        // First the name, then the process: a new shim of the same group must not find a socket that is not answered
        // for much longer.
        let removed = socket::remove(address::path(address));
        let (shim, _connections) = served?;
        if let Some(host) = shim.host.get() {
            host.write_down().await;
        }
        shim.events.flush(FLUSH).await;
        tokio::time::sleep(LINGER).await;
        // Nobody else would see them off.
        shim.loggers.all().await;
        removed.map_err(|error| Failure::io("remove", address, &error))
    })
}

/// Serves until the shim is to leave. As long as the server is kept, open connections are answered.
async fn serve(start: &Start, bundle: &Path, listener: UnixListener, began: Began) -> Result<(Arc<Shim>, Server)> {
    let signals = signals()?;
    let events = Events::new(&start.namespace, &start.ttrpc_address);
    let members = Members::of(bundle, !start.reply.names_each_container());
    let shim = Arc::new(Shim::new(events, Layout::detect()?, Traces::new(began), members));
    let sender = Arc::clone(&shim);
    tokio::spawn(async move { sender.events.run().await });
    let sweeper = Arc::clone(&shim);
    tokio::spawn(async move {
        loop {
            sweeper.pids.reaped.notified().await;
            sweeper.pids.sweep();
        }
    });
    let idle = Arc::clone(&shim);
    let home = Home(bundle.to_owned());
    tokio::spawn(async move { idle.quiet.keep(&idle, &home).await });
    // Somebody may have lost it already.
    shim.quiet.disturb();
    let mut server = Server::new().add_listener(accept(listener)?).register_service(rpc::services(&shim));
    server.start().await.map_err(|error| Failure::unknown(format!("serve: {error}")))?;
    loop {
        tokio::select! {
            ready = readable(&signals) => {
                ready?;
                if terminated(&signals, &shim) {
                    break;
                }
            }
            () = shim.left.notified() => break,
        }
    }
    Ok((shim, server))
}

/// SIGCHLD and those that ask the shim to leave. (SIGPIPE is ignored: Rust's runtime sees to that.)
fn awaited() -> SigSet {
    [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT].into_iter().collect()
}

/// Keeps the signals that the shim waits for until it takes them, in this process and its fork: one that came before
/// would end a shim that has a socket to remove. A container's child gets the signals of a fresh process back before it
/// executes its program.
pub(crate) fn keep_signals() -> Result<()> {
    awaited().thread_block().map_err(|errno| Failure::io("keep back", "signals", &errno.into()))
}

/// The signals that were kept, as a descriptor.
fn signals() -> Result<SignalFd> {
    SignalFd::with_flags(&awaited(), SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        .map_err(|errno| Failure::io("wait for", "signals", &errno.into()))
}

/// Takes the signals that have come. Whether one of them asks the shim to leave.
fn terminated(signals: &SignalFd, shim: &Shim) -> bool {
    let mut leave = false;
    while let Ok(Some(signal)) = signals.read_signal() {
        if signal.ssi_signo == Signal::SIGCHLD as u32 {
            shim.pids.sweep();
        } else {
            leave = true;
        }
    }
    leave
}

/// Connections from processes of our own user, in our own user namespace; others are closed unheard.
fn accept(listener: UnixListener) -> Result<Listener> {
    let failed = |error: io::Error| Failure::io("listen on", "the shim's socket", &error);
    listener.set_nonblocking(true).map_err(failed)?;
    let listener = tokio::net::UnixListener::from_std(listener).map_err(failed)?;
    Ok(Listener::new(Trusted { listener, user: nix::unistd::geteuid().as_raw(), pause: None }))
}

struct Trusted {
    listener: tokio::net::UnixListener,
    user: u32,
    /// After a failure to accept: one for want of descriptors comes again at once, for as long as the want lasts.
    pause: Option<Pin<Box<Sleep>>>,
}

impl Stream for Trusted {
    type Item = io::Result<UnixStream>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(context));
                self.pause = None;
            }
            let stream = match ready!(self.listener.poll_accept(context)) {
                Ok((stream, _)) => stream,
                Err(error) => {
                    log::error!("accept a connection: {error}");
                    self.pause = Some(Box::pin(tokio::time::sleep(ACCEPT_AGAIN)));
                    continue;
                }
            };
            match stream.peer_cred() {
                Ok(peer) if peer.uid() == self.user && is_of_our_users(peer.pid()) => {
                    return Poll::Ready(Some(Ok(stream)));
                }
                peer => log::warn!("refuse a connection from {peer:?}"),
            }
        }
    }
}

/// Whether a process is in our own user namespace. Root of another one may be root here by its number, where that is mapped to
/// itself, and has none of root's privileges. Whom we cannot see is in none below ours.
fn is_of_our_users(pid: Option<i32>) -> bool {
    let users_of = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/user"));
    match pid.filter(|pid| *pid > 0) {
        None => true,
        // One that is gone by now will hear of no answer.
        Some(pid) => matches!((users_of("self"), users_of(&pid.to_string())), (Ok(own), Ok(peers)) if own == peers),
    }
}
