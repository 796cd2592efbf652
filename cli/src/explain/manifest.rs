//! What becomes of a manifest: what is filled in, in which order the containers start, what each of them gets, and what
//! has no effect. It is read off what containerd would be asked for; nothing is made.

use std::fmt::Write as _;

use k8s_openapi::api::core::v1::{Container, EnvVar, Pod, PodSpec};
use loment_cri::v1::{ContainerConfig, LinuxContainerResources};
use serde_json::Value;

use crate::lower::env::{Addresses, Scope};
use crate::lower::layout::Layout;
use crate::lower::{self, Host, Sources, container, resources, sandbox};
use crate::manifest::amounts::{Side, effective, is_sidecar, of_container};
use crate::manifest::ignored::ignored;
use crate::table;

/// What is put in the place of the pod's address, which is known when the pod is there.
const LATER: &str = "<the pod's address>";

/// What a pod is explained from.
pub(crate) struct Given<'a> {
    /// As it is written.
    pub(crate) written: &'a Pod,
    /// Complete.
    pub(crate) pod: &'a Pod,
    pub(crate) sources: &'a Sources,
    pub(crate) layout: &'a Layout,
    pub(crate) host: &'a Host,
}

/// Explains a pod. Errors: it refers to something that is not there.
pub(crate) fn explain(given: &Given<'_>) -> Result<String, lower::Missing> {
    let spec = given.pod.spec.clone().unwrap_or_default();
    let addresses = Addresses { pod: vec![LATER.to_owned()] };
    let scope = Scope { pod: given.pod, sources: given.sources, addresses: &addresses, host: given.host };
    let configs = lower::containers(&spec).map(|container| container::config(scope, container, given.layout));
    let configs: Vec<ContainerConfig> = configs.collect::<Result<_, _>>()?;
    let sections = [
        ("Filled in", filled_in(given)),
        ("Start", start(&spec)),
        ("End", end(&spec)),
        ("Resources", amounts(given, &spec, &configs)),
        ("Programs", programs(&configs)),
        ("Environment", environment(&spec, &configs)),
        ("Mounts", mounts(given, &spec, &configs)),
        ("Without effect", without_effect(given.pod)),
    ];
    let (namespace, name) = (lower::namespace(given.pod), lower::name(given.pod));
    let mut text = format!("Pod {namespace}/{name}, quality of service {}\n", resources::qos(&spec).name());
    for (title, lines) in sections.iter().filter(|(_, lines)| !lines.is_empty()) {
        let _ = write!(text, "\n{title}\n{lines}");
    }
    Ok(text)
}

fn indented(rows: &[Vec<String>]) -> String {
    table::render(rows).lines().map(|line| format!("  {line}\n")).collect()
}

fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

/// The fields that the API's defaults have added.
fn filled_in(given: &Given<'_>) -> String {
    let value = |pod: &Pod| serde_json::to_value(pod).unwrap_or_default();
    let mut rows = Vec::new();
    added("", &value(given.written), &value(given.pod), &mut rows);
    indented(&rows)
}

fn added(path: &str, before: &Value, after: &Value, rows: &mut Vec<Vec<String>>) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            for (name, value) in after {
                added(&below(name), before.get(name).unwrap_or(&Value::Null), value, rows);
            }
        }
        (Value::Array(before), Value::Array(after)) => {
            for (number, value) in after.iter().enumerate() {
                added(&format!("{path}[{number}]"), before.get(number).unwrap_or(&Value::Null), value, rows);
            }
        }
        (Value::Null, Value::Object(after)) if !after.is_empty() => {
            after.iter().for_each(|(name, value)| added(&below(name), &Value::Null, value, rows));
        }
        _ if before != after => rows.push(vec![path.to_owned(), after.to_string()]),
        _ => {}
    }
}

