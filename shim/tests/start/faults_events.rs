//! A containerd that does not answer events: that is not there, that accepts and says nothing, that does not even accept,
//! that refuses, that hangs up.

use std::{
    io::{Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    sync::{Arc, Mutex},
    thread,
};

use containerd_shim_protos::{
    api::{ForwardRequest, ShutdownRequest},
    protobuf::Message,
    ttrpc,
};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};

use super::{SLEEP, until};
use crate::{
    Place,
    task::{Task, patience},
};

/// How it answers one event after the other.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    /// Takes each.
    Well,
    /// Takes each, and closes the connection.
    HangsUp,
    /// Answers the first times with an error.
    Errs(usize),
    /// Takes the connection and says nothing.
    Silent,
}

/// The events that have been taken, by topic.
type Taken = Arc<Mutex<Vec<String>>>;

fn address(place: &Place) -> PathBuf {
    place.directory.join("containerd.sock.ttrpc")
}

/// Serves at containerd's address until the process ends, or, where it is silent, until the answer is dropped.
fn containerd(place: &Place, manner: Manner) -> Taken {
    let taken = Taken::default();
    let (seen, listener) = (Arc::clone(&taken), UnixListener::bind(address(place)).unwrap());
    thread::spawn(move || {
        let mut errors = if let Manner::Errs(errors) = manner { errors } else { 0 };
        let mut kept = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            if manner == Manner::Silent {
                kept.push(stream);
                continue;
            }
            while let Some((number, event)) = receive(&mut stream) {
                let status =
                    ttrpc::get_status(if errors > 0 { ttrpc::Code::UNAVAILABLE } else { ttrpc::Code::OK }, "not now");
                match errors {
                    0 => seen.lock().unwrap().push(event),
                    _ => errors -= 1,
                }
                answer(&mut stream, number, status);
                if manner == Manner::HangsUp {
                    break;
                }
            }
        }
    });
    taken
}

/// A request: length, number of the stream, kind and flags; then the message. github.com/containerd/ttrpc, PROTOCOL.md
fn receive(stream: &mut UnixStream) -> Option<(u32, String)> {
    let mut header = [0; 10];
    stream.read_exact(&mut header).ok()?;
    let number = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
    let mut message = vec![0; number(0) as usize];
    stream.read_exact(&mut message).ok()?;
    let request = ttrpc::proto::Request::parse_from_bytes(&message).unwrap();
    assert_eq!(request.method, "Forward");
    let event = ForwardRequest::parse_from_bytes(&request.payload).unwrap();
    Some((number(4), event.envelope.topic.clone()))
}

fn answer(stream: &mut UnixStream, number: u32, status: ttrpc::Status) {
    let message = ttrpc::Response { status: Some(status).into(), ..ttrpc::Response::default() };
    let message = message.write_to_bytes().unwrap();
    let mut bytes = u32::try_from(message.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend(number.to_be_bytes());
    bytes.extend([2, 0]);
    bytes.extend(message);
    // A shim that has left does not hear it.
    let _closed = stream.write_all(&bytes);
}

/// A socket whose queue is full, of a containerd that is stopped.
fn deaf(place: &Place) -> Vec<std::os::fd::OwnedFd> {
    let made = || {
        socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None).unwrap()
    };
    let (listener, address) = (made(), UnixAddr::new(&address(place)).unwrap());
    bind(std::os::fd::AsRawFd::as_raw_fd(&listener), &address).unwrap();
    listen(&listener, Backlog::new(0).unwrap()).unwrap();
    let mut held = vec![listener];
    loop {
        let client = made();
        if nix::sys::socket::connect(std::os::fd::AsRawFd::as_raw_fd(&client), &address).is_err() {
            return held;
        }
        held.push(client);
    }
}

/// All of a container's life.
fn life(task: &Task) {
    task.run().unwrap();
    assert_eq!(task.exec("e", "exit 3").unwrap(), 3);
    task.removed();
}

const LIFE: [&str; 7] = [
    "/tasks/create",
    "/tasks/start",
    "/tasks/exec-added",
    "/tasks/exec-started",
    "/tasks/exit",
    "/tasks/exit",
    "/tasks/delete",
];

/// Asks the shim to leave, and waits until it has.
fn leaves(place: &Place, task: &Task) {
    // It may be gone before the answer is.
    let _answer = task.client.shutdown(patience(), &ShutdownRequest::default());
    place.gone();
}

#[test]
fn nobody_waits_for_a_containerd_that_is_not_there_or_says_nothing() {
    for is_there in [false, true] {
        let place = Place::new();
        let _nothing = is_there.then(|| containerd(&place, Manner::Silent));
        let task = place.task(false, SLEEP);
        task.while_answered(&place, || life(&task.again(&place)));
        place.is_clean();
        leaves(&place, &task);
    }
}

/// Its sockets still have their names, and connecting to them waits until it goes on.
#[test]
fn nobody_waits_for_a_containerd_that_is_stopped() {
    let place = Place::new();
    let _full = deaf(&place);
    let task = place.task(false, SLEEP);
    task.while_answered(&place, || life(&task.again(&place)));
    place.is_clean();
    leaves(&place, &task);
}

#[test]
fn what_a_containerd_has_refused_for_a_while_or_hung_up_on_is_told_in_order() {
    for manner in [Manner::Well, Manner::HangsUp, Manner::Errs(5)] {
        let place = Place::new();
        let taken = containerd(&place, manner);
        let task = place.task(false, SLEEP);
        life(&task);
        until("everything is told", || taken.lock().unwrap().len() >= LIFE.len());
        assert_eq!(*taken.lock().unwrap(), LIFE);
        leaves(&place, &task);
    }
}

#[test]
fn what_happened_while_there_was_no_containerd_is_told_in_order_to_the_next() {
    let place = Place::new();
    let full = deaf(&place);
    let task = place.task(false, SLEEP);
    for _ in 0..3 {
        life(&task);
    }
    drop(full);
    std::fs::remove_file(address(&place)).unwrap();
    let taken = containerd(&place, Manner::Well);
    until("everything is told", || taken.lock().unwrap().len() >= 3 * LIFE.len());
    assert_eq!(*taken.lock().unwrap(), [LIFE; 3].concat());
    leaves(&place, &task);
}
