//! What the fuzz targets of `fuzz/` call: all that a client, a file of a bundle or the command line says. Nothing is made: the
//! shim has no container, and a Create goes as far as it is checked.

use std::{cell::OnceCell, path::Path, sync::Arc};

use containerd_shim_protos::{api::CreateTaskRequest, sandbox_api::CreateSandboxRequest};
use loment_cgroups::Layout;
use oci_spec::runtime::Spec;
use protobuf::Message;
use ttrpc::{
    r#async::TtrpcContext,
    proto::{MessageHeader, Request},
};

use crate::{
    address, args, bootstrap,
    events::Events,
    members::Members,
    pod, rpc, sandbox,
    shim::Shim,
    spec,
    traces::{Began, Traces},
};

/// The command line, a word in each line up to an empty one, and what follows it on standard input.
pub fn bootstrap(bytes: &[u8]) {
    let at = bytes.windows(2).position(|two| two == b"\n\n").unwrap_or(0);
    let (line, input) = (&bytes[..at], bytes.get(at + 2..).unwrap_or_default());
    let words: Vec<String> = String::from_utf8_lossy(line).split('\n').map(str::to_owned).collect();
    let Ok(flags) = args::parse(&words) else { return };
    let Ok(start) = bootstrap::read(&flags, input, &bootstrap::Environment::default()) else { return };
    let address = address::of_group(&start, &start.id);
    assert!(address.starts_with("unix://"), "{address}");
    let _reply = bootstrap::reply(start.reply, &address);
}

/// A request: the first byte is the method, the rest its bytes.
pub fn rpc(bytes: &[u8]) {
    thread_local!(static SHIM: OnceCell<(tokio::runtime::Runtime, Arc<Shim>)> = const { OnceCell::new() });
    let Some((method, payload)) = bytes.split_first() else { return };
    SHIM.with(|shim| {
        let (runtime, shim) = shim.get_or_init(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let shim = runtime.block_on(async { empty_shim() });
            (runtime, shim)
        });
        runtime.block_on(ask(shim, *method, payload));
    });
}

fn empty_shim() -> Arc<Shim> {
    let began = Began { invoked: 1, understood: 2, bound: 3, forked: 4 };
    let layout = Layout::detect().expect("cgroups");
    let members = Members::of(Path::new("/nowhere"), false);
    Arc::new(Shim::new(Events::new("test", "/nowhere"), layout, Traces::new(began), members))
}

async fn ask(shim: &Arc<Shim>, method: u8, payload: &[u8]) {
    let services = rpc::services(shim);
    let mut all: Vec<_> =
        services.iter().flat_map(|(name, service)| service.methods.iter().map(move |method| (name, method))).collect();
    all.sort_by_key(|(service, (method, _))| (*service, *method));
    let (service, (name, handler)) = all[usize::from(method) % all.len()];
    match name.as_str() {
        "Create" => {
            let Ok(request) = CreateTaskRequest::parse_from_bytes(payload) else { return };
            let _plan = rpc::create::considered(&request);
        }
        "CreateSandbox" => {
            let Ok(request) = CreateSandboxRequest::parse_from_bytes(payload) else { return };
            sandbox_config(&request.options.value);
        }
        _ => {
            let context = TtrpcContext {
                mh: MessageHeader::default(),
                metadata: Default::default(),
                timeout_nano: 0,
                connection_data: Default::default(),
            };
            let request = Request {
                service: service.clone(),
                method: name.clone(),
                payload: payload.to_vec(),
                ..Request::default()
            };
            let answered = tokio::time::timeout(std::time::Duration::from_secs(5), handler.handler(context, request));
            assert!(answered.await.is_ok(), "{service}/{name} waits for ever");
        }
    }
}

/// CRI's configuration of a pod, to a specification of its sandbox.
pub fn sandbox_config(bytes: &[u8]) {
    if let Some(text) = sandbox::considered(bytes) {
        loment_sandbox::fuzzing::spec(&text);
    }
}

/// The annotations of a specification, as JSON, to a pod that the shim would run.
pub fn annotations(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let whole = format!("{{\"ociVersion\":\"1.0.2\",\"annotations\":{text}}}");
    let _group = address::group_of(&whole, "id");
    let Ok(mut spec) = spec::parse(&whole) else { return };
    // Where a directory is named, it is read.
    if let Some(annotations) = spec.annotations_mut() {
        for name in [pod::names::DIRECTORY, pod::names::HELD_IN, pod::names::LOGS] {
            annotations.remove(name);
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { pod::considered(&spec) });
}

/// A specification: what becomes of it in a pod, and of what the shim looks for in it.
pub fn spec(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _group = address::group_of(text, "id");
    let Ok(mut spec) = spec::parse(text) else { return };
    sandbox::fitted(&mut spec);
    let fitted: Vec<u8> = serde_json::to_vec(&spec).unwrap_or_default();
    assert!(serde_json::from_slice::<Spec>(&fitted).is_ok(), "what is written can be read");
}

/// What is kept of a pod on the disk.
pub fn records(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    pod::read_back(text);
}
