//! Fields that are taken and mean nothing on a single machine, with the reason.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

/// A field of a manifest and why it has no effect.
pub(crate) type Ignored = (String, &'static str);

const SCHEDULING: &str = "there is one machine, so there is nothing to choose";
const ACCOUNT: &str = "there is no API server that would know the account";
const PRIORITY: &str = "pods do not compete for a machine here";

/// The fields of a pod that are set and have no effect.
pub(crate) fn ignored(pod: &Pod) -> Vec<Ignored> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let mut found: Vec<Ignored> =
        of_spec(spec).into_iter().filter(|(_, set, _)| *set).map(|(path, _, why)| (path.to_owned(), why)).collect();
    let inits =
        spec.init_containers.iter().flatten().enumerate().map(|(i, c)| (format!("spec.initContainers[{i}]"), c));
    let apps = spec.containers.iter().enumerate().map(|(i, c)| (format!("spec.containers[{i}]"), c));
    for (path, container) in inits.chain(apps) {
        found.extend(of_container(&path, container));
    }
    if pod.metadata.managed_fields.iter().flatten().next().is_some() {
        found.push(("metadata.managedFields".to_owned(), "nobody else owns fields of the pod"));
    }
    if pod.metadata.owner_references.iter().flatten().next().is_some() {
        found.push(("metadata.ownerReferences".to_owned(), "there is no other object that could own the pod"));
    }
    found
}

fn of_spec(spec: &PodSpec) -> Vec<(&'static str, bool, &'static str)> {
    let text = |field: &Option<String>| field.as_deref().is_some_and(|text| !text.is_empty());
    let scheduler = spec.scheduler_name.as_deref().is_some_and(|name| !matches!(name, "" | "default-scheduler"));
    let selinux = spec.security_context.as_ref().is_some_and(|context| text(&context.se_linux_change_policy));
    vec![
        ("spec.affinity", spec.affinity.is_some(), SCHEDULING),
        ("spec.nodeSelector", spec.node_selector.iter().flatten().next().is_some(), SCHEDULING),
        ("spec.tolerations", spec.tolerations.iter().flatten().next().is_some(), "a single machine has no taints"),
        (
            "spec.topologySpreadConstraints",
            spec.topology_spread_constraints.iter().flatten().next().is_some(),
            SCHEDULING,
        ),
        ("spec.schedulerName", scheduler, SCHEDULING),
        ("spec.schedulingGroup", spec.scheduling_group.is_some(), SCHEDULING),
        ("spec.priority", spec.priority.is_some(), PRIORITY),
        ("spec.priorityClassName", text(&spec.priority_class_name), PRIORITY),
        ("spec.preemptionPolicy", text(&spec.preemption_policy), PRIORITY),
        ("spec.serviceAccountName", text(&spec.service_account_name), ACCOUNT),
        ("spec.serviceAccount", text(&spec.service_account), ACCOUNT),
        ("spec.automountServiceAccountToken", spec.automount_service_account_token == Some(true), ACCOUNT),
        ("spec.enableServiceLinks", spec.enable_service_links == Some(false), "there are no services"),
        (
            "spec.imagePullSecrets",
            spec.image_pull_secrets.iter().flatten().next().is_some(),
            "images are pulled with the credentials of containerd's configuration",
        ),
        (
            "spec.evictionResponders",
            spec.eviction_responders.iter().flatten().next().is_some(),
            "nobody evicts the pod",
        ),
        ("spec.securityContext.seLinuxChangePolicy", selinux, "volumes keep the labels that they have"),
    ]
}

fn of_container(path: &str, container: &Container) -> Vec<Ignored> {
    let resize = container.resize_policy.iter().flatten().next().is_some();
    let storage = container
        .resources
        .iter()
        .flat_map(|resources| resources.requests.iter().flatten())
        .any(|(name, _)| name == "ephemeral-storage");
    let limited = container
        .resources
        .iter()
        .flat_map(|resources| resources.limits.iter().flatten())
        .any(|(name, _)| name == "ephemeral-storage");
    [
        ("resizePolicy", resize, "resources are not changed in place"),
        ("resources.requests.ephemeral-storage", storage && !limited, "a request only matters to a scheduler"),
    ]
    .into_iter()
    .filter(|(_, set, _)| *set)
    .map(|(field, _, why)| (format!("{path}.{field}"), why))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{defaults, load};

    fn paths(fields: &str) -> Vec<String> {
        let text = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nspec: {{containers: [{{name: a, image: b}}], {fields}}}\n"
        );
        let mut pod = load("f", &text).unwrap().pods.remove(0);
        defaults::complete(&mut pod, "default");
        ignored(&pod)
            .into_iter()
            .map(|(path, why)| {
                assert!(!why.is_empty());
                path
            })
            .collect()
    }

    #[test]
    fn what_has_no_effect_is_named_and_defaults_are_not() {
        assert_eq!(paths("restartPolicy: Never"), [""; 0]);
        assert_eq!(
            paths("nodeSelector: {a: b}, affinity: {}, serviceAccountName: s, schedulerName: x, priority: 1"),
            ["spec.affinity", "spec.nodeSelector", "spec.schedulerName", "spec.priority", "spec.serviceAccountName"]
        );
        assert_eq!(
            paths("initContainers: [{name: i, image: b, resources: {requests: {ephemeral-storage: 1Gi}}}]"),
            ["spec.initContainers[0].resources.requests.ephemeral-storage"]
        );
    }
}
