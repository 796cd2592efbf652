//! A pod as `kubectl describe` shows it: sections of lines whose cells are aligned.

mod container;
mod volume;

use std::collections::BTreeMap;
use std::fmt::Display;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::occurrences::Occurrence;
use crate::print::table;
use crate::print::view::View;

/// Lines that are gathered, each behind the blanks of its level.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, level: usize, line: impl Display) {
        let line = line.to_string();
        self.0.push_str(&"  ".repeat(level));
        self.0.push_str(line.trim_end_matches('\n'));
        self.0.push('\n');
    }

    /// A name and its value, of which every line but the first is put below the first one.
    fn field(&mut self, level: usize, name: &str, value: impl Display) {
        self.add(level, format!("{name}:\t{}", value.to_string().replace('\n', "\n\t")));
    }

    /// One line for each of a map; `<none>` without any.
    fn map(&mut self, name: &str, map: Option<&BTreeMap<String, String>>, separator: &str) {
        let entries: Vec<String> = map.into_iter().flatten().map(|(key, value)| entry(key, value, separator)).collect();
        let (first, rest) = match entries.split_first() {
            Some((first, rest)) => (first.as_str(), rest),
            None => ("<none>", &[][..]),
        };
        self.add(0, format!("{name}:\t{first}"));
        rest.iter().for_each(|entry| self.add(0, format!("\t{entry}")));
    }
}

/// As kubectl does: a long or a multi-line value of an annotation stands below its key.
fn entry(key: &str, value: &str, separator: &str) -> String {
    const LONG: usize = 140;
    if separator == "=" {
        return format!("{key}={value}");
    }
    let value = value.trim_end_matches('\n');
    if key.len() + value.len() > LONG || value.contains('\n') {
        let lines: Vec<String> = value.lines().map(|line| format!("\t  {}", cut(line, LONG))).collect();
        return format!("{key}:\n{}", lines.join("\n"));
    }
    format!("{key}{separator} {value}")
}

fn cut(line: &str, length: usize) -> String {
    match line.char_indices().nth(length) {
        Some((at, _)) => format!("{}...", &line[..at]),
        None => line.to_owned(),
    }
}

/// A pod, its status and its events.
pub(crate) fn pod(view: &View, events: &[Occurrence], show_events: bool) -> String {
    let mut lines = Lines::default();
    head(&mut lines, view);
    addresses(&mut lines, &view.status);
    container::all(&mut lines, view);
    conditions(&mut lines, &view.status);
    volume::all(&mut lines, view);
    tail(&mut lines, view);
    if show_events {
        events_of(&mut lines, events);
    }
    table::elastic(&lines.0)
}

fn text<'v>(value: &'v Value, key: &str) -> Option<&'v str> {
    value[key].as_str().filter(|text| !text.is_empty())
}

fn head(lines: &mut Lines, view: &View) {
    let (meta, status) = (&view.found.pod.metadata, &view.status);
    let spec = view.found.pod.spec.clone().unwrap_or_default();
    lines.field(0, "Name", view.found.name());
    lines.field(0, "Namespace", view.found.namespace());
    lines.field(0, "Priority", spec.priority.unwrap_or(0));
    if let Some(class) = &spec.priority_class_name {
        lines.field(0, "Priority Class Name", class);
    }
    if let Some(class) = &spec.runtime_class_name {
        lines.field(0, "Runtime Class Name", class);
    }
    lines.field(0, "Service Account", spec.service_account_name.as_deref().unwrap_or("default"));
    let node = spec.node_name.as_deref().unwrap_or("<none>");
    lines.field(0, "Node", format!("{node}/{}", text(status, "hostIP").unwrap_or_default()));
    if let Some(start) = text(status, "startTime") {
        lines.field(0, "Start Time", rfc1123(start));
    }
    lines.map("Labels", meta.labels.as_ref(), "=");
    lines.map("Annotations", meta.annotations.as_ref(), ":");
    match crate::pod::deletion(&view.found) {
        Some(end) if view.deleting && !["Succeeded", "Failed"].contains(&view.phase()) => {
            let now = Timestamp::now();
            let left = match end.0.as_second() - now.as_second() {
                past @ ..0 => format!("Terminating (lasts {})", table::age(-past)),
                left => format!("Terminating (ends in {})", table::age(left)),
            };
            lines.field(0, "Status", left);
            let grace = meta.deletion_grace_period_seconds.or(spec.termination_grace_period_seconds).unwrap_or(30);
            lines.field(0, "Termination Grace Period", format!("{grace}s"));
        }
        _ => lines.field(0, "Status", view.phase()),
    }
    for (name, key) in [("Reason", "reason"), ("Message", "message")] {
        if let Some(value) = text(status, key) {
            lines.field(0, name, value);
        }
    }
}

