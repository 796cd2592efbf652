//! Both manifests of the examples, lowered: every field that a runtime is told.

use std::collections::HashMap;
use std::path::Path;

use loment_cri::v1::{NamespaceMode, security_profile::ProfileType};

use super::env::{Addresses, Scope};
use super::layout::Layout;
use super::volumes::{FileOf, Group, Make};
use super::*;
use crate::manifest::{self, defaults, validate};

const BUSYBOX: &str = include_str!("../../../examples/busybox.yaml");
const HTTP_GO: &str = include_str!("../../../examples/http-go-pod.yaml");
const UID: &str = "8e1c7b1e-0000-4000-8000-000000000001";

struct Lowered {
    sandbox: loment_cri::v1::PodSandboxConfig,
    containers: Vec<loment_cri::v1::ContainerConfig>,
    volumes: Vec<Make>,
}

fn host() -> Host {
    Host {
        name: "node".into(),
        addresses: vec!["192.0.2.7".into()],
        resolv_conf: "nameserver 192.0.2.53\nsearch lan\n".into(),
        hosts: "127.0.0.1 localhost\n".into(),
        processors: 2,
        memory: 1 << 30,
        ..Host::default()
    }
}

fn lowered(text: &str) -> Lowered {
    let objects = manifest::load("pod.yaml", text).unwrap_or_else(|said| panic!("{said}"));
    let mut pod = objects.pods[0].clone();
    defaults::complete(&mut pod, "default");
    validate::validate(&pod, "loment").unwrap_or_else(|said| panic!("{said}"));
    pod.metadata.uid = Some(UID.into());
    let sources = Sources::of("default", &objects.config_maps, &objects.secrets);
    let layout = Layout::of(&pod, Path::new("/var/lib/loment"), Path::new("/var/log/pods"));
    let (host, addresses) = (host(), Addresses { pod: vec!["10.88.0.2".into()] });
    let scope = Scope { pod: &pod, sources: &sources, addresses: &addresses, host: &host };
    let spec = pod.spec.as_ref().unwrap();
    Lowered {
        sandbox: sandbox::config(&pod, &layout, &host).unwrap(),
        containers: super::containers(spec).map(|c| container::config(scope, c, &layout).unwrap()).collect(),
        volumes: volumes::make(scope, &layout).unwrap(),
    }
}

