//! Frames of ttrpc that are none.

use std::{thread::sleep, time::Duration};

use containerd_shim_protos::ttrpc::Code;

use super::{REQUEST, Raw, TASK, Victim, frame, header, limit_descriptors};

/// The longest message that is taken. ttrpc, `MESSAGE_LENGTH_MAX`
const LONGEST: u32 = 4 << 20;
const DATA: u8 = 3;

#[test]
fn a_request_for_what_there_is_not_is_refused_and_the_connection_goes_on() {
    let victim = Victim::new();
    let mut raw = victim.connect();
    for (service, method) in
        [("", ""), ("no.such.Service", "State"), (TASK, "NoSuchMethod"), (TASK, "../State"), ("\0", "\n")]
    {
        let response = raw.ask(service, method, Vec::new()).unwrap();
        assert_ne!(response.status().code, Code::OK.into(), "{service:?}/{method:?}");
    }
    // An even stream, a request that is none, data for a stream that there is not.
    for bytes in [frame(2, REQUEST, 0, b""), frame(101, REQUEST, 0xff, &[0xff; 100]), frame(103, DATA, 0, b"x")] {
        raw.send(&bytes).unwrap();
        assert_ne!(raw.answer().unwrap().status().code, Code::OK.into());
    }
    // Types that a later version may have are passed over.
    for kind in [0, 2, 4, 0x7f, 0xff] {
        raw.send(&frame(105, kind, 0xff, b"abc")).unwrap();
    }
    assert_eq!(raw.ask(TASK, "Connect", Vec::new()).unwrap().status().code, Code::OK.into());
    drop(raw);
    victim.is_unharmed();
}

#[test]
fn flags_of_streams_open_none() {
    let victim = Victim::new();
    for flags in 0..=7 {
        let mut raw = victim.connect();
        raw.send(&frame(1, REQUEST, flags, b"")).unwrap();
        assert_ne!(raw.answer().unwrap().status().code, Code::OK.into(), "{flags}");
        raw.send(&frame(1, DATA, flags, b"x")).unwrap();
        assert_ne!(raw.answer().unwrap().status().code, Code::OK.into(), "{flags}");
    }
    victim.is_unharmed();
}

#[test]
fn a_frame_that_is_cut_off_is_forgotten_with_its_connection() {
    let victim = Victim::new();
    let whole = frame(1, REQUEST, 0, &[0; 64]);
    for length in 0..whole.len() {
        victim.connect().send(&whole[..length]).unwrap();
    }
    victim.is_unharmed();
}

#[test]
fn a_length_is_not_believed() {
    let victim = Victim::new();
    let before = victim.memory();
    // One of them says what is still to come, and none of them sends it.
    let mut waiting: Vec<Raw> = Vec::new();
    for length in [u32::MAX, i32::MAX as u32, 1 << 30, LONGEST + 1, LONGEST] {
        for _ in 0..8 {
            let mut raw = victim.connect();
            raw.send(&header(length, 1, REQUEST, 0)).unwrap();
            raw.send(&[0; 64 << 10]).unwrap();
            waiting.push(raw);
        }
    }
    victim.answers();
    sleep(Duration::from_millis(100));
    let grown = victim.memory().saturating_sub(before);
    // Of the 32 that are too long nothing is kept, and of the 8 others what has come.
    assert!(grown < 16 << 20, "{grown} bytes for nothing");
    drop(waiting);
    let mut raw = victim.connect();
    raw.send(&header(LONGEST + 1, 1, REQUEST, 0)).unwrap();
    raw.send(&vec![0; LONGEST as usize + 1]).unwrap();
    assert!(raw.answer().unwrap().status().message.contains("exceed"), "what is too long is refused, not cut");
    assert_eq!(raw.ask(TASK, "Connect", Vec::new()).unwrap().status().code, Code::OK.into());
    drop(raw);
    victim.is_unharmed();
}

#[test]
fn a_thousand_connections_that_say_nothing_keep_nobody_waiting() {
    let victim = Victim::new();
    limit_descriptors(victim.shim, "4096:");
    let silent: Vec<Raw> = (0..1000).map(|_| victim.connect()).collect();
    victim.answers();
    assert_eq!(victim.connect().ask(TASK, "Connect", Vec::new()).unwrap().status().code, Code::OK.into());
    drop(silent);
    victim.still_works();
}

#[test]
fn a_shim_without_descriptors_left_answers_who_is_connected_and_everybody_afterwards() {
    let victim = Victim::new();
    limit_descriptors(victim.shim, &format!("{}:", victim.before.descriptors + 10));
    let silent: Vec<Raw> = (0..100).map(|_| victim.connect()).collect();
    sleep(Duration::from_millis(300));
    victim.answers();
    let (_, message) = victim.try_create();
    assert!(message.contains("Too many open files"), "{message}");
    drop(silent);
    limit_descriptors(victim.shim, "4096:");
    victim.still_works();
}

impl Victim {
    /// What is said when the container cannot be created while there is nothing to do that with.
    fn try_create(&self) -> (i32, String) {
        match self.task.created().unwrap_err() {
            containerd_shim_protos::ttrpc::Error::RpcStatus(status) => (status.code.value(), status.message),
            other => panic!("{other}"),
        }
    }
}
