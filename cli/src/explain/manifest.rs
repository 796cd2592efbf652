//! What becomes of a manifest, for people: what is filled in, in which order the containers start, what each of them gets,
//! and what has no effect.

use std::fmt::Write as _;

use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use crate::lower;
use crate::lower::view::{ContainerView, Limits, View};
use crate::manifest::amounts::{Side, of_container};
use crate::print::table;

/// Explains a pod from its manifest as it is written and from what it comes to.
pub(crate) fn explain(written: &Pod, view: &View) -> String {
    let pod = &view.manifest;
    let sections = [
        ("Filled in", filled_in(written, pod)),
        ("Start", start(view)),
        ("End", end(view)),
        ("Resources", amounts(view)),
        ("Programs", programs(view)),
        ("Environment", environment(view)),
        ("Mounts", mounts(view)),
        ("Network", network(view)),
        ("Without effect", indented(&view.ignored.iter().map(|one| row(&[&one.path, one.reason])).collect::<Vec<_>>())),
        ("Missing: the pod could not be made", view.missing.iter().map(|one| format!("  {one}\n")).collect()),
    ];
    let (namespace, name) = (lower::namespace(pod), lower::name(pod));
    let mut text = format!("Pod {namespace}/{name}, quality of service {}\n", view.qos_class);
    for (title, lines) in sections.iter().filter(|(_, lines)| !lines.is_empty()) {
        let _ = write!(text, "\n{title}\n{lines}");
    }
    text
}

fn indented(rows: &[Vec<String>]) -> String {
    table::render(rows).lines().map(|line| format!("  {line}\n")).collect()
}

fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

/// The fields that the API's defaults have added.
fn filled_in(written: &Pod, pod: &Pod) -> String {
    let value = |pod: &Pod| serde_json::to_value(pod).unwrap_or_default();
    let mut rows = Vec::new();
    added("", &value(written), &value(pod), &mut rows);
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

/// The order in which containers start, as a drawing: each stands below what it waits for.
fn start(view: &View) -> String {
    let spec = view.manifest.spec.clone().unwrap_or_default();
    let width = view.containers.iter().map(|container| container.name.len()).max().unwrap_or(0);
    let apps = view.containers.iter().filter(|container| container.kind == "app").count();
    let (mut text, mut app) = (String::new(), 0);
    for (shown, container) in view.containers.iter().zip(lower::containers(&spec)) {
        let own = container.restart_policy.as_ref().or(spec.restart_policy.as_ref()).map_or("Always", String::as_str);
        let again = match (shown.kind, own) {
            ("init", "Never") => "once: the pod fails when it fails",
            ("init", _) => "again until it succeeds",
            ("sidecar", _) => "again whenever it ends",
            (_, "Never") => "once",
            (_, "OnFailure") => "again until it ends with 0",
            _ => "again whenever it ends",
        };
        let corner = match (shown.kind == "app", app, apps) {
            (false, ..) | (true, 0, 1) => '─',
            (true, 0, _) => '┌',
            (true, number, all) if number + 1 == all => '└',
            _ => '├',
        };
        app += usize::from(shown.kind == "app");
        // The apps wait for the same: it is said once, and what one of them waits for beside it with that one.
        let common = if shown.kind == "app" && app > 1 {
            shown.starts_when.iter().skip(usize::from(has_inits(view))).collect::<Vec<_>>()
        } else {
            shown.starts_when.iter().collect()
        };
        for gate in common {
            let _ = writeln!(text, "  │ {gate}\n  ▼");
        }
        let _ = writeln!(text, "  {corner} {:width$}  {:7}  runs {again}", shown.name, shown.kind);
    }
    text
}

fn has_inits(view: &View) -> bool {
    view.containers.iter().any(|container| container.kind != "app")
}

fn end(view: &View) -> String {
    let spec = view.manifest.spec.clone().unwrap_or_default();
    let order: Vec<String> = view.stops.iter().map(|together| together.join(" and ")).collect();
    let grace = spec.termination_grace_period_seconds.unwrap_or(30);
    let mut text = format!("  {}: all within {grace}s\n", order.join(", then "));
    if let Some(deadline) = spec.active_deadline_seconds {
        let _ = writeln!(text, "  the pod fails {deadline}s after it has begun (activeDeadlineSeconds)");
    }
    text
}

/// Requests and limits, and what they are in the cgroup.
fn amounts(view: &View) -> String {
    const HEADER: [&str; 10] = [
        "",
        "CPU REQUEST",
        "CPU LIMIT",
        "MEMORY REQUEST",
        "MEMORY LIMIT",
        "SHARES",
        "WEIGHT",
        "QUOTA",
        "MEMORY.MAX",
        "OOM SCORE",
    ];
    let spec = view.manifest.spec.clone().unwrap_or_default();
    let mut rows = vec![row(&HEADER)];
    for (shown, container) in view.containers.iter().zip(lower::containers(&spec)) {
        let get = |side, resource| of_container(container, side, resource).map(|amount| amount.quantity().0);
        let asked = ["cpu", "memory"].map(|resource| [Side::Requests, Side::Limits].map(|side| get(side, resource)));
        rows.push(amounts_of(&shown.name, asked.into_iter().flatten(), &shown.cgroup));
    }
    let sum = &view.resources;
    let asked = [&sum.cpu_request, &sum.cpu_limit, &sum.memory_request, &sum.memory_limit];
    rows.push(amounts_of("the pod", asked.into_iter().cloned(), &view.cgroup));
    indented(&rows)
}

fn amounts_of(name: &str, asked: impl Iterator<Item = Option<String>>, cgroup: &Limits) -> Vec<String> {
    let number = |value: Option<i64>| value.map(|value| value.to_string());
    let quota = cgroup.cpu_quota_microseconds.map(|quota| format!("{quota}/{} µs", cgroup.cpu_period_microseconds));
    let kernel = [
        Some(cgroup.cpu_shares.to_string()),
        Some(cgroup.cpu_weight.to_string()),
        quota,
        number(cgroup.memory_bytes),
        number(cgroup.oom_score_adj),
    ];
    let cells = asked.chain(kernel).map(|cell| cell.unwrap_or_else(|| "-".to_owned()));
    std::iter::once(name.to_owned()).chain(cells).collect()
}

/// The programs where the manifest names them; else they are the image's.
fn programs(view: &View) -> String {
    let spec = view.manifest.spec.clone().unwrap_or_default();
    let words = |words: &[String]| words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" ");
    let program = |shown: &ContainerView| match (shown.command.is_empty(), shown.args.is_empty()) {
        (true, true) => "the image's entrypoint and command".to_owned(),
        (true, false) => format!("the image's entrypoint {}", words(&shown.args)),
        (false, _) => format!("{} {}", words(&shown.command), words(&shown.args)).trim_end().to_owned(),
    };
    let all = view.containers.iter().zip(lower::containers(&spec));
    let rows = all.map(|(shown, container)| {
        vec![shown.name.clone(), container.image.clone().unwrap_or_default(), program(shown)]
    });
    indented(&rows.collect::<Vec<_>>())
}

