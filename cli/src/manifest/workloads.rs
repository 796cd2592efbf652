//! Objects that are not for a single machine, and where they run.

/// Kinds that make pods out of a template: who has one wants it run by Kubernetes, with loment as the runtime.
const CONTROLLERS: [&str; 7] =
    ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job", "CronJob"];

/// Other kinds that often stand in the same file as a pod.
const OTHERS: [&str; 6] =
    ["Service", "Namespace", "PersistentVolumeClaim", "PersistentVolume", "Ingress", "ServiceAccount"];

/// What is said about a kind that exists and is not taken; nothing about one that nobody knows.
pub(super) fn refusal(kind: &str) -> Option<String> {
    if CONTROLLERS.contains(&kind) {
        let template = if kind == "CronJob" { "spec.jobTemplate.spec.template.spec" } else { "spec.template.spec" };
        return Some(format!(
            "a {kind} is run by the controllers of Kubernetes, not on a single machine: set `runtimeClassName: loment` in \
             its {template}\n    and `kubectl apply` it to a cluster whose nodes have the runtime class, or give its \
             template here as a Pod"
        ));
    }
    OTHERS
        .contains(&kind)
        .then(|| format!("a {kind} means nothing on a single machine: loment takes Pod, ConfigMap and Secret"))
}
