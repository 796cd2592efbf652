//! The manifests that pods are to be like, and how it is told what became of them.

use k8s_openapi::api::core::v1::Pod;

use crate::args::{Filenames, Global};
use crate::commands::{print, warn};
use crate::error::Said;
use crate::lower;
use crate::manifest::{Objects, files};
use crate::print::output::Output;
use crate::print::show;
use crate::session::{Found, Session};

/// How pods are told of when something was done with them.
pub(super) struct Report(pub(super) Option<Output>);

impl Report {
    pub(super) fn of(output: Option<&str>) -> anyhow::Result<Self> {
        Ok(Report(output.map(|text| Output::parse(Some(text))).transpose()?))
    }

    pub(super) fn say(&self, pod: &Pod, done: &str) -> anyhow::Result<()> {
        match &self.0 {
            None => print(&format!("pod/{} {done}\n", lower::name(pod))),
            Some(output) => print(&output.one(&show::object(pod, None)?)?),
        }
    }
}

/// The pods of a command's files: as they are written, and complete and checked.
pub(super) struct Given {
    pub(super) written: Vec<Pod>,
    pub(super) objects: Objects,
}

impl Given {
    pub(super) fn read(global: &Global, filenames: &Filenames, verb: &str) -> anyhow::Result<Self> {
        let mut objects = files::read_all(filenames, verb)?;
        let written = objects.pods.clone();
        warn(&files::complete_and_check(&mut objects, global.namespace.as_deref(), filenames.rules(global))?);
        if objects.pods.is_empty() {
            return Err(Said::one(format!("error: no objects passed to {verb}")).into());
        }
        Ok(Given { written, objects })
    }

    /// The pod of each manifest, if there is one.
    pub(super) async fn find(&self, session: &Session) -> anyhow::Result<Vec<Option<Found>>> {
        let mut all = Vec::new();
        for pod in &self.objects.pods {
            all.push(session.find(lower::namespace(pod), lower::name(pod)).await?);
        }
        Ok(all)
    }

    /// The pods that are not there, with what they may refer to; and which of the manifests they are.
    pub(super) fn missing(&self, found: &[Option<Found>]) -> (Vec<usize>, Objects) {
        let missing = |index: &usize| found.get(*index).is_some_and(Option::is_none);
        let which: Vec<usize> = (0..self.written.len()).filter(missing).collect();
        let pods = which.iter().filter_map(|index| self.objects.pods.get(*index).cloned()).collect();
        let (config_maps, secrets) = (self.objects.config_maps.clone(), self.objects.secrets.clone());
        (which, Objects { pods, config_maps, secrets, ..Objects::default() })
    }
}
