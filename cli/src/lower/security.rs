//! Security contexts: the container's over the pod's.

use std::path::Path;

use k8s_openapi::api::core::v1::{Container, PodSpec, SELinuxOptions, SeccompProfile};
use loment_cri::{
    masks,
    v1::{
        Capability, Image, Int64Value, LinuxContainerSecurityContext, LinuxSandboxSecurityContext, NamespaceMode,
        NamespaceOption, SeLinuxOption, SecurityProfile, SupplementalGroupsPolicy, security_profile::ProfileType,
    },
};

use super::layout::text;

/// The namespaces that the pod shares, with the host or among its containers.
fn namespaces(spec: &PodSpec) -> NamespaceOption {
    let node_or = |host: Option<bool>, own: NamespaceMode| match host {
        Some(true) => NamespaceMode::Node,
        _ => own,
    };
    let own_pid = match spec.share_process_namespace {
        Some(true) => NamespaceMode::Pod,
        _ => NamespaceMode::Container,
    };
    NamespaceOption {
        network: node_or(spec.host_network, NamespaceMode::Pod).into(),
        pid: node_or(spec.host_pid, own_pid).into(),
        ipc: node_or(spec.host_ipc, NamespaceMode::Pod).into(),
        ..NamespaceOption::default()
    }
}

/// What holds for the sandbox and whatever runs in it.
pub(super) fn of_sandbox(spec: &PodSpec) -> LinuxSandboxSecurityContext {
    let context = spec.security_context.clone().unwrap_or_default();
    let privileged = super::containers(spec).any(is_privileged);
    LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(spec)),
        run_as_user: context.run_as_user.map(|value| Int64Value { value }),
        // containerd refuses a group without a user, and the sandbox runs nothing of the pod's.
        run_as_group: context.run_as_group.filter(|_| context.run_as_user.is_some()).map(|value| Int64Value { value }),
        supplemental_groups: groups(spec),
        supplemental_groups_policy: groups_policy(spec).into(),
        selinux_options: context.se_linux_options.map(labels),
        privileged,
        seccomp: Some(profile(ProfileType::RuntimeDefault)),
        ..LinuxSandboxSecurityContext::default()
    }
}

fn is_privileged(container: &Container) -> bool {
    container.security_context.as_ref().and_then(|context| context.privileged) == Some(true)
}

/// What holds for one container. `profiles` is the directory of the machine's own seccomp profiles.
pub(super) fn of_container(spec: &PodSpec, container: &Container, profiles: &Path) -> LinuxContainerSecurityContext {
    let pod = spec.security_context.clone().unwrap_or_default();
    let own = container.security_context.clone().unwrap_or_default();
    let app_armor = own.app_armor_profile.or(pod.app_armor_profile);
    LinuxContainerSecurityContext {
        capabilities: own.capabilities.map(|capabilities| Capability {
            add_capabilities: bare_names(capabilities.add),
            drop_capabilities: bare_names(capabilities.drop),
            ..Capability::default()
        }),
        privileged: own.privileged == Some(true),
        selinux_options: own.se_linux_options.or(pod.se_linux_options).map(labels),
        namespace_options: Some(namespaces(spec)),
        run_as_user: own.run_as_user.or(pod.run_as_user).map(|value| Int64Value { value }),
        run_as_group: own.run_as_group.or(pod.run_as_group).map(|value| Int64Value { value }),
        readonly_rootfs: own.read_only_root_filesystem == Some(true),
        supplemental_groups: groups(spec),
        supplemental_groups_policy: groups_policy(spec).into(),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        seccomp: Some(seccomp(own.seccomp_profile.or(pod.seccomp_profile).as_ref(), profiles)),
        apparmor: app_armor.map(|chosen| SecurityProfile {
            profile_type: profile_type(&chosen.type_).into(),
            localhost_ref: chosen.localhost_profile.unwrap_or_default(),
        }),
        // containerd opens all of them to a privileged container.
        masked_paths: masks::MASKED.map(str::to_owned).into(),
        readonly_paths: masks::READONLY.map(str::to_owned).into(),
        ..LinuxContainerSecurityContext::default()
    }
}

/// Whether a container is given a group and no user: containerd refuses that, so that the image's user has to be looked up.
pub(crate) fn lacks_user(context: &LinuxContainerSecurityContext) -> bool {
    context.run_as_group.is_some() && context.run_as_user.is_none() && context.run_as_username.is_empty()
}

