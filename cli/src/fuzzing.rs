//! What the fuzz targets of `fuzz/` call: manifests, from their text to what a runtime is asked for, and what else a person, a
//! log or an image says. Nothing is made.

use std::path::Path;

use k8s_openapi::api::core::v1::Pod;

use crate::{
    jsonpath::Template,
    logs::crilog::Reader,
    lower::{
        self, Host, Sources,
        env::{Addresses, Scope},
        layout::Layout,
        volumes,
    },
    manifest::{self, Objects, files, validate::Rules},
    select::selector::{Fields, Labels},
};

/// A manifest file.
pub fn manifest(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(mut objects) = manifest::load("pod.yaml", text) else { return };
    let rules = Rules { runtime_handler: "loment", unsafe_sysctls: &[] };
    // What is not valid is not lowered.
    if files::complete_and_check(&mut objects, None, rules).is_ok() {
        let pods = std::mem::take(&mut objects.pods);
        pods.into_iter().for_each(|pod| lowered(pod, &objects));
    }
}

fn lowered(mut pod: Pod, objects: &Objects) {
    pod.metadata.uid = Some("8e1c7b1e-0000-4000-8000-000000000001".into());
    let sources = Sources::of(lower::namespace(&pod), &objects.config_maps, &objects.secrets);
    let host = Host {
        resolv_conf: "nameserver 192.0.2.53\nsearch lan\n".into(),
        processors: 2,
        memory: 1 << 30,
        ..Host::default()
    };
    let addresses = Addresses { pod: vec!["10.88.0.2".into()] };
    let layout = Layout::of(&pod, Path::new("/var/lib/loment"), Path::new("/var/log/pods"));
    let scope = Scope { pod: &pod, sources: &sources, addresses: &addresses, host: &host };
    let spec = pod.spec.clone().unwrap_or_default();
    let sandbox = lower::sandbox::config(&pod, &layout, &host).expect("a pod can be written as JSON");
    for container in lower::containers(&spec) {
        let _config = lower::container::config(scope, container, &layout);
    }
    let _rest = (
        volumes::make(scope, &layout),
        lower::missing(scope, &layout),
        volumes::refresh(scope, &layout),
        lower::view::view(scope, &layout),
    );
    // What is valid here is a pod for its shim, too.
    let manifest = &sandbox.annotations[lower::MANIFEST];
    if let Err(error) = loment_sandbox::lifecycle::PodSpec::from_manifest(manifest) {
        panic!("the shim refuses {manifest}: {error}");
    }
}

/// A template, a selector, and a log.
pub fn text(bytes: &[u8]) {
    let object = serde_json::json!({
        "a": [{"b": 1, "c": "x"}, {"b": -2}, null], "d": {"e": {"f": [[1, 2], []]}}, "g.h": true, "status": {"phase": "x"},
    });
    if let Ok(text) = std::str::from_utf8(bytes) {
        for template in [Template::parse(text), Template::parse_relaxed(text)].into_iter().flatten() {
            let _printed = (template.print(&object), template.values(&object).map(|values| values.len()));
        }
        let _labels = Labels::parse(text).map(|labels| labels.match_labels(None));
        let _fields = Fields::parse(text);
    }
    let mut reader = Reader::new(bytes);
    while let Ok(Some(_)) = reader.next() {}
}
