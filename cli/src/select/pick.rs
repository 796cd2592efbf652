//! Which pods a command means: by name, of a file, by their labels, or all.

use clap::Args;

use crate::args::Global;
use crate::error::Said;
use crate::manifest::files;
use crate::print::view::View;
use crate::resource;
use crate::select::selector::{Fields, Labels};
use crate::session::{Found, Session};

/// The flags that say which pods are meant.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Which {
    /// Pods whose labels are like this, as in "app=web,tier in (a,b),!old"
    #[arg(short = 'l', long, value_name = "LABELS")]
    pub(crate) selector: Option<String>,
    /// Pods whose fields are like this, as in "status.phase=Running"
    #[arg(long, value_name = "FIELDS")]
    pub(crate) field_selector: Option<String>,
    /// The pods of manifests
    #[arg(short, long = "filename", value_delimiter = ',', value_name = "FILE,...")]
    pub(crate) files: Vec<String>,
    /// Pods of all namespaces
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
}

/// The pods that are meant, as they can be looked for again and again.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// Namespace and name of each, if they are named.
    pub(crate) named: Vec<(Option<String>, String)>,
    labels: Labels,
    fields: Option<Fields>,
    all_namespaces: bool,
}

/// What there was of them.
#[derive(Debug, Default)]
pub(crate) struct Picked {
    pub(crate) pods: Vec<Found>,
    /// Names of those that were named and are not there.
    pub(crate) missing: Vec<String>,
}

impl Which {
    /// Whether pods are chosen by what they are like.
    pub(crate) fn selects(&self) -> bool {
        self.selector.is_some() || self.field_selector.is_some()
    }

    /// Reads words like `pods`, `pod NAME ...`, `pod/NAME ...` together with the flags. `verb` is the command's, as in "get".
    pub(crate) fn wanted(&self, global: &Global, words: &[String], verb: &str) -> anyhow::Result<Wanted> {
        let mut named: Vec<(Option<String>, String)> = Vec::new();
        if self.files.is_empty() {
            named.extend(resource::names(words)?.into_iter().map(|name| (None, name)));
        } else if !words.is_empty() {
            return Err(
                Said::one("error: when files are provided as input, you may not provide resources by name").into()
            );
        }
        named.extend(files::named(&self.files, global.namespace.as_deref(), verb)?);
        // Which is not to say that all pods are meant.
        if !self.files.is_empty() && named.is_empty() {
            return Err(Said::one(format!("error: {} holds no pod with a name", self.files.join(", "))).into());
        }
        if self.selects() && !named.is_empty() {
            return Err(Said::one("error: name cannot be provided when a selector is specified").into());
        }
        if self.all_namespaces && !named.is_empty() {
            return Err(Said::one("error: a resource cannot be retrieved by name across all namespaces").into());
        }
        let refused = |error: String| Said::one(format!("error: {error}"));
        let labels = Labels::parse(self.selector.as_deref().unwrap_or_default()).map_err(refused)?;
        let bad = |error: String| Said::one(format!("Error from server (BadRequest): {error}"));
        let fields = self.field_selector.as_deref().map(Fields::parse).transpose().map_err(bad)?;
        Ok(Wanted { named, labels, fields, all_namespaces: self.all_namespaces })
    }
}

impl Wanted {
    /// Whether pods are named, so that one that is not there is an error.
    pub(crate) fn is_named(&self) -> bool {
        !self.named.is_empty()
    }

    /// The namespace in which is looked, or all.
    pub(crate) fn namespace<'s>(&self, session: &'s Session) -> Option<&'s str> {
        (!self.all_namespaces).then_some(session.namespace.as_str())
    }

    /// Looks for them.
    pub(crate) async fn pick(&self, session: &Session) -> anyhow::Result<Picked> {
        let mut picked = Picked::default();
        for (namespace, name) in &self.named {
            match session.find(namespace.as_deref().unwrap_or(&session.namespace), name).await? {
                Some(found) => picked.pods.push(found),
                None => picked.missing.push(name.clone()),
            }
        }
        if self.is_named() {
            return Ok(picked);
        }
        for found in session.pods(self.namespace(session)).await? {
            if self.labels.match_labels(found.pod.metadata.labels.as_ref())
                && self.fields_match(session, &found).await?
            {
                picked.pods.push(found);
            }
        }
        Ok(picked)
    }

    async fn fields_match(&self, session: &Session, found: &Found) -> anyhow::Result<bool> {
        let Some(fields) = &self.fields else { return Ok(true) };
        match View::of(session, found).await? {
            Some(view) => Ok(fields.match_object(&view.object()?)),
            None => Ok(false),
        }
    }
}

/// What is said when there is no pod.
pub(crate) fn nothing_found(namespace: Option<&str>) -> String {
    match namespace {
        Some(namespace) => format!("No resources found in {namespace} namespace."),
        None => "No resources found".to_owned(),
    }
}