/// The order in which containers start, with what each waits for.
fn start(spec: &PodSpec) -> String {
    let policy = spec.restart_policy.as_deref().unwrap_or("Always");
    let mut text = String::new();
    let inits = spec.init_containers.as_deref().unwrap_or_default();
    let width = lower::containers(spec).map(|container| container.name.len()).max().unwrap_or(0);
    for init in inits {
        let own = init.restart_policy.as_deref().unwrap_or(policy);
        let (role, gate) = if is_sidecar(init) {
            ("sidecar, started again whenever it ends".to_owned(), started(init))
        } else {
            let again = if own == "Never" { "the pod fails when it fails" } else { "again until it succeeds" };
            (format!("init container, {again}"), "exits with 0".to_owned())
        };
        let _ = writeln!(text, "  ┌ {:width$}  {role}\n  │ └ {gate}\n  ▼", init.name);
    }
    let apps = &spec.containers;
    for (number, app) in apps.iter().enumerate() {
        let corner = match (apps.len(), number) {
            (1, _) => "─",
            (_, 0) => "┌",
            (all, number) if number + 1 == all => "└",
            _ => "├",
        };
        let own = app.restart_policy.as_deref().unwrap_or(policy);
        let again = match own {
            "Never" => "runs once",
            "OnFailure" => "started again until it exits with 0",
            _ => "started again whenever it ends",
        };
        let hook = app.lifecycle.as_ref().is_some_and(|lifecycle| lifecycle.post_start.is_some());
        let waits = if hook && number + 1 < apps.len() { "; the next one waits for its postStart hook" } else { "" };
        let ready = if app.readiness_probe.is_some() { "; ready when its readiness probe succeeds" } else { "" };
        let _ = writeln!(text, "  {corner} {:width$}  app, {again}{waits}{ready}", app.name);
    }
    text
}

/// What a sidecar has to reach before the next container starts.
fn started(sidecar: &Container) -> String {
    let hook = sidecar.lifecycle.as_ref().is_some_and(|lifecycle| lifecycle.post_start.is_some());
    let mut gates = vec!["runs"];
    gates.extend(hook.then_some("its postStart hook has returned"));
    gates.extend(sidecar.startup_probe.as_ref().map(|_| "its startup probe has succeeded"));
    gates.join(", ")
}

fn end(spec: &PodSpec) -> String {
    let sidecars = spec.init_containers.iter().flatten().filter(|init| is_sidecar(init));
    let mut names: Vec<&str> = sidecars.map(|sidecar| sidecar.name.as_str()).collect();
    // The one that was started first is stopped last.
    names.reverse();
    let apps: Vec<&str> = spec.containers.iter().map(|app| app.name.as_str()).collect();
    let then = if names.is_empty() { String::new() } else { format!(", then {}", names.join(", then ")) };
    let grace = spec.termination_grace_period_seconds.unwrap_or(30);
    let mut text = format!("  {}{then}: all within {grace}s\n", apps.join(" and "));
    if let Some(deadline) = spec.active_deadline_seconds {
        let _ = writeln!(text, "  the pod fails {deadline}s after it has begun (activeDeadlineSeconds)");
    }
    text
}

