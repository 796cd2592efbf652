//! Rules for the pod as a whole.

use k8s_openapi::api::core::v1::{Pod, PodSpec};

use super::super::annotations;
use super::errors::{Errors, quoted};
use super::names::qualified_name_problem;
use super::{Rules, container, metadata, network, resources, security, sysctls, volumes};

/// Why what is only tried out upstream is not taken.
pub(super) const ALPHA: &str = "an alpha field of Kubernetes";

pub(super) fn check(errors: &mut Errors, pod: &Pod, rules: Rules<'_>) {
    metadata::check(errors, &pod.metadata);
    let Some(spec) = &pod.spec else { return errors.required("spec.containers", "") };
    let volumes = volumes::check(errors, spec);
    container::check_all(errors, spec, &volumes);
    check_policies(errors, spec);
    check_namespaces(errors, spec);
    network::check_hostname(errors, pod, spec);
    network::check_dns(errors, spec);
    security::check_pod(errors, spec);
    sysctls::check(errors, spec, rules.unsafe_sysctls);
    resources::check_pod(errors, spec);
    refuse_unsupported(errors, spec);
    check_runtime_class(errors, spec, rules.runtime_handler);
    warn(errors, spec);
    annotations::unknown(pod.metadata.annotations.iter().flatten().map(|(name, _)| name))
        .into_iter()
        .for_each(|text| errors.warn(text));
}

/// What is taken, but may not do what its author expects.
fn warn(errors: &mut Errors, spec: &PodSpec) {
    if spec.image_pull_secrets.iter().flatten().next().is_some() {
        errors
            .warn("spec.imagePullSecrets: images are pulled with the credentials of containerd's configuration".into());
    }
    if spec.readiness_gates.iter().flatten().next().is_some() {
        errors.warn(
            "spec.readinessGates: nobody sets these conditions on a single machine: the pod is never Ready".into(),
        );
    }
    for problem in volumes::sub_paths_that_are_made_early(spec) {
        errors.warn(problem);
    }
}

fn check_policies(errors: &mut Errors, spec: &PodSpec) {
    let restart = spec.restart_policy.as_deref().unwrap_or_default();
    const RESTART: [&str; 3] = ["Always", "OnFailure", "Never"];
    if !RESTART.contains(&restart) {
        errors.unsupported("spec.restartPolicy", restart, &RESTART);
    }
    if let Some(grace) = spec.termination_grace_period_seconds.filter(|grace| *grace < 0) {
        errors.invalid("spec.terminationGracePeriodSeconds", grace, "must be greater than or equal to 0");
    }
    if let Some(deadline) = spec.active_deadline_seconds
        && !(1..=i64::from(i32::MAX)).contains(&deadline)
    {
        errors.invalid("spec.activeDeadlineSeconds", deadline, "must be between 1 and 2147483647, inclusive");
    }
}

fn check_namespaces(errors: &mut Errors, spec: &PodSpec) {
    let yes = |field: Option<bool>| field == Some(true);
    if yes(spec.share_process_namespace) && yes(spec.host_pid) {
        errors.invalid("spec.shareProcessNamespace", true, "ShareProcessNamespace and HostPID cannot both be enabled");
    }
    let others =
        [("spec.hostNetwork", spec.host_network), ("spec.hostPID", spec.host_pid), ("spec.hostIPC", spec.host_ipc)];
    for (path, _) in others.iter().filter(|(_, set)| spec.host_users == Some(false) && yes(*set)) {
        errors.forbidden(path, &format!("when `hostUsers` is false, `{}` must be false", &path[5..]));
    }
    // A kubelet has the volumes of such a pod mounted with its users, by containerd 2.x; here nobody does.
    let reason = "the volumes that loment makes do not follow a pod's users; Kubernetes runs such pods with loment";
    errors.refuse("spec.hostUsers", spec.host_users == Some(false), reason);
}

fn refuse_unsupported(errors: &mut Errors, spec: &PodSpec) {
    if spec.ephemeral_containers.iter().flatten().next().is_some() {
        errors.forbidden("spec.ephemeralContainers", "cannot be set on create");
    }
    let claims = spec.resource_claims.iter().flatten().next().is_some();
    errors.refuse("spec.resourceClaims", claims, "devices are given out by a cluster's drivers");
    let gates = spec.scheduling_gates.iter().flatten().next().is_some();
    errors.refuse("spec.schedulingGates", gates, "nobody would remove them: the pod would never start");
    for (index, gate) in spec.readiness_gates.iter().flatten().enumerate() {
        if let Some(problem) = qualified_name_problem(&gate.condition_type) {
            let path = format!("spec.readinessGates[{index}].conditionType");
            errors.invalid(&path, quoted(&gate.condition_type), problem);
        }
    }
    if let Some(os) = spec.os.as_ref().filter(|os| os.name != "linux") {
        errors.unsupported("spec.os.name", &os.name, &["linux"]);
    }
}

/// The manifest's runtime class must not be another runtime than the one that the pod is about to get.
fn check_runtime_class(errors: &mut Errors, spec: &PodSpec, runtime_handler: &str) {
    if let Some(class) = spec.runtime_class_name.as_deref().filter(|class| *class != runtime_handler) {
        let detail = format!(
            "there are no runtime classes on a single machine and this pod would run with {runtime_handler:?}; remove the \
             field or pass --runtime-handler={class}"
        );
        errors.invalid("spec.runtimeClassName", quoted(class), &detail);
    }
}