/// Gives a container the user of its image, by number or by name, as a kubelet does; an image that names none means root.
pub(crate) fn run_as_user_of(context: &mut LinuxContainerSecurityContext, image: &Image) {
    match &image.uid {
        Some(uid) => context.run_as_user = Some(*uid),
        None if !image.username.is_empty() => context.run_as_username = image.username.clone(),
        None => context.run_as_user = Some(Int64Value { value: 0 }),
    }
}

/// Whether the manifest forbids root for this container, and which user it names.
pub(crate) fn must_not_be_root(spec: &PodSpec, container: &Container) -> (bool, Option<i64>) {
    let pod = spec.security_context.as_ref();
    let own = container.security_context.as_ref();
    let forbids = own.and_then(|c| c.run_as_non_root).or(pod.and_then(|c| c.run_as_non_root)) == Some(true);
    (forbids, own.and_then(|c| c.run_as_user).or(pod.and_then(|c| c.run_as_user)))
}

/// The parts of a label, which mean something on a kernel with SELinux when containerd has it enabled.
fn labels(options: SELinuxOptions) -> SeLinuxOption {
    SeLinuxOption {
        user: options.user.unwrap_or_default(),
        role: options.role.unwrap_or_default(),
        r#type: options.type_.unwrap_or_default(),
        level: options.level.unwrap_or_default(),
    }
}

/// Capabilities without their prefix, which the runtime puts before every name itself.
fn bare_names(names: Option<Vec<String>>) -> Vec<String> {
    let names = names.unwrap_or_default().into_iter();
    names.map(|name| name.strip_prefix("CAP_").map_or(name.clone(), str::to_owned)).collect()
}

fn groups(spec: &PodSpec) -> Vec<i64> {
    let Some(context) = &spec.security_context else { return Vec::new() };
    context.supplemental_groups.iter().flatten().copied().chain(context.fs_group).collect()
}

fn groups_policy(spec: &PodSpec) -> SupplementalGroupsPolicy {
    match spec.security_context.as_ref().and_then(|context| context.supplemental_groups_policy.as_deref()) {
        Some("Strict") => SupplementalGroupsPolicy::Strict,
        _ => SupplementalGroupsPolicy::Merge,
    }
}

fn profile(kind: ProfileType) -> SecurityProfile {
    SecurityProfile { profile_type: kind.into(), localhost_ref: String::new() }
}

fn profile_type(name: &str) -> ProfileType {
    match name {
        "RuntimeDefault" => ProfileType::RuntimeDefault,
        "Localhost" => ProfileType::Localhost,
        _ => ProfileType::Unconfined,
    }
}

/// No profile means unconfined, as under a kubelet that was not told otherwise.
fn seccomp(chosen: Option<&SeccompProfile>, profiles: &Path) -> SecurityProfile {
    let Some(chosen) = chosen else { return profile(ProfileType::Unconfined) };
    let localhost_ref = chosen.localhost_profile.as_deref().map(|file| text(&profiles.join(file))).unwrap_or_default();
    SecurityProfile { profile_type: profile_type(&chosen.type_).into(), localhost_ref }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_group_without_a_user_is_given_the_user_of_the_image_and_not_to_the_sandbox() {
        let spec: PodSpec = serde_json::from_value(json!({
            "securityContext": { "runAsGroup": 5 },
            "containers": [{ "name": "a" }, { "name": "b", "securityContext": { "runAsUser": 7 } }],
        }))
        .unwrap();
        let context = |index: usize| of_container(&spec, &spec.containers[index], Path::new("/profiles"));
        assert_eq!(of_sandbox(&spec).run_as_group, None);
        assert!(!lacks_user(&context(1)));
        let number = |value| Int64Value { value };
        for (uid, username) in [(Some(number(3)), ""), (None, "www"), (None, "")] {
            let mut context = context(0);
            assert!(lacks_user(&context));
            let image = Image { uid, username: username.to_owned(), ..Image::default() };
            run_as_user_of(&mut context, &image);
            assert_eq!(context.run_as_group, Some(number(5)));
            let root = (uid.is_none() && username.is_empty()).then(|| number(0));
            assert_eq!((context.run_as_user, context.run_as_username.as_str()), (uid.or(root), username));
        }
    }
}
