//! Commands that only look: `state`, `list`, `ps`.

use std::fmt::Write;

use loment_cgroups::Layout;
use loment_sandbox::OCI_VERSION;
use serde_json::{Value, json};

use crate::{
    args::{Format, List, One, Ps},
    failure::{Context, Failure, Result},
    store::{Place, Status, Store, status},
    streams::print,
};

/// The state of one container, as the runtime specification lays it out, with runc's additions.
fn describe(place: &Place, layout: &Layout) -> Result<Value> {
    let Some(state) = place.state()? else {
        return Ok(json!({ "ociVersion": OCI_VERSION, "id": place.id, "pid": 0, "status": Status::Creating.name(),
            "bundle": "", "rootfs": "", "created": "", "owner": "" }));
    };
    let adopted = place.created(layout)?;
    let status = status(&adopted)?;
    let pid = if status == Status::Stopped { 0 } else { adopted.record().pid };
    let mut description = json!({
        "ociVersion": state.oci_version,
        "id": place.id,
        "pid": pid,
        "status": status.name(),
        "bundle": state.bundle,
        "rootfs": state.rootfs,
        "created": state.created,
        "owner": state.owner,
    });
    if !state.annotations.is_empty() {
        description["annotations"] = json!(state.annotations);
    }
    Ok(description)
}

pub(crate) fn state(store: &Store, one: &One) -> Result<()> {
    let description = describe(&store.find(&one.id)?, &Layout::detect()?)?;
    print(&format!("{description:#}\n"))
}

pub(crate) fn list(store: &Store, list: &List) -> Result<()> {
    let places = store.all()?;
    if list.quiet {
        return print(&places.iter().map(|place| format!("{}\n", place.id)).collect::<String>());
    }
    let layout = Layout::detect()?;
    // One that is deleted while the others are looked at is no longer there to be listed.
    let all: Vec<Value> = places.iter().filter_map(|place| describe(place, &layout).ok()).collect();
    match list.format {
        Format::Json => print(&format!("{}\n", Value::Array(all))),
        Format::Table => print(&table(&all)),
    }
}

fn table(containers: &[Value]) -> String {
    const COLUMNS: [&str; 6] = ["id", "pid", "status", "bundle", "created", "owner"];
    let cell = |value: &Value| value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
    let mut rows = vec![COLUMNS.map(str::to_uppercase)];
    rows.extend(containers.iter().map(|container| COLUMNS.map(|column| cell(&container[column]))));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0).max(9);
    let widths: [usize; 6] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        let line = cells.collect::<Vec<_>>().join("   ");
        let _infallible = writeln!(text, "{}", line.trim_end());
    }
    text
}

pub(crate) fn ps(store: &Store, ps: &Ps) -> Result<()> {
    let place = store.find(&ps.id)?;
    let pids = place.created(&Layout::detect()?)?.cgroup().pids()?;
    if ps.format == Format::Json {
        return print(&format!("{}\n", json!(pids)));
    }
    let default = ["-ef".to_owned()];
    let options = if ps.options.is_empty() { &default[..] } else { &ps.options };
    let output = std::process::Command::new("ps").args(options).output().at("run", "the host's ps")?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::new(format!("ps {}: {}", options.join(" "), message.trim())));
    }
    print(&rows_of(&String::from_utf8_lossy(&output.stdout), &pids)?)
}

/// The heading, and the lines of these processes.
fn rows_of(table: &str, pids: &[i32]) -> Result<String> {
    let mut lines = table.lines();
    let heading = lines.next().unwrap_or_default();
    let column = heading.split_whitespace().position(|name| name == "PID");
    let column = column.ok_or_else(|| Failure::new("ps: its answer has no column PID (choose other options)"))?;
    let of_ours = |line: &&str| {
        let pid = line.split_whitespace().nth(column).and_then(|pid| pid.parse().ok());
        pid.is_some_and(|pid| pids.contains(&pid))
    };
    Ok(std::iter::once(heading).chain(lines.filter(of_ours)).map(|line| format!("{line}\n")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_containers_processes_are_shown() {
        let table = "UID   PID  PPID CMD\nroot    7     1 a 8\nroot    8     1 b\nroot   77     7 c\n";
        assert_eq!(rows_of(table, &[8, 77]).unwrap(), "UID   PID  PPID CMD\nroot    8     1 b\nroot   77     7 c\n");
        assert!(rows_of("USER CMD\n", &[8]).is_err());
    }
}
