//! What an installation has done, or would do, for people and for programs. docs/install.md has the fields.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::trial::Trial;
use crate::print::show;
use crate::setup::found::Found;
use crate::setup::plan::{Change, Plan, Wanted, Way};

pub(super) struct Shown {
    pub(super) dry_run: bool,
    containerd: Value,
    headline: String,
    handler: String,
    change: Option<Change>,
    programs: Vec<PathBuf>,
    notes: Vec<String>,
    /// What starts containerd again.
    pub(super) restart: Option<String>,
    pub(super) restarted: bool,
    /// Whether the containerd that runs knows the class.
    pub(super) is_known: bool,
    pub(super) trial: Option<Trial>,
}

impl Shown {
    pub(super) fn new(found: &Found, wanted: &Wanted, plan: &Plan, programs: Vec<PathBuf>) -> Self {
        let release = found.release.clone();
        let kind = found.kind.name();
        let path = found.main.path.display();
        Shown {
            dry_run: false,
            headline: format!("{kind} {}, configuration {path}", release.as_deref().unwrap_or("of an unknown version")),
            containerd: json!({
                "kind": kind, "version": release, "program": found.program, "config": found.main.path, "imports": found.imports,
            }),
            handler: wanted.handler.clone(),
            change: plan.change.clone(),
            programs,
            notes: plan.notes.clone(),
            restart: None,
            restarted: false,
            is_known: false,
            trial: None,
        }
    }

    /// The class for Kubernetes. What a pod takes beside its containers is in it if it was measured.
    fn runtime_class(&self) -> Value {
        let mut class = json!({
            "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass",
            "metadata": { "name": self.handler }, "handler": self.handler,
        });
        if let Some(trial) = &self.trial {
            class["overhead"] = json!({ "podFixed": { "memory": trial.overhead() } });
        }
        class
    }

    pub(super) fn json(&self) -> anyhow::Result<String> {
        let change = self
            .change
            .iter()
            .map(|change| json!({ "path": change.path, "how": how(change.way), "text": change.text }));
        let programs = self.programs.iter().map(|path| json!({ "path": path, "how": "program", "text": null }));
        show::json(&json!({
            "dryRun": self.dry_run,
            "handler": self.handler,
            "containerd": self.containerd,
            "changes": programs.chain(change).collect::<Vec<_>>(),
            "restart": { "command": self.restart, "done": self.restarted },
            "pod": self.trial.as_ref().map(Trial::json),
            "runtimeClass": self.runtime_class(),
            "notes": self.notes,
        }))
    }

    pub(super) fn text(&self) -> anyhow::Result<String> {
        let mut text = format!("{}\n", self.headline);
        let mut line = |line: &str| text.push_str(&format!("{line}\n"));
        let would = if self.dry_run { "would be " } else { "" };
        self.programs.iter().for_each(|path| line(&format!("{} {would}put there", path.display())));
        if let Some(change) = &self.change {
            line(&format!("{} {would}{}:", change.path.display(), how(change.way)));
            change.text.lines().for_each(|added| line(format!("  + {added}").trim_end()));
        }
        self.notes.iter().for_each(|note| line(note));
        if self.programs.is_empty() && self.change.is_none() {
            line("nothing to write");
        }
        line(&self.state());
        line("");
        if !self.dry_run && self.trial.is_none() {
            line("# Without the overhead of a pod: none was started to measure it");
        }
        text.push_str(&show::yaml(&self.runtime_class())?);
        Ok(text)
    }

    /// Where things stand now.
    fn state(&self) -> String {
        let restart = self.restart.as_deref().unwrap_or("restart it as it is started here");
        match (&self.trial, self.restarted) {
            (Some(trial), _) => trial.line(&self.handler),
            (None, true) => format!("containerd was started again and knows the runtime class {:?}", self.handler),
            (None, false) if self.is_known => format!("containerd knows the runtime class {:?}", self.handler),
            (None, false) if self.dry_run => {
                format!("nothing is changed; containerd reads it when it starts: {restart}")
            }
            (None, false) => format!(
                "containerd reads it when it starts, which pods survive: {restart}; then `loment install` again starts a pod"
            ),
        }
    }
}

fn how(way: Way) -> &'static str {
    match way {
        Way::Created => "created",
        Way::Appended => "appended to",
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::setup::found::{Kind, Source};
    use crate::setup::plan::plan;
    use crate::setup::programs::PROGRAMS;

    fn found() -> Found {
        Found {
            kind: Kind::Containerd,
            program: Some("/usr/bin/containerd".into()),
            release: Some("2.1.4".into()),
            main: Source { path: "/etc/containerd/config.toml".into(), text: Some("version = 3\n".into()) },
            imports: vec!["/etc/containerd/conf.d/*.toml".into()],
            imported: Vec::new(),
            templates: Vec::new(),
            dump: None,
            dockers: None,
        }
    }

    fn wanted() -> Wanted {
        Wanted { handler: "loment".into(), sandboxes_of_shim: false, runtime_path: None }
    }

    fn shown() -> Shown {
        let change = Change { path: "/etc/x.toml".into(), way: Way::Created, text: "a\n\nb\n".into() };
        let plan = Plan { change: Some(change), notes: vec!["a note".into()] };
        Shown::new(&found(), &wanted(), &plan, vec!["/usr/local/bin/shim".into()])
    }

    #[test]
    fn the_documentation_shows_what_a_dry_run_prints() {
        let programs = PROGRAMS.map(|name| Path::new("/usr/local/bin").join(name)).to_vec();
        let mut shown = Shown::new(&found(), &wanted(), &plan(&found(), &wanted()).unwrap(), programs);
        shown.dry_run = true;
        shown.restart = Some("systemctl restart containerd".into());
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/install.md");
        let text = fs::read_to_string(path).unwrap();
        let example = text.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        assert_eq!(
            serde_json::from_str::<Value>(&shown.json().unwrap()).unwrap(),
            serde_json::from_str::<Value>(example).unwrap()
        );
    }

    #[test]
    fn the_overhead_is_in_the_runtime_class_when_it_was_measured() {
        let mut shown = shown();
        assert_eq!(shown.runtime_class()["overhead"], Value::Null);
        shown.trial = Some(Trial { image: "i".into(), started: Duration::from_millis(21), memory_kib: 1025 });
        assert_eq!(shown.runtime_class()["overhead"]["podFixed"]["memory"], "2Mi");
        let text = shown.text().unwrap();
        assert!(text.contains("handler: loment\n") && text.contains("memory: 2Mi\n"), "{text}");
    }

    #[test]
    fn a_dry_run_says_what_would_be_written() {
        let mut shown = shown();
        shown.dry_run = true;
        let text = shown.text().unwrap();
        assert!(text.contains("/etc/x.toml would be created:\n  + a\n  +\n  + b\n"), "{text}");
        assert!(
            text.contains("/usr/local/bin/shim would be put there\n") && text.contains("nothing is changed"),
            "{text}"
        );
        let json: Value = serde_json::from_str(&shown.json().unwrap()).unwrap();
        assert_eq!(json["changes"][1]["how"], "created");
        assert_eq!(json["dryRun"], true);
    }
}