fn addresses(lines: &mut Lines, status: &Value) {
    lines.field(0, "IP", text(status, "podIP").unwrap_or_default());
    let all: Vec<&str> = status["podIPs"].as_array().into_iter().flatten().filter_map(|one| text(one, "ip")).collect();
    if all.is_empty() {
        lines.field(0, "IPs", "<none>");
        return;
    }
    lines.add(0, "IPs:");
    all.iter().for_each(|ip| lines.field(1, "IP", ip));
}

fn conditions(lines: &mut Lines, status: &Value) {
    let Some(conditions) = status["conditions"].as_array().filter(|all| !all.is_empty()) else { return };
    lines.add(0, "Conditions:");
    lines.add(1, "Type\tStatus\tReason");
    for condition in conditions {
        let get = |key| text(condition, key).unwrap_or_default();
        let why = match (get("reason"), get("message")) {
            (reason, "") => reason.to_owned(),
            (reason, message) => format!("{reason}: {message}"),
        };
        lines.add(1, format!("{}\t{}\t{why}", get("type"), get("status")));
    }
}

fn tail(lines: &mut Lines, view: &View) {
    let spec = view.found.pod.spec.clone().unwrap_or_default();
    lines.field(0, "QoS Class", text(&view.status, "qosClass").unwrap_or_default());
    lines.map("Node-Selectors", spec.node_selector.as_ref(), "=");
    let tolerations: Vec<String> = spec
        .tolerations
        .iter()
        .flatten()
        .map(|one| {
            let value = one.value.as_ref().map_or_else(String::new, |value| format!("={value}"));
            let effect = one.effect.as_ref().map_or_else(String::new, |effect| format!(":{effect}"));
            let exists = if one.operator.as_deref() == Some("Exists") { " op=Exists" } else { "" };
            let seconds = one.toleration_seconds.map_or_else(String::new, |seconds| format!(" for {seconds}s"));
            format!("{}{value}{effect}{exists}{seconds}", one.key.as_deref().unwrap_or_default())
        })
        .collect();
    lines.add(0, format!("Tolerations:\t{}", if tolerations.is_empty() { "<none>" } else { &tolerations[0] }));
    tolerations.iter().skip(1).for_each(|one| lines.add(0, format!("\t{one}")));
}

fn events_of(lines: &mut Lines, events: &[Occurrence]) {
    if events.is_empty() {
        lines.field(0, "Events", "<none>");
        return;
    }
    lines.add(0, "Events:");
    lines.add(1, "Type\tReason\tAge\tFrom\tMessage");
    lines.add(1, "----\t------\t----\t----\t-------");
    let now = Timestamp::now();
    for event in events {
        let message = event.message.trim().replace('\n', " ");
        lines.add(1, format!("{}\t{}\t{}\tloment\t{message}", event.kind(), event.reason, event.age(now)));
    }
}

/// `Thu, 26 Nov 2026 14:00:00 +0000`: a time in the zone of whoever looks at it.
fn rfc1123(time: &str) -> String {
    match time.parse::<Timestamp>() {
        Ok(time) => time
            .to_zoned(TimeZone::try_system().unwrap_or(TimeZone::UTC))
            .strftime("%a, %d %b %Y %H:%M:%S %z")
            .to_string(),
        Err(_) => time.to_owned(),
    }
}

#[cfg(test)]
mod tests;
