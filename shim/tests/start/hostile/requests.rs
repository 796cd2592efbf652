//! Every method of every service, with bytes that nobody means.

use containerd_shim_protos::{
    api::{CreateTaskRequest, ShutdownRequest},
    protobuf::Message as _,
    ttrpc::Code,
};

use super::{Raw, TASK, Victim};
use crate::task::patience;

const SERVICES: [(&str, &[&str]); 4] = [
    (TASK, &TASKS),
    ("containerd.task.v3.Task", &TASKS),
    (
        "containerd.runtime.sandbox.v1.Sandbox",
        &[
            "CreateSandbox",
            "StartSandbox",
            "Platform",
            "StopSandbox",
            "WaitSandbox",
            "SandboxStatus",
            "PingSandbox",
            "ShutdownSandbox",
            "SandboxMetrics",
        ],
    ),
    ("loment.pod.v1.Pod", &["Status", "Timeline", "Start", "Terminate", "Update", "Stats", "Trace"]),
];

const TASKS: [&str; 17] = [
    "State",
    "Create",
    "Start",
    "Delete",
    "Pids",
    "Pause",
    "Resume",
    "Checkpoint",
    "Kill",
    "Exec",
    "ResizePty",
    "CloseIO",
    "Update",
    "Wait",
    "Stats",
    "Connect",
    "Shutdown",
];

/// What may be answered without any field: it changes nothing, or is the end of the shim, which has a container here.
const WITHOUT_FIELDS: [&str; 6] = ["Connect", "Shutdown", "ShutdownSandbox", "Status", "Stats", "Trace"];

/// Numbers that look random, the same each time. xorshift64
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self) -> Vec<u8> {
        let length = self.next() % 200;
        (0..length).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}

/// A field of a message that is a text, or bytes.
fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let mut length = value.len();
    let mut bytes = vec![number << 3 | 2];
    while length > 0x7f {
        bytes.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    bytes.push(u8::try_from(length).unwrap());
    [bytes, value.to_vec()].concat()
}

fn payloads(noise: &mut Noise, whole: &[u8]) -> Vec<Vec<u8>> {
    let long = vec![b'a'; 1 << 20];
    let mut all = vec![Vec::new(), field(1, b""), field(1, &long), [field(1, b"x"), field(2, &long)].concat()];
    // Not UTF-8; a length that is a lie; a tag that there is not; a number as long as can be.
    all.extend([field(1, &[0xff, 0xfe]), vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f], vec![0x07; 40], vec![0xff; 64]]);
    all.extend((0..whole.len()).step_by(3).map(|length| whole[..length].to_vec()));
    all.extend((0..16).map(|_| noise.bytes()));
    all
}

#[test]
fn every_method_answers_whatever_its_bytes_are() {
    let victim = Victim::new();
    victim.task.created().unwrap();
    let before = super::Census::of(&victim.place, victim.shim);
    let mut noise = Noise(0x5eed_1e55);
    let create = CreateTaskRequest { id: "../x".into(), ..victim.task.create.clone() };
    let whole = create.write_to_bytes().unwrap();
    let mut raw = victim.connect();
    let mut answered = 0;
    for (service, methods) in SERVICES {
        for method in methods {
            for payload in payloads(&mut noise, &whole) {
                let shown = format!("{service}/{method} {:x?}", &payload[..payload.len().min(64)]);
                let response = raw.ask(service, method, payload).unwrap_or_else(|error| panic!("{shown}: {error}"));
                let failed = response.status().code != Code::OK.into();
                assert!(failed || WITHOUT_FIELDS.contains(method), "{shown} is taken");
                assert!(!failed || !response.status().message.is_empty(), "{shown}: without a reason");
                answered += 1;
            }
        }
    }
    assert!(answered > 2000, "{answered}");
    drop::<Raw>(raw);
    // Shutdown has been asked for, and the container goes on.
    victim.task.started().unwrap();
    let now = super::Census::of(&victim.place, victim.shim);
    assert_eq!((now.files, now.cgroups, now.mounts), (before.files, before.cgroups, before.mounts));
    victim.task.killed().unwrap();
    victim.task.ended();
    victim.task.deleted().unwrap();
    victim.place.gone();
    assert!(victim.task.client.shutdown(patience(), &ShutdownRequest::default()).is_err(), "it has left");
}

/// Methods that change nothing of a container whose requests mean nothing.
const HARMLESS: [&str; 8] = ["State", "Pids", "Exec", "ResizePty", "CloseIO", "Update", "Stats", "Connect"];

#[test]
fn a_container_outlives_what_is_said_to_it_without_sense() {
    let victim = Victim::new();
    victim.task.created().unwrap();
    victim.task.started().unwrap();
    let before = super::Census::of(&victim.place, victim.shim);
    let mut noise = Noise(0x0dd_ba11);
    let mut raw = victim.connect();
    let id = field(1, victim.task.id.as_bytes());
    let any = |value: &[u8]| {
        [field(1, b"types.containerd.io/opencontainers/runtime-spec/1/Process"), field(2, value)].concat()
    };
    let values: [&[u8]; 8] =
        [b"", b"null", b"[]", b"{", b"{\"args\":[]}", b"{\"cpu\":{\"shares\":1e99}}", &[0xff; 99], &[b'['; 100_000]];
    for method in HARMLESS {
        let senseless = (0..100).map(|_| noise.bytes());
        // The process of an Exec, the limits of an Update.
        let of_exec = values.iter().map(|value| [field(2, b"x"), field(7, &any(value))].concat());
        let of_update = values.iter().map(|value| field(2, &any(value)));
        for rest in senseless.chain(of_exec).chain(of_update) {
            let shown = format!("{method} {:x?}", &rest[..rest.len().min(64)]);
            let answer = raw.ask(TASK, method, [id.clone(), rest].concat());
            answer.unwrap_or_else(|error| panic!("{shown}: {error}"));
        }
    }
    assert_eq!(victim.task.status(), containerd_shim_protos::api::Status::RUNNING);
    drop(raw);
    let now = super::Census::of(&victim.place, victim.shim);
    assert_eq!((now.processes, now.files, now.cgroups), (before.processes, before.files, before.cgroups));
    victim.task.killed().unwrap();
    victim.task.ended();
    victim.task.deleted().unwrap();
    victim.is_unharmed();
}