fn map(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn the_busybox_pod_has_its_sandbox() {
    let mut sandbox = lowered(BUSYBOX).sandbox;
    let manifest: serde_json::Value = serde_json::from_str(&sandbox.annotations.remove(MANIFEST).unwrap()).unwrap();
    assert_eq!(manifest["spec"]["restartPolicy"], "Never");
    assert_eq!(manifest["spec"]["terminationGracePeriodSeconds"], 30, "the manifest is completed");
    assert_eq!(manifest["spec"]["containers"][2]["name"], "busybox3");
    assert!(manifest.get("status").is_none());
    let metadata = sandbox.metadata.unwrap();
    assert_eq!(
        (metadata.name.as_str(), metadata.uid.as_str(), metadata.namespace.as_str(), metadata.attempt),
        ("busybox", UID, "default", 0)
    );
    assert_eq!(sandbox.hostname, "busybox");
    assert_eq!(sandbox.log_directory, format!("/var/log/pods/default_busybox_{UID}"));
    let dns = sandbox.dns_config.unwrap();
    assert_eq!((dns.servers, dns.searches), (vec!["192.0.2.53".to_owned()], vec!["lan".to_owned()]));
    assert!(sandbox.port_mappings.is_empty());
    assert_eq!(
        sandbox.labels,
        map(&[
            ("run", "busybox"),
            ("io.kubernetes.pod.name", "busybox"),
            ("io.kubernetes.pod.namespace", "default"),
            ("io.kubernetes.pod.uid", UID),
        ])
    );
    assert_eq!(
        sandbox.annotations,
        map(&[
            ("io.loment.pod.held-in", &format!("/var/lib/loment/pods/{UID}")),
            ("io.loment.pod.directory", &format!("/var/lib/loment/pods/{UID}")),
            ("io.loment.pod.logs", &format!("/var/log/pods/default_busybox_{UID}")),
        ])
    );
    let linux = sandbox.linux.unwrap();
    assert_eq!(linux.cgroup_parent, format!("/loment/pod{UID}"));
    let security = linux.security_context.unwrap();
    let namespaces = security.namespace_options.unwrap();
    assert_eq!(
        (namespaces.network(), namespaces.pid(), namespaces.ipc()),
        (NamespaceMode::Pod, NamespaceMode::Container, NamespaceMode::Pod)
    );
    assert!(!security.privileged);
    assert_eq!(security.seccomp.unwrap().profile_type(), ProfileType::RuntimeDefault);
    assert_eq!(linux.resources.unwrap().cpu_shares, 2);
}

#[test]
fn the_busybox_pod_has_its_three_containers() {
    let containers = lowered(BUSYBOX).containers;
    let scripts = ["ls; sleep 3600", "echo Hello world; sleep 3600", "echo this is third container; sleep 3600"];
    assert_eq!(containers.len(), 3);
    for (index, (container, script)) in containers.into_iter().zip(scripts).enumerate() {
        let name = format!("busybox{}", index + 1);
        assert_eq!(container.metadata.unwrap().name, name);
        assert_eq!(container.image.unwrap().image, "busybox");
        assert_eq!(container.command, Vec::<String>::new());
        assert_eq!(container.args, ["bin/sh", "-c", script]);
        assert!(container.envs.is_empty() && container.working_dir.is_empty());
        assert_eq!(container.log_path, format!("{name}/0.log"));
        assert_eq!(container.labels["io.kubernetes.container.name"], name);
        assert_eq!(container.annotations, map(&[("io.loment.container.name", &name)]));
        assert!(!container.stdin && !container.tty);
        let mounts: Vec<(String, String, bool)> =
            container.mounts.into_iter().map(|m| (m.container_path, m.host_path, m.readonly)).collect();
        let directory = format!("/var/lib/loment/pods/{UID}");
        assert_eq!(
            mounts,
            [
                ("/etc/hosts".to_owned(), format!("{directory}/etc-hosts"), false),
                ("/dev/termination-log".to_owned(), format!("{directory}/containers/{name}/termination-log"), false),
            ]
        );
        let linux = container.linux.unwrap();
        let resources = linux.resources.unwrap();
        assert_eq!((resources.cpu_shares, resources.cpu_quota, resources.memory_limit_in_bytes), (2, 0, 0));
        assert_eq!(resources.oom_score_adj, 1000);
        let security = linux.security_context.unwrap();
        assert!(!security.privileged && !security.no_new_privs && !security.readonly_rootfs);
        assert_eq!(security.seccomp.unwrap().profile_type(), ProfileType::Unconfined);
        assert_eq!(security.run_as_user, None);
    }
}

#[test]
fn the_http_pod_is_lowered_with_its_defaults() {
    let Lowered { sandbox, containers, volumes } = lowered(HTTP_GO);
    assert_eq!(sandbox.hostname, "http-go");
    assert!(sandbox.port_mappings.is_empty(), "a container port alone is not published on the host");
    assert!(volumes.is_empty());
    assert_eq!(containers.len(), 1);
    assert_eq!(containers[0].image.as_ref().unwrap().image, "gasbugs/http-go");
    assert!(containers[0].command.is_empty() && containers[0].args.is_empty(), "the image says what to run");
    let manifest: serde_json::Value = serde_json::from_str(&sandbox.annotations[MANIFEST]).unwrap();
    assert_eq!(manifest["spec"]["restartPolicy"], "Always");
    assert_eq!(manifest["spec"]["containers"][0]["imagePullPolicy"], "Always");
}

const RICH: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: site}
data: {index.html: hello, other: unused}
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
data: {token: c2VjcmV0}
---
apiVersion: v1
kind: Pod
metadata: {name: rich}
spec:
  shareProcessNamespace: true
  hostname: h
  securityContext: {runAsUser: 1000, fsGroup: 2000, supplementalGroups: [3000], sysctls: [{name: net/ipv4/tcp_syncookies, value: "0"}]}
  volumes:
  - {name: scratch, emptyDir: {}}
  - {name: site, configMap: {name: site, items: [{key: index.html, path: www/index.html, mode: 0444}]}}
  - {name: keys, secret: {secretName: keys, defaultMode: 0400}}
  - {name: host, hostPath: {path: /srv, type: Directory}}
  initContainers:
  - {name: side, image: busybox:1, restartPolicy: Always, resources: {limits: {cpu: 100m, memory: 8Mi}}}
  containers:
  - name: app
    image: busybox:1
    command: [serve, "--on=$(ADDRESS):80", "$$(ADDRESS)", $(UNKNOWN)]
    args: [$(LIMIT)]
    workingDir: /w
    tty: true
    env:
    - {name: ADDRESS, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: LIMIT, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
    ports: [{containerPort: 53, hostPort: 5353, protocol: UDP}]
    resources: {limits: {cpu: 500m, memory: 16Mi}}
    securityContext:
      runAsUser: 1001
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: {add: [CAP_NET_ADMIN], drop: [ALL]}
      seccompProfile: {type: Localhost, localhostProfile: tight.json}
      seLinuxOptions: {type: container_t, level: "s0:c1"}
    volumeMounts:
    - {name: scratch, mountPath: work}
    - {name: site, mountPath: /site}
    - {name: keys, mountPath: /dev/termination-log}
    - {name: host, mountPath: /host, readOnly: true, mountPropagation: HostToContainer}
"#;

#[test]
fn a_rich_pod_keeps_every_word_of_its_manifest() {
    let Lowered { sandbox, containers, .. } = lowered(RICH);
    let linux = sandbox.linux.unwrap();
    assert_eq!(linux.sysctls, map(&[("net.ipv4.tcp_syncookies", "0")]));
    let total = linux.resources.unwrap();
    assert_eq!((total.cpu_quota, total.memory_limit_in_bytes), (60_000, 24 << 20));
    assert_eq!(linux.security_context.unwrap().namespace_options.unwrap().pid(), NamespaceMode::Pod);
    assert_eq!((sandbox.port_mappings[0].host_port, sandbox.port_mappings[0].container_port), (5353, 53));
    assert_eq!(sandbox.hostname, "h");
    let app = &containers[1];
    assert_eq!(app.command, ["serve", "--on=10.88.0.2:80", "$(ADDRESS)", "$(UNKNOWN)"]);
    assert_eq!(app.args, ["16"]);
    assert!(app.tty && app.working_dir == "/w");
    let linux = app.linux.clone().unwrap();
    let resources = linux.resources.unwrap();
    assert_eq!((resources.cpu_shares, resources.cpu_quota, resources.memory_limit_in_bytes), (512, 50_000, 16 << 20));
    assert_eq!(resources.oom_score_adj, -997, "requests equal limits everywhere: guaranteed");
    let security = linux.security_context.unwrap();
    assert_eq!(security.run_as_user.unwrap().value, 1001);
    assert_eq!(security.supplemental_groups, [3000, 2000]);
    let label = security.selinux_options.unwrap();
    assert_eq!((label.r#type.as_str(), label.level.as_str(), label.user.as_str()), ("container_t", "s0:c1", ""));
    assert!(security.no_new_privs && security.readonly_rootfs);
    let capabilities = security.capabilities.unwrap();
    assert_eq!(
        (capabilities.add_capabilities, capabilities.drop_capabilities),
        (vec!["NET_ADMIN".into()], vec!["ALL".into()])
    );
    assert_eq!(security.seccomp.unwrap().localhost_ref, "/var/lib/loment/seccomp/tight.json");
}

#[test]
fn a_rich_pod_has_its_volumes_where_it_mounts_them() {
    let Lowered { containers, volumes, .. } = lowered(RICH);
    let directory = format!("/var/lib/loment/pods/{UID}/volumes");
    let mounts: Vec<(&str, &str, bool)> =
        containers[1].mounts.iter().map(|m| (m.container_path.as_str(), m.host_path.as_str(), m.readonly)).collect();
    assert_eq!(
        mounts,
        [
            ("/work", format!("{directory}/scratch").as_str(), false),
            ("/site", format!("{directory}/site").as_str(), true),
            ("/host", "/srv", true),
            ("/dev/termination-log", format!("{directory}/keys").as_str(), true),
            ("/etc/hosts", format!("/var/lib/loment/pods/{UID}/etc-hosts").as_str(), false),
        ]
    );
    let group = Some(Group { id: 2000, on_root_mismatch: false });
    let file = |path: &str, content: &str, mode| FileOf { path: path.into(), content: content.into(), mode };
    assert_eq!(
        volumes,
        [
            Make::Empty { path: format!("{directory}/scratch").into(), mode: 0o777, group },
            Make::Files {
                path: format!("{directory}/site").into(),
                files: vec![file("www/index.html", "hello", 0o444)],
                in_memory: false,
                group
            },
            Make::Files {
                path: format!("{directory}/keys").into(),
                files: vec![file("token", "secret", 0o400)],
                in_memory: true,
                group
            },
            Make::HostPath { volume: "host".into(), path: "/srv".into(), kind: "Directory".into() },
        ]
    );
}
