//! One container of a pod.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::Container;
use loment_cri::v1::{ContainerConfig, ContainerMetadata, ImageSpec, KeyValue, LinuxContainerConfig};

use super::env::{Scope, expand, resolve};
use super::layout::Layout;
use super::{CONTAINER_NAME, Missing, label, resources, sandbox, security, volumes};

/// A container of a completed pod.
pub(crate) fn config(scope: Scope<'_>, container: &Container, layout: &Layout) -> Result<ContainerConfig, Missing> {
    let variables = resolve(scope, container)?;
    let value = |name: &str| variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let expanded = |words: &Option<Vec<String>>| -> Vec<String> {
        words.iter().flatten().map(|word| expand(word, value)).collect()
    };
    let image = container.image.clone().unwrap_or_default();
    let spec = scope.pod.spec.clone().unwrap_or_default();
    let mut labels = sandbox::labels(scope.pod);
    labels.insert(label::CONTAINER_NAME.to_owned(), container.name.clone());
    Ok(ContainerConfig {
        metadata: Some(ContainerMetadata { name: container.name.clone(), attempt: 0 }),
        image: Some(ImageSpec { image: image.clone(), user_specified_image: image, ..ImageSpec::default() }),
        command: expanded(&container.command),
        args: expanded(&container.args),
        working_dir: container.working_dir.clone().unwrap_or_default(),
        envs: variables.iter().map(|(key, value)| KeyValue { key: key.clone(), value: value.clone() }).collect(),
        mounts: volumes::mounts(scope.pod, container, layout),
        labels,
        annotations: HashMap::from([(CONTAINER_NAME.to_owned(), container.name.clone())]),
        log_path: format!("{}/0.log", container.name),
        stdin: container.stdin == Some(true),
        stdin_once: container.stdin_once == Some(true),
        tty: container.tty == Some(true),
        linux: Some(LinuxContainerConfig {
            resources: Some(resources::of_container(&spec, container, scope.host)),
            security_context: Some(security::of_container(&spec, container, &layout.seccomp)),
        }),
        ..ContainerConfig::default()
    })
}
