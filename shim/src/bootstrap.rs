//! How containerd asks for a shim and how it wants to be answered: three generations of one conversation.
//!
//! | containerd | standard input of `start` | answer given |
//! |---|---|---|
//! | 1.6 to 2.2 | runtime options as an `Any`, or nothing | the bare address, which all of them read as Task v2 |
//! | 2.3 and later | `BootstrapParams` | `BootstrapResult`, Task v3 |
//!
//! 2.0 to 2.2 would take version 3 too, in JSON. With it they run no `start` and no `delete` for each container: that saves
//! 0.3 ms of a StartContainer of 6 ms, and takes away the one time that somebody asks about a container whose shim was
//! killed before its bundle is removed.

use containerd_shim::{
    Flags,
    bootstrap::{BootstrapParams, BootstrapResult},
};
use protobuf::Message;

use crate::failure::{Failure, Result};

/// containerd reads no more than this either.
pub(crate) const MAX_INPUT: u64 = 10 << 20;

/// How `start` answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The address and nothing else.
    Address,
    /// `BootstrapResult`.
    Protobuf,
}

impl Reply {
    /// Whether who is answered so runs `start` and `delete` for each container. With Task v3 it does for the sandbox only.
    pub(crate) fn names_each_container(self) -> bool {
        self == Self::Address
    }
}

/// What a shim is started with.
#[derive(Debug, Clone)]
pub(crate) struct Start {
    /// Container for which the shim is asked for.
    pub(crate) id: String,
    /// containerd's namespace.
    pub(crate) namespace: String,
    /// containerd's own socket; part of the name of ours.
    pub(crate) grpc_address: String,
    /// Where events go.
    pub(crate) ttrpc_address: String,
    /// Directory for our socket, when containerd (2.3 and later) names one.
    pub(crate) socket_dir: Option<String>,
    /// Whether to log what only a developer wants to read.
    pub(crate) debug: bool,
    /// How to answer.
    pub(crate) reply: Reply,
}

/// The environment variables that take part.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment {
    /// `TTRPC_ADDRESS`
    pub(crate) ttrpc_address: String,
    /// `GRPC_ADDRESS`, set by containerd 1.7 and later.
    pub(crate) grpc_address: String,
}

impl Environment {
    /// Of this process.
    pub(crate) fn current() -> Self {
        let of = |name| std::env::var(name).unwrap_or_default();
        Self { ttrpc_address: of("TTRPC_ADDRESS"), grpc_address: of("GRPC_ADDRESS") }
    }
}

/// Reads a `start` of any generation.
pub(crate) fn read(flags: &Flags, input: &[u8], environment: &Environment) -> Result<Start> {
    if flags.id.is_empty() || flags.namespace.is_empty() {
        return Err(Failure::invalid("start: -id and -namespace are needed (containerd sets both)"));
    }
    Ok(match params(flags, input) {
        Some(params) => Start {
            id: params.instance_id,
            namespace: params.namespace,
            grpc_address: params.containerd_grpc_address,
            ttrpc_address: params.containerd_ttrpc_address,
            socket_dir: params.socket_dir.filter(|dir| !dir.is_empty()),
            debug: flags.debug || params.log_level.value() <= LOG_LEVEL_DEBUG,
            reply: Reply::Protobuf,
        },
        None => Start {
            id: flags.id.clone(),
            namespace: flags.namespace.clone(),
            grpc_address: first(&[&flags.address, &environment.grpc_address]),
            ttrpc_address: environment.ttrpc_address.clone(),
            socket_dir: None,
            debug: flags.debug,
            reply: Reply::Address,
        },
    })
}

/// `DEBUG` of the open enum `LogLevel`; smaller is more verbose.
const LOG_LEVEL_DEBUG: i32 = -4;

/// `BootstrapParams`, if that is what `input` is. Legacy runtime options, an `Any`, decode as `BootstrapParams` too
/// (the type URL lands in `instance_id`), so the message is believed only when it names who we are.
fn params(flags: &Flags, input: &[u8]) -> Option<BootstrapParams> {
    if input.is_empty() {
        return None;
    }
    let params = BootstrapParams::parse_from_bytes(input).ok()?;
    (params.instance_id == flags.id && params.namespace == flags.namespace).then_some(params)
}

/// The bytes that go to standard output.
pub(crate) fn reply(reply: Reply, address: &str) -> Result<Vec<u8>> {
    match reply {
        Reply::Address => Ok(address.as_bytes().to_vec()),
        Reply::Protobuf => BootstrapResult {
            version: containerd_shim_protos::TASK_API_VERSION,
            address: address.to_owned(),
            protocol: "ttrpc".to_owned(),
            ..Default::default()
        }
        .write_to_bytes()
        .map_err(|error| Failure::unknown(format!("encode the answer to start: {error}"))),
    }
}

fn first(candidates: &[&String]) -> String {
    candidates.iter().find(|candidate| !candidate.is_empty()).map_or_else(String::new, |found| (*found).clone())
}

#[cfg(test)]
mod tests {
    use protobuf::well_known_types::any::Any;

    use super::*;

    fn flags() -> Flags {
        Flags {
            id: "pod".to_owned(),
            namespace: "k8s.io".to_owned(),
            address: "/run/c.sock".to_owned(),
            ..Flags::default()
        }
    }

    fn environment() -> Environment {
        Environment { ttrpc_address: "/run/c.sock.ttrpc".to_owned(), ..Environment::default() }
    }

    #[test]
    fn containerd_1_6_without_options_is_answered_with_the_bare_address() {
        let start = read(&flags(), &[], &environment()).unwrap();
        assert_eq!((start.reply, start.ttrpc_address.as_str()), (Reply::Address, "/run/c.sock.ttrpc"));
        assert_eq!(reply(start.reply, "unix:///s").unwrap(), b"unix:///s");
    }

    #[test]
    fn runtime_options_are_not_taken_for_bootstrap_parameters() {
        let options = Any { type_url: "containerd.runc.v1.Options".into(), value: vec![1, 2], ..Any::default() };
        let start = read(&flags(), &options.write_to_bytes().unwrap(), &environment()).unwrap();
        assert_eq!(start.reply, Reply::Address);
        assert_eq!(start.id, "pod");
    }

    #[test]
    fn containerd_2_3_is_answered_in_protobuf() {
        let params = BootstrapParams {
            instance_id: "pod".into(),
            namespace: "k8s.io".into(),
            containerd_ttrpc_address: "/run/c.sock.ttrpc".into(),
            containerd_grpc_address: "/run/c.sock".into(),
            socket_dir: Some("/run/s".into()),
            ..BootstrapParams::default()
        };
        let start = read(&flags(), &params.write_to_bytes().unwrap(), &Environment::default()).unwrap();
        assert_eq!((start.reply, start.socket_dir.as_deref()), (Reply::Protobuf, Some("/run/s")));
        let answer = BootstrapResult::parse_from_bytes(&reply(start.reply, "unix:///s").unwrap()).unwrap();
        assert_eq!((answer.version, answer.address.as_str(), answer.protocol.as_str()), (3, "unix:///s", "ttrpc"));
    }

    #[test]
    fn noise_on_standard_input_is_not_fatal() {
        assert_eq!(read(&flags(), &[0xff; 40], &environment()).unwrap().reply, Reply::Address);
    }

    #[test]
    fn a_start_without_an_id_is_refused() {
        assert!(read(&Flags::default(), &[], &environment()).unwrap_err().message.contains("-id"));
    }
}
