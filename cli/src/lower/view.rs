//! What a manifest comes to: everything that is decided before anything is made. For people who ask first.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Volume};
use loment_cri::v1::{LinuxContainerResources, MountPropagation};
use serde::Serialize;

use super::env::{Scope, expand, resolve_all};
use super::layout::Layout;
use super::{dns, hosts, resources, sandbox, volumes};
use crate::manifest::amounts::{Side, effective, is_sidecar};
use crate::manifest::ignored::ignored;

/// A pod as it would be made.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct View {
    /// The manifest with every default of the API.
    pub(crate) manifest: Pod,
    pub(crate) hostname: String,
    /// The resolver's servers, searches and options.
    pub(crate) resolver: Resolver,
    pub(crate) qos_class: &'static str,
    /// What the pod needs at the time when it needs most.
    pub(crate) resources: Effective,
    /// The limits of the pod's own cgroup.
    pub(crate) cgroup: Limits,
    /// The containers in the order in which they start.
    pub(crate) containers: Vec<ContainerView>,
    /// The order in which they are stopped: those of one line together, the next line when all of it have ended.
    pub(crate) stops: Vec<Vec<String>>,
    /// Fields without effect.
    pub(crate) ignored: Vec<IgnoredField>,
    /// What the pod refers to and is not there: it could not be made.
    pub(crate) missing: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Resolver {
    pub(crate) servers: Vec<String>,
    pub(crate) searches: Vec<String>,
    pub(crate) options: Vec<String>,
}

/// Amounts as the API writes them; nothing where nobody has asked or limited.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Effective {
    pub(crate) cpu_request: Option<String>,
    pub(crate) cpu_limit: Option<String>,
    pub(crate) memory_request: Option<String>,
    pub(crate) memory_limit: Option<String>,
}

