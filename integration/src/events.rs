//! containerd's events, in the order in which it publishes them.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::{Lab, images, pod::eventually};

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// As in `/tasks/exit`.
    pub topic: String,
    /// The event's fields.
    pub body: Value,
}

impl Event {
    /// A field's text; empty when the event has no such field.
    pub fn text(&self, field: &str) -> &str {
        self.body.get(field).and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether it tells the exit of this process: a container's own when `exec` is its id too.
    pub fn is_exit(&self, container: &str, exec: &str) -> bool {
        self.topic == "/tasks/exit" && self.text("container_id") == container && self.text("id") == exec
    }
}

/// Listens from [`Events::follow`] until it is dropped.
#[derive(Debug)]
pub struct Events {
    child: Child,
    reader: Option<JoinHandle<()>>,
    seen: Arc<Mutex<Vec<Event>>>,
}

impl Events {
    /// Starts to listen, and returns when events arrive.
    pub async fn follow(lab: &Lab) -> Result<Self> {
        let mut child = lab.ctr().arg("events").stdout(Stdio::piped()).spawn().context("run ctr events")?;
        let output = child.stdout.take().context("the output of ctr events")?;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&seen);
        let reader = thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                lock(&sink).extend(parse(&line));
            }
        });
        let events = Self { child, reader: Some(reader), seen };
        // ctr does not say when it has subscribed: make events until one comes.
        let mut count = 0_u32;
        eventually("containerd's events", async || {
            count += 1;
            let output = lab.ctr().args(["images", "label", images::PAUSE, &format!("asked={count}")]).output()?;
            if !output.status.success() {
                bail!("label an image: {}", String::from_utf8_lossy(&output.stderr).trim());
            }
            Ok((!events.seen().is_empty()).then_some(()))
        })
        .await?;
        Ok(events)
    }

    /// What has been published so far.
    pub fn seen(&self) -> Vec<Event> {
        lock(&self.seen).clone()
    }

    /// Waits for an event and returns all up to it and with it.
    pub async fn until(&self, what: &str, is_it: impl Fn(&Event) -> bool) -> Result<Vec<Event>> {
        eventually(what, async || {
            let seen = self.seen();
            Ok(seen.iter().position(&is_it).map(|last| seen[..=last].to_vec()))
        })
        .await
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// A panic elsewhere does not unsay an event.
fn lock(seen: &Mutex<Vec<Event>>) -> MutexGuard<'_, Vec<Event>> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A line of `ctr events`: date, time, zone, namespace, topic, JSON.
fn parse(line: &str) -> Option<Event> {
    let start = line.find(" /")? + 1;
    let (topic, body) = line.get(start..)?.split_once(' ')?;
    Some(Event { topic: topic.to_owned(), body: serde_json::from_str(body).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_ctr_becomes_an_event() {
        let line = r#"2026-11-23 07:56:04.34 +0000 UTC k8s.io /tasks/exit {"container_id":"c","id":"e","pid":7}"#;
        let event = parse(line);
        assert!(event.is_some_and(|event| event.is_exit("c", "e") && !event.is_exit("c", "c")));
    }
}
