//! Termination messages.

use anyhow::{Result, ensure};
use loment_integration::{loment::container_status, pod::Node};
use serde_json::{Value, json};

use super::manifest::{COUNTED, Manifest};

fn said<'a>(status: &'a Value, container: &str, state: &str) -> Result<&'a Value> {
    Ok(&container_status(status, container)?[state]["terminated"]["message"])
}

pub(crate) async fn a11_what_a_container_leaves_in_its_message_file_is_told_and_the_next_attempt_finds_it_empty(
    node: &Node<'_>,
) -> Result<()> {
    let script = format!(
        "{COUNTED}; [ -s /dev/termination-log ] && exit 9; [ $n -ge 2 ] || {{ echo first > /dev/termination-log; exit 1; }}"
    );
    let pod = Manifest::new(node, "message")?
        .app_with("app", json!({ "command": ["sh", "-c", script], "securityContext": { "runAsUser": 1234 } }))
        .app("quiet", "exit 0");
    // The counter is written by another user than root.
    let shared = node.lab.directory("volumes", "message")?;
    std::fs::set_permissions(&shared, std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
    let loment = pod.create(node).await?;
    let status = loment.phase("message", "Succeeded").await?;
    ensure!(said(&status, "app", "lastState")? == "first\n", "the status is {status}");
    ensure!(said(&status, "app", "state")?.is_null(), "the status is {status}");
    ensure!(said(&status, "quiet", "state")?.is_null(), "the status is {status}");
    loment.delete("message").await
}

pub(crate) async fn a11_the_end_of_the_log_stands_in_for_a_container_that_fails_if_it_asks_for_that(
    node: &Node<'_>,
) -> Result<()> {
    let script = format!("{COUNTED}; echo attempt $n; echo second line; [ $n -ge 2 ]");
    let fields =
        |script: &str, policy: &str| json!({ "command": ["sh", "-c", script], "terminationMessagePolicy": policy });
    let pod = Manifest::new(node, "log-message")?
        .app_with("app", fields(&script, "FallbackToLogsOnError"))
        .app_with("other", fields("echo unasked; [ -e /shared/other ] || { touch /shared/other; exit 3; }", "File"));
    let loment = pod.create(node).await?;
    let status = loment.phase("log-message", "Succeeded").await?;
    ensure!(said(&status, "app", "lastState")? == "attempt 1\nsecond line\n", "the status is {status}");
    ensure!(said(&status, "app", "state")?.is_null(), "one that ends well says nothing: {status}");
    ensure!(said(&status, "other", "lastState")?.is_null(), "the status is {status}");
    loment.delete("log-message").await
}