/// Requests and limits, and what they are in the cgroup.
fn amounts(given: &Given<'_>, spec: &PodSpec, configs: &[ContainerConfig]) -> String {
    let header = [
        "",
        "CPU REQUEST",
        "CPU LIMIT",
        "MEMORY REQUEST",
        "MEMORY LIMIT",
        "SHARES",
        "QUOTA",
        "MEMORY.MAX",
        "OOM SCORE",
    ];
    let mut rows = vec![row(&header)];
    let cell = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    for (container, config) in lower::containers(spec).zip(configs) {
        let get = |side, resource| {
            let amount = of_container(container, side, resource)?;
            Some(if resource == "cpu" { format!("{}m", amount.milli()) } else { amount.units().to_string() })
        };
        let linux = config.linux.clone().unwrap_or_default().resources.unwrap_or_default();
        let mut cells = vec![container.name.clone()];
        for resource in ["cpu", "memory"] {
            cells.extend([Side::Requests, Side::Limits].map(|side| cell(get(side, resource).unwrap_or_default())));
        }
        cells.extend(kernel(&linux));
        cells.push(linux.oom_score_adj.to_string());
        rows.push(cells);
    }
    let total = resources::of_pod(spec, given.host);
    let sum = |side, resource| effective(spec, side, resource);
    let milli = |side| format!("{}m", sum(side, "cpu").milli());
    let bytes = |side| sum(side, "memory").units().to_string();
    let mut cells = vec!["the pod".to_owned(), milli(Side::Requests)];
    cells.push(if total.cpu_quota > 0 { milli(Side::Limits) } else { "-".to_owned() });
    cells.push(bytes(Side::Requests));
    cells.push(if total.memory_limit_in_bytes > 0 { bytes(Side::Limits) } else { "-".to_owned() });
    cells.extend(kernel(&total));
    cells.push("-".to_owned());
    rows.push(cells);
    format!("{}  cgroup {}\n", indented(&rows), sandbox::cgroup(given.pod).replace("/pod", "/pod<uid>"))
}

fn kernel(linux: &LinuxContainerResources) -> [String; 3] {
    let or_dash = |set: bool, text: String| if set { text } else { "-".to_owned() };
    [
        linux.cpu_shares.to_string(),
        or_dash(linux.cpu_quota > 0, format!("{}/{} µs", linux.cpu_quota, linux.cpu_period)),
        or_dash(linux.memory_limit_in_bytes > 0, linux.memory_limit_in_bytes.to_string()),
    ]
}

/// The programs where the manifest names them; else they are the image's.
fn programs(configs: &[ContainerConfig]) -> String {
    let mut rows = Vec::new();
    for config in configs {
        let words = |words: &[String]| words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" ");
        let program = match (config.command.is_empty(), config.args.is_empty()) {
            (true, true) => "the image's entrypoint and command".to_owned(),
            (true, false) => format!("the image's entrypoint {}", words(&config.args)),
            (false, _) => format!("{} {}", words(&config.command), words(&config.args)).trim_end().to_owned(),
        };
        let image = config.image.clone().unwrap_or_default().image;
        rows.push(vec![name(config), image, program]);
    }
    indented(&rows)
}

fn name(config: &ContainerConfig) -> String {
    config.metadata.clone().unwrap_or_default().name
}

fn environment(spec: &PodSpec, configs: &[ContainerConfig]) -> String {
    let mut rows = Vec::new();
    for (container, config) in lower::containers(spec).zip(configs) {
        for variable in &config.envs {
            let own = container.env.iter().flatten().rfind(|own| own.name == variable.key);
            let value = if is_secret(container, own) { "<from a secret>" } else { variable.value.as_str() };
            rows.push(vec![name(config), format!("{}={}", variable.key, value.escape_debug())]);
        }
    }
    indented(&rows)
}

/// Whether a variable's value must not be shown. One that is not in `env` has come by `envFrom`.
fn is_secret(container: &Container, own: Option<&EnvVar>) -> bool {
    match own {
        Some(own) => {
            own.value_from.as_ref().is_some_and(|source| source.secret_key_ref.is_some())
                || own.value.as_ref().is_some_and(|value| refers_to_secret(container, value))
        }
        None => container.env_from.iter().flatten().any(|source| source.secret_ref.is_some()),
    }
}

/// Whether a value refers to a variable whose own value must not be shown.
fn refers_to_secret(container: &Container, value: &str) -> bool {
    let by_key = |one: &EnvVar| one.value_from.as_ref().is_some_and(|source| source.secret_key_ref.is_some());
    let secret = container.env.iter().flatten().any(|one| by_key(one) && value.contains(&format!("$({})", one.name)));
    let any = container.env_from.iter().flatten().any(|source| source.secret_ref.is_some());
    secret || (any && value.contains("$("))
}