/// Values of cgroup files; nothing where there is no limit.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Limits {
    pub(crate) path: Option<String>,
    pub(crate) cpu_shares: i64,
    /// `cpu.weight` of cgroup v2 for these shares.
    pub(crate) cpu_weight: u64,
    pub(crate) cpu_quota_microseconds: Option<i64>,
    pub(crate) cpu_period_microseconds: i64,
    pub(crate) memory_bytes: Option<i64>,
    pub(crate) oom_score_adj: Option<i64>,
    /// `2MB: 4194304`
    pub(crate) huge_pages: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ContainerView {
    pub(crate) name: String,
    /// `init`, `sidecar` or `app`.
    pub(crate) kind: &'static str,
    /// What has to have happened before it starts.
    pub(crate) starts_when: Vec<String>,
    /// Command and arguments after expansion; empty where the image says them.
    pub(crate) command: Vec<String>,
    pub(crate) args: Vec<String>,
    /// The environment after expansion, without what the image sets. The content of secrets is not shown.
    pub(crate) env: Vec<(String, String)>,
    pub(crate) mounts: Vec<MountView>,
    pub(crate) cgroup: Limits,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MountView {
    pub(crate) path: String,
    /// What is seen there: `emptyDir "scratch" in memory, at most 1048576 bytes`.
    pub(crate) source: String,
    pub(crate) read_only: bool,
    /// `None`, `HostToContainer` or `Bidirectional`.
    pub(crate) propagation: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct IgnoredField {
    pub(crate) path: String,
    pub(crate) reason: &'static str,
}

/// The view of a completed pod. Its addresses are not known yet: what is given as one stands for it.
pub(crate) fn view(scope: Scope<'_>, layout: &Layout) -> View {
    // A secret is not shown to who only asks what a pod would be.
    let masked = scope.sources.masked();
    let scope = Scope { sources: &masked, ..scope };
    let spec = scope.pod.spec.clone().unwrap_or_default();
    let containers = super::containers(&spec).map(|container| of_container(scope, &spec, container, layout));
    let dns = dns::config(&spec, &scope.host.resolv_conf);
    View {
        manifest: scope.pod.clone(),
        hostname: if spec.host_network == Some(true) { scope.host.name.clone() } else { hosts::hostname(scope.pod) },
        resolver: Resolver { servers: dns.servers, searches: dns.searches, options: dns.options },
        qos_class: resources::qos(&spec).name(),
        resources: effective_of(&spec),
        cgroup: limits(&resources::of_pod(&spec, scope.host), Some(sandbox::cgroup(scope.pod))),
        containers: containers.collect(),
        stops: stops(&spec),
        ignored: ignored(scope.pod).into_iter().map(|(path, reason)| IgnoredField { path, reason }).collect(),
        missing: super::missing(scope, layout),
    }
}

fn effective_of(spec: &PodSpec) -> Effective {
    let amount = |side, resource| {
        let amount = effective(spec, side, resource);
        amount.is_positive().then(|| amount.quantity().0)
    };
    // A sum of limits is no limit as long as one container has none.
    let total = resources::of_pod(spec, &super::Host::default());
    Effective {
        cpu_request: amount(Side::Requests, "cpu"),
        cpu_limit: amount(Side::Limits, "cpu").filter(|_| total.cpu_quota > 0),
        memory_request: amount(Side::Requests, "memory"),
        memory_limit: amount(Side::Limits, "memory").filter(|_| total.memory_limit_in_bytes > 0),
    }
}

fn limits(of: &LinuxContainerResources, path: Option<String>) -> Limits {
    let set = |value: i64| Some(value).filter(|value| *value > 0);
    let pages = of.hugepage_limits.iter().map(|limit| format!("{}: {}", limit.page_size, limit.limit));
    Limits {
        oom_score_adj: path.is_none().then_some(of.oom_score_adj),
        path,
        cpu_shares: of.cpu_shares,
        cpu_weight: loment_cgroups::weight_of_shares(u64::try_from(of.cpu_shares).unwrap_or_default()),
        cpu_quota_microseconds: set(of.cpu_quota),
        cpu_period_microseconds: of.cpu_period,
        memory_bytes: set(of.memory_limit_in_bytes),
        huge_pages: pages.collect(),
    }
}

fn of_container(scope: Scope<'_>, spec: &PodSpec, container: &Container, layout: &Layout) -> ContainerView {
    let env = resolve_all(scope, container).0;
    let value = |name: &str| env.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let words = |words: &Option<Vec<String>>| words.iter().flatten().map(|word| expand(word, value)).collect();
    let init = spec.init_containers.iter().flatten().any(|init| init.name == container.name);
    ContainerView {
        name: container.name.clone(),
        kind: match (init, is_sidecar(container)) {
            (true, true) => "sidecar",
            (true, false) => "init",
            (false, _) => "app",
        },
        starts_when: gates(spec, container),
        command: words(&container.command),
        args: words(&container.args),
        mounts: mounts(scope.pod, spec, container, layout),
        cgroup: limits(&resources::of_container(spec, container, scope.host), None),
        env,
    }
}

/// What a container waits for: of those before it in the order of the pod only the last, since that has waited itself.
fn gates(spec: &PodSpec, container: &Container) -> Vec<String> {
    let inits = spec.init_containers.as_deref().unwrap_or_default();
    let has_hook = |container: &Container| container.lifecycle.as_ref().is_some_and(|hooks| hooks.post_start.is_some());
    let gate = |before: &Container| match (is_sidecar(before), has_hook(before), before.startup_probe.is_some()) {
        (false, ..) => format!("{} has ended with 0", before.name),
        (true, false, false) => format!("{} runs", before.name),
        (true, true, false) => format!("{} runs and its postStart has returned", before.name),
        (true, false, true) => format!("{} runs and its startupProbe has succeeded", before.name),
        (true, true, true) => {
            format!("{} runs, its postStart has returned and its startupProbe has succeeded", before.name)
        }
    };
    if let Some(index) = inits.iter().position(|init| init.name == container.name) {
        let before = index.checked_sub(1).and_then(|before| inits.get(before));
        return before.map(gate).into_iter().collect();
    }
    let mut gates: Vec<String> = inits.last().map(gate).into_iter().collect();
    let before = spec.containers.iter().take_while(|app| app.name != container.name).filter(|app| has_hook(app)).last();
    gates.extend(before.map(|app| format!("{}'s postStart has returned", app.name)));
    gates
}

/// The apps together, then the sidecars from the last to the first.
fn stops(spec: &PodSpec) -> Vec<Vec<String>> {
    let apps = spec.containers.iter().map(|app| app.name.clone()).collect();
    let sidecars = spec.init_containers.iter().flatten().filter(|init| is_sidecar(init)).rev();
    std::iter::once(apps).chain(sidecars.map(|sidecar| vec![sidecar.name.clone()])).collect()
}

fn mounts(pod: &Pod, spec: &PodSpec, container: &Container, layout: &Layout) -> Vec<MountView> {
    let wanted = container.volume_mounts.as_deref().unwrap_or_default();
    let found = volumes::mounts(pod, container, layout);
    let described = found.into_iter().map(|mount| {
        let by = wanted.iter().find(|wanted| volumes::absolute(&wanted.mount_path) == mount.container_path);
        let volume = by.and_then(|by| spec.volumes.iter().flatten().find(|volume| volume.name == by.name));
        let part = by.and_then(|by| by.sub_path.as_ref().or(by.sub_path_expr.as_ref())).filter(|part| !part.is_empty());
        let source = volume.map_or_else(|| "a file of the pod's own".to_owned(), describe);
        MountView {
            source: part.map_or_else(|| source.clone(), |part| format!("{part:?} of {source}")),
            read_only: mount.readonly,
            propagation: match mount.propagation() {
                MountPropagation::PropagationPrivate => "None",
                MountPropagation::PropagationHostToContainer => "HostToContainer",
                MountPropagation::PropagationBidirectional => "Bidirectional",
            },
            path: mount.container_path,
        }
    });
    described.collect()
}

fn describe(volume: &Volume) -> String {
    let name = &volume.name;
    if let Some(source) = &volume.host_path {
        format!("{} of the machine ({name})", source.path)
    } else if let Some(source) = &volume.config_map {
        format!("configMap {:?} ({name})", source.name)
    } else if let Some(source) = &volume.secret {
        format!("secret {:?} ({name})", source.secret_name.as_deref().unwrap_or_default())
    } else if let Some(source) = &volume.image {
        format!("image {:?} ({name})", source.reference.as_deref().unwrap_or_default())
    } else if volume.downward_api.is_some() {
        format!("downwardAPI ({name})")
    } else if volume.projected.is_some() {
        format!("projected ({name})")
    } else {
        let source = volume.empty_dir.clone().unwrap_or_default();
        let medium = source.medium.filter(|medium| !medium.is_empty());
        let on = medium.map_or_else(String::new, |medium| format!(" in {medium}"));
        let limit = source.size_limit.map_or_else(String::new, |limit| format!(", at most {}", limit.0));
        format!("emptyDir{on}{limit} ({name})")
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::env::Addresses;
    use super::super::{Host, Sources};
    use super::*;
    use crate::manifest::{defaults, load};

    const TEXT: &str = r#"
apiVersion: v1
kind: Secret
metadata: {name: s}
stringData: {password: hunter2}
---
apiVersion: v1
kind: Pod
metadata: {name: p, uid: u}
spec:
  nodeSelector: {disk: ssd}
  volumes: [{name: v, emptyDir: {medium: Memory, sizeLimit: 1Mi}}]
  initContainers:
  - {name: first, image: i}
  - name: side
    image: i
    restartPolicy: Always
    lifecycle: {postStart: {exec: {command: [x]}}}
    startupProbe: {tcpSocket: {port: 1}}
  containers:
  - name: app
    image: i
    args: [--as=$(NAME), $(PASSWORD)]
    env:
    - {name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: PASSWORD, valueFrom: {secretKeyRef: {name: s, key: password}}}
    volumeMounts: [{name: v, mountPath: /v, subPath: x}]
    resources: {requests: {cpu: 250m, memory: 1Mi}}
  - {name: other, image: i, envFrom: [{configMapRef: {name: none}}]}
"#;

    #[test]
    fn a_pod_is_told_before_it_is_made() {
        let mut objects = load("f", TEXT).unwrap();
        let mut pod = objects.pods.remove(0);
        defaults::complete(&mut pod, "default");
        let sources = Sources::of("default", &objects.config_maps, &objects.secrets);
        let layout = Layout::of(&pod, Path::new("/state"), Path::new("/logs"));
        let host = Host { memory: 1 << 30, ..Host::default() };
        let addresses = Addresses { pod: vec!["<pod IP>".into()] };
        let view = view(Scope { pod: &pod, sources: &sources, addresses: &addresses, host: &host }, &layout);
        let order: Vec<(&str, &str)> = view.containers.iter().map(|one| (one.name.as_str(), one.kind)).collect();
        assert_eq!(order, [("first", "init"), ("side", "sidecar"), ("app", "app"), ("other", "app")]);
        assert_eq!(view.containers[1].starts_when, ["first has ended with 0"]);
        assert_eq!(
            view.containers[2].starts_when,
            ["side runs, its postStart has returned and its startupProbe has succeeded"]
        );
        assert_eq!(view.stops, [vec!["app", "other"], vec!["side"]]);
        assert_eq!(view.qos_class, "Burstable");
        assert_eq!((view.resources.cpu_request.as_deref(), view.resources.cpu_limit.as_deref()), (Some("250m"), None));
        let app = &view.containers[2];
        assert_eq!((app.cgroup.cpu_shares, app.cgroup.cpu_weight), (256, 35));
        assert_eq!(app.args, ["--as=p", "<password of secret s>"]);
        assert_eq!(app.mounts[0].source, "\"x\" of emptyDir in Memory, at most 1Mi (v)");
        assert_eq!(view.ignored[0].path, "spec.nodeSelector");
        assert_eq!(view.missing.len(), 1, "{:?}", view.missing);
        assert!(view.missing[0].contains("configmap \"none\" not found"));
        let text = serde_json::to_string(&view).unwrap();
        assert!(!text.contains("hunter2") && text.contains("\"qosClass\":\"Burstable\""), "{text}");
    }
}