fn environment(view: &View) -> String {
    let of = |container: &ContainerView| {
        let lines = container.env.iter().map(|(name, value)| format!("{name}={}", on_one_line(value)));
        lines.map(|line| vec![container.name.clone(), line]).collect::<Vec<_>>()
    };
    indented(&view.containers.iter().flat_map(of).collect::<Vec<_>>())
}

fn on_one_line(value: &str) -> String {
    let shown = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    value.chars().map(shown).collect()
}

fn mounts(view: &View) -> String {
    let of = |container: &ContainerView| {
        let rows = container.mounts.iter().map(|mount| {
            let mut how = if mount.read_only { "ro" } else { "rw" }.to_owned();
            if mount.propagation != "None" {
                how = format!("{how}, {}", mount.propagation);
            }
            vec![container.name.clone(), mount.path.clone(), how, mount.source.clone()]
        });
        rows.collect::<Vec<_>>()
    };
    indented(&view.containers.iter().flat_map(of).collect::<Vec<_>>())
}

fn network(view: &View) -> String {
    let resolver = &view.resolver;
    let mut rows = vec![row(&["hostname", &view.hostname])];
    for (name, all) in
        [("nameservers", &resolver.servers), ("search", &resolver.searches), ("options", &resolver.options)]
    {
        if !all.is_empty() {
            rows.push(vec![name.to_owned(), all.join(" ")]);
        }
    }
    indented(&rows)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::lower::env::{Addresses, Scope};
    use crate::lower::layout::Layout;
    use crate::lower::{Host, Sources, view};
    use crate::manifest::{defaults, load};

    fn explained(text: &str) -> String {
        let objects = load("f", text).unwrap_or_else(|said| panic!("{said}"));
        let mut pod = objects.pods[0].clone();
        defaults::complete(&mut pod, "default");
        let sources = Sources::of("default", &objects.config_maps, &objects.secrets);
        let layout = Layout::of(&pod, Path::new("/s"), Path::new("/l"));
        let host = Host { name: "here".into(), memory: 1 << 30, processors: 2, ..Host::default() };
        let addresses = Addresses { pod: vec!["<address of the pod>".into()] };
        let scope = Scope { pod: &pod, sources: &sources, addresses: &addresses, host: &host };
        explain(&objects.pods[0], &view::view(scope, &layout))
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
  - {name: beside, image: 'web:1'}
";

    #[test]
    fn s13_a_manifest_is_explained_without_anything_being_made() {
        let text = explained(POD);
        let squeezed = |text: &str| text.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
        for part in [
            "Pod default/web, quality of service Burstable\n",
            "spec.restartPolicy \"Always\"\n",
            "─ prepare init runs again until it succeeds\n │ prepare has ended with 0\n ▼\n ─ proxy sidecar runs again whenever it ends\n",
            "│ proxy runs and its startupProbe has succeeded\n ▼\n ┌ app app runs again whenever it ends\n └ beside app",
            "app and beside, then proxy: all within 30s\n",
            "app web:1 \"serve\" \"world\"\n",
            "app WHO=world\n",
            "app IP=<address of the pod>\n",
            "app /data rw emptyDir (data)\n",
            "hostname web\n",
            "spec.nodeSelector there is one machine",
            "50000/100000 µs",
            "67108864",
        ] {
            assert!(squeezed(&text).contains(part), "{part:?} is not in:\n{text}");
        }
        assert!(!text.contains("hidden") && !text.contains("Missing"), "{text}");
    }
}