fn mounts(given: &Given<'_>, spec: &PodSpec, configs: &[ContainerConfig]) -> String {
    let mut rows = Vec::new();
    let directory = given.layout.directory.display().to_string();
    for (container, config) in lower::containers(spec).zip(configs) {
        for mount in &config.mounts {
            let volume = container.volume_mounts.iter().flatten().find(|one| one.mount_path == mount.container_path);
            let from = match volume {
                Some(volume) => format!("volume {}", volume.name),
                None => "the pod's own file".to_owned(),
            };
            let how = if mount.readonly { "ro" } else { "rw" };
            let path = mount.host_path.replacen(&directory, "<pod>", 1);
            rows.push(vec![name(config), mount.container_path.clone(), how.to_owned(), from, path]);
        }
    }
    let place = given.layout.directory.with_file_name("<uid>");
    if rows.is_empty() { String::new() } else { format!("{}  <pod> is {}\n", indented(&rows), place.display()) }
}

fn without_effect(pod: &Pod) -> String {
    indented(&ignored(pod).into_iter().map(|(path, why)| vec![path, why.to_owned()]).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::manifest::{defaults, load};

    fn explained(text: &str) -> String {
        let objects = load("f", text).unwrap_or_else(|said| panic!("{said}"));
        let mut pod = objects.pods[0].clone();
        defaults::complete(&mut pod, "default");
        let sources = Sources::of("default", &objects.config_maps, &objects.secrets);
        let layout = Layout::of(&pod, Path::new("/s"), Path::new("/l"));
        let host = Host { name: "here".into(), memory: 1 << 30, processors: 2, ..Host::default() };
        let given = Given { written: &objects.pods[0], pod: &pod, sources: &sources, layout: &layout, host: &host };
        explain(&given).unwrap()
    }

    const POD: &str = "\
apiVersion: v1
kind: Secret
metadata: {name: s}
stringData: {P: hidden}
---
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  nodeSelector: {disk: ssd}
  volumes: [{name: data, emptyDir: {}}]
  initContainers:
  - {name: prepare, image: busybox}
  - {name: proxy, image: 'proxy:1', restartPolicy: Always, startupProbe: {tcpSocket: {port: 80}}}
  containers:
  - name: app
    image: 'web:1'
    command: [serve, $(WHO)]
    env:
    - {name: WHO, value: world}
    - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: PASSWORD, valueFrom: {secretKeyRef: {name: s, key: P}}}
    - {name: URL, value: 'x://$(PASSWORD)@db'}
    resources: {limits: {cpu: 500m, memory: 64Mi}}
    volumeMounts: [{name: data, mountPath: /data}]
";

    #[test]
    fn a_manifest_is_explained_without_anything_being_made() {
        let text = explained(POD);
        for line in [
            "Pod default/web, quality of service Burstable",
            "  spec.restartPolicy                               \"Always\"",
            "  ┌ prepare  init container, again until it succeeds\n  │ └ exits with 0\n  ▼\n",
            "  ┌ proxy    sidecar, started again whenever it ends\n  │ └ runs, its startup probe has succeeded\n  ▼\n",
            "  ─ app      app, started again whenever it ends\n",
            "  app, then proxy: all within 30s\n",
            "  app      web:1     \"serve\" \"world\"\n",
            "  prepare   busybox",
            "  app   WHO=world\n",
            "  app   IP=<the pod's address>\n",
            "  app   PASSWORD=<from a secret>\n",
            "  app   URL=<from a secret>\n",
            "  spec.nodeSelector   there is one machine",
        ] {
            let squeezed = |text: &str| text.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
            assert!(squeezed(&text).contains(&squeezed(line)), "{line:?} is not in:\n{text}");
        }
        assert!(!text.contains("hidden"), "{text}");
        assert!(text.contains("50000/100000 µs") && text.contains("67108864"), "{text}");
        assert!(text.contains("/data") && text.contains("volume data"), "{text}");
    }
}
