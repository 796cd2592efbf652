//! Plans for containerds whose configuration something else makes: k3s, RKE2, MicroK8s.

use anyhow::{anyhow, bail};

use super::config::{Schema, Version};
use super::found::{Found, Source};
use super::plan::{Change, Plan, Wanted, Way, appended, block, drop_in, is_there, made, parsed, table, with_runc};
use super::refused::check_ours;

/// k3s and RKE2 make their configuration anew at each start.
pub(super) fn rancher(found: &Found, wanted: &Wanted) -> anyhow::Result<Plan> {
    let Some(generated) = parsed(&found.main, None)? else {
        bail!("{} is not there: start {} once, and run this again", found.main.path.display(), found.kind.name());
    };
    let schema = generated.schema;
    // That it has the class says nothing: what it was made of may have been taken away since.
    if let Some(handler) = generated.handlers.get(&wanted.handler) {
        check_ours(handler, wanted, &found.main.path)?;
    }
    let mut files = Vec::new();
    for source in &found.imported {
        files.extend(parsed(source, Some(schema.version()))?.map(|config| (source, config)));
    }
    if let Some(plan) = is_there(&files, found, wanted)? {
        return Ok(plan);
    }
    let is_v3 = schema == Schema::V3;
    let of_schema = |name: &&Source| name.path.ends_with("config-v3.toml.tmpl") == is_v3;
    let template = found.templates.iter().find(of_schema).ok_or_else(|| anyhow!("there is no template to write"))?;
    if let Some(text) = &template.text
        && mentions(text, &wanted.handler)
    {
        let note = format!("{} has the runtime class {:?} already", template.path.display(), wanted.handler);
        return Ok(Plan { change: None, notes: vec![note] });
    }
    // With containerd 1.x, layout 2, a file that is imported would take the place of all that is configured for CRI.
    if is_v3 && let Some(path) = drop_in(found, wanted)? {
        return Ok(made(path, schema, &table(schema, wanted), Vec::new()));
    }
    let table = table(schema, wanted);
    let change = match &template.text {
        Some(old) => Change { path: template.path.clone(), way: Way::Appended, text: block(old, &table) },
        None => Change {
            path: template.path.clone(),
            way: Way::Created,
            text: format!(
                "{{{{ template \"base\" . }}}}\n\n# Made by `loment install`; `loment uninstall` removes it.\n{table}"
            ),
        },
    };
    Ok(Plan { change: Some(change), notes: Vec::new() })
}

/// Whether a template, which is no TOML yet, has a table of this class.
fn mentions(template: &str, handler: &str) -> bool {
    let ends = [format!("runtimes.{handler}]"), format!("runtimes.\"{handler}\"]"), format!("runtimes.'{handler}']")];
    template.lines().any(|line| ends.iter().any(|end| line.trim_end().ends_with(end.as_str())))
}

/// MicroK8s makes its configuration of a template with variables of the shell, which stand in strings: it is TOML.
pub(super) fn microk8s(found: &Found, wanted: &Wanted) -> anyhow::Result<Plan> {
    let template = found.templates.first().ok_or_else(|| anyhow!("MicroK8s has no containerd-template.toml"))?;
    let Some(config) = parsed(template, None)? else {
        bail!("{} is not there: reinstall MicroK8s", template.path.display())
    };
    if let Some(plan) = is_there(&[(template, config.clone())], found, wanted)? {
        return Ok(plan);
    }
    let version = found.version().unwrap_or(Version::new(1, 6));
    let text =
        if config.has_runtimes { table(config.schema, wanted) } else { with_runc(config.schema, wanted, version) };
    appended(template, &config, wanted, &text)
}
