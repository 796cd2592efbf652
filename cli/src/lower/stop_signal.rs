//! The signal that asks a container to end: the manifest's, else the image's `STOPSIGNAL`, else SIGTERM. The shim knows
//! nothing of images, so it is told in the manifest that the sandbox carries.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod};
use nix::sys::signal::Signal;

/// The first real-time signal that programs of glibc and musl are given.
const SIGRTMIN: i32 = 34;
/// The last one.
const SIGRTMAX: i32 = 64;

/// Gives the containers that name no signal that of their image. `of_image` has what images say, by image.
pub(crate) fn complete(pod: &mut Pod, of_image: &BTreeMap<String, String>) {
    let Some(spec) = &mut pod.spec else { return };
    let signal = |container: &Container| named(of_image.get(container.image.as_deref()?)?);
    for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
        let signal = signal(container);
        let own = container.lifecycle.as_ref().is_some_and(|lifecycle| lifecycle.stop_signal.is_some());
        if let (Some(signal), false) = (signal, own) {
            container.lifecycle.get_or_insert_default().stop_signal = Some(signal);
        }
    }
}

/// `STOPSIGNAL` of an image, from containerd's own view of it: the OCI image's configuration is in there.
pub(crate) fn of_image(info: &str) -> Option<String> {
    let info: serde_json::Value = serde_json::from_str(info).ok()?;
    let signal = info["imageSpec"]["config"]["StopSignal"].as_str()?;
    (!signal.is_empty()).then(|| signal.to_owned())
}

/// What an image says, as a manifest would: images may leave `SIG` out or give the number. Nothing for what is no signal:
/// containerd passes over it too.
fn named(text: &str) -> Option<String> {
    if let Ok(number) = text.parse::<i32>() {
        return match Signal::try_from(number) {
            Ok(signal) => Some(signal.as_str().to_owned()),
            Err(_) if (SIGRTMIN..=SIGRTMAX).contains(&number) => Some(format!("SIGRTMIN+{}", number - SIGRTMIN)),
            Err(_) => None,
        };
    }
    let upper = text.to_uppercase();
    let name = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    let is_real_time = name.starts_with("SIGRTMIN") || name.starts_with("SIGRTMAX");
    (is_real_time || name.parse::<Signal>().is_ok()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a5_an_image_may_write_a_signal_in_several_ways() {
        for (text, name) in [
            ("SIGQUIT", Some("SIGQUIT")),
            ("quit", Some("SIGQUIT")),
            ("3", Some("SIGQUIT")),
            ("SIGRTMIN+3", Some("SIGRTMIN+3")),
            ("37", Some("SIGRTMIN+3")),
            ("0", None),
            ("65", None),
            ("SIGNAL", None),
            ("", None),
        ] {
            assert_eq!(named(text).as_deref(), name, "{text}");
        }
    }

    #[test]
    fn a5_the_manifests_signal_goes_before_that_of_the_image() {
        let mut pod: Pod = serde_json::from_value(serde_json::json!({ "spec": {
            "initContainers": [{ "name": "a", "image": "web" }],
            "containers": [
                { "name": "b", "image": "web", "lifecycle": { "stopSignal": "SIGINT" } },
                { "name": "c", "image": "other" },
            ],
        }}))
        .unwrap();
        complete(&mut pod, &[("web".to_owned(), "QUIT".to_owned())].into());
        let spec = pod.spec.unwrap();
        let signal = |container: &Container| container.lifecycle.as_ref().and_then(|all| all.stop_signal.clone());
        assert_eq!(signal(&spec.init_containers.unwrap()[0]).as_deref(), Some("SIGQUIT"));
        assert_eq!(signal(&spec.containers[0]).as_deref(), Some("SIGINT"));
        assert_eq!(signal(&spec.containers[1]), None);
    }
}
