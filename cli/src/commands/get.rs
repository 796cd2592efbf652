//! `loment get`: pods with their status, once or as they change.

use std::collections::{BTreeMap, HashMap};

use clap::Args;
use serde_json::Value;

use super::{note, print};
use crate::args::Global;
use crate::error::{ExitWith, Said};
use crate::jsonpath::Template;
use crate::print::output::Output;
use crate::print::sorting;
use crate::print::table;
use crate::print::view::View;
use crate::select::changes::Changes;
use crate::select::pick::{Wanted, Which, nothing_found};
use crate::session::Session;

const EXAMPLES: &str = "\
Examples:
  # The pods of the namespace, and those of all namespaces with more columns
  loment get pods
  loment get pods -A -o wide

  # One pod with everything that is known of it
  loment get pod web -o yaml

  # Follow what changes
  loment get pods --watch

  # Pods with a label; only those that run
  loment get pods -l app=web --show-labels
  loment get pods --field-selector status.phase=Running

  # A single field, or columns of one's own
  loment get pod web -o jsonpath='{.status.podIP}'
  loment get pods -o custom-columns=NAME:.metadata.name,IMAGE:.spec.containers[*].image

  # The oldest first
  loment get pods --sort-by=.metadata.creationTimestamp";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Get {
    /// "pods", "pod NAME ..." or "pod/NAME ..."
    #[arg(value_name = "RESOURCE")]
    what: Vec<String>,
    #[command(flatten)]
    which: Which,
    /// wide, yaml, json, name, jsonpath=TEMPLATE, jsonpath-file=FILE, jsonpath-as-json=TEMPLATE, custom-columns=SPEC or
    /// custom-columns-file=FILE
    #[arg(short, long)]
    output: Option<String>,
    /// Go on with what changes
    #[arg(short, long)]
    watch: bool,
    /// Only what changes from now on
    #[arg(long)]
    watch_only: bool,
    /// Say whether a pod was added, modified or deleted
    #[arg(long)]
    output_watch_events: bool,
    /// A column with all labels
    #[arg(long)]
    show_labels: bool,
    /// A column for each of these labels
    #[arg(short = 'L', long, value_delimiter = ',', value_name = "LABEL,...")]
    label_columns: Vec<String>,
    /// The field by which pods are sorted, as a JSONPath
    #[arg(long, value_name = "JSONPATH")]
    sort_by: Option<String>,
    /// Leave the line with the names of the columns out
    #[arg(long)]
    no_headers: bool,
    /// Do not complain about pods that do not exist
    #[arg(long)]
    ignore_not_found: bool,
}

pub(crate) async fn run(global: &Global, args: &Get) -> anyhow::Result<()> {
    let wanted = args.which.wanted(global, &args.what, "get")?;
    let output = Output::parse(args.output.as_deref())?;
    let sort_by = args.sort_by.as_deref().map(Template::parse_relaxed).transpose();
    let sort_by = sort_by.map_err(|error| Said::one(format!("error: {error}")))?;
    let session = Session::open(global).await?;
    let printer = Printer { args, output, all_namespaces: args.which.all_namespaces };
    let picked = wanted.pick(&session).await?;
    let mut views = View::of_all(&session, &picked.pods).await?;
    if let Some(path) = &sort_by {
        sorting::by_path(&mut views, path, args.sort_by.as_deref().unwrap_or_default())?;
    }
    let missing = if args.ignore_not_found { Vec::new() } else { picked.missing };
    if args.watch || args.watch_only {
        if let [first, ..] = missing.as_slice() {
            return Err(Said::pod_not_found(first).into());
        }
        return watch(&session, &wanted, &printer, views).await;
    }
    let single = wanted.named.len() == 1;
    if !views.is_empty() || (!wanted.is_named() && !printer.is_table()) {
        print(&printer.all(&views, single)?)?;
    } else if missing.is_empty() && !wanted.is_named() && !args.ignore_not_found {
        note(&nothing_found(wanted.namespace(&session)));
    }
    // As kubectl does: what exists is shown, what does not is named, and the status tells that something was missing.
    missing.iter().for_each(|name| note(&Said::pod_not_found(name).to_string()));
    if missing.is_empty() { Ok(()) } else { Err(ExitWith(1).into()) }
}

/// Prints pods again whenever they have changed, until it is interrupted.
async fn watch(session: &Session, wanted: &Wanted, printer: &Printer<'_>, first: Vec<View>) -> anyhow::Result<()> {
    let mut known: HashMap<String, View> = HashMap::new();
    let mut widths = Vec::new();
    let silent = printer.args.watch_only;
    if !silent && first.is_empty() && printer.is_table() {
        note(&nothing_found(wanted.namespace(session)));
    }
    let mut views = first;
    let mut headers = !printer.args.no_headers;
    let mut is_first = true;
    let mut changes = Changes::new(session);
    loop {
        let mut news = Vec::new();
        let now: Vec<&str> = views.iter().map(|view| view.found.uid()).collect();
        let gone: Vec<String> = known.keys().filter(|uid| !now.contains(&uid.as_str())).cloned().collect();
        news.extend(gone.iter().filter_map(|uid| known.remove(uid)).map(|view| ("DELETED", view)));
        for view in &views {
            let before = known.insert(view.found.uid().to_owned(), view.clone());
            match before {
                None => news.push(("ADDED", view.clone())),
                Some(before) if before.object()? != view.object()? => news.push(("MODIFIED", view.clone())),
                Some(_) => {}
            }
        }
        // What there is already is no change.
        if silent && is_first {
            news.clear();
        }
        if !news.is_empty() {
            print(&printer.news(&news, headers, &mut widths)?)?;
            headers = false;
        }
        is_first = false;
        let pods: Vec<_> = views.iter().map(|view| view.found.clone()).collect();
        changes.next(&pods, None).await;
        views = View::of_all(session, &wanted.pick(session).await?.pods).await?;
    }
}

/// How pods are printed.
struct Printer<'a> {
    args: &'a Get,
    output: Output,
    all_namespaces: bool,
}

impl Printer<'_> {
    fn is_table(&self) -> bool {
        matches!(self.output, Output::Table | Output::Wide)
    }

    fn all(&self, views: &[View], single: bool) -> anyhow::Result<String> {
        if self.is_table() {
            let mut rows: Vec<Vec<String>> = if self.args.no_headers { Vec::new() } else { vec![self.header()] };
            for view in views {
                rows.push(self.row(view)?);
            }
            return Ok(table::render(&rows));
        }
        let objects = views.iter().map(View::object).collect::<anyhow::Result<_>>()?;
        self.output.print(objects, single, !self.args.no_headers)
    }

    fn news(&self, news: &[(&str, View)], headers: bool, widths: &mut Vec<usize>) -> anyhow::Result<String> {
        let with_event = self.args.output_watch_events;
        if self.is_table() {
            let mut rows: Vec<Vec<String>> = if headers { vec![self.header()] } else { Vec::new() };
            if let (true, Some(header)) = (with_event, rows.first_mut()) {
                header.insert(0, "EVENT".to_owned());
            }
            for (event, view) in news {
                let mut row = self.row(view)?;
                if with_event {
                    row.insert(0, (*event).to_owned());
                }
                rows.push(row);
            }
            return Ok(table::render_below(&rows, widths));
        }
        let mut text = String::new();
        for (event, view) in news {
            let object = view.object()?;
            let object = match with_event {
                true => serde_json::json!({ "type": event, "object": object }),
                false => object,
            };
            if self.output == Output::Yaml && !(headers && text.is_empty()) {
                text.push_str("---\n");
            }
            text.push_str(&self.output.one(&object)?);
        }
        Ok(text)
    }

    fn header(&self) -> Vec<String> {
        let mut header = vec!["NAME", "READY", "STATUS", "RESTARTS", "AGE"];
        if self.output == Output::Wide {
            header.extend(["IP", "NODE", "NOMINATED NODE", "READINESS GATES"]);
        }
        if self.all_namespaces {
            header.insert(0, "NAMESPACE");
        }
        let mut header: Vec<String> = header.into_iter().map(str::to_owned).collect();
        // As kubectl names it: the key without its domain.
        header.extend(self.args.label_columns.iter().map(|key| key.rsplit('/').next().unwrap_or(key).to_uppercase()));
        if self.args.show_labels {
            header.push("LABELS".to_owned());
        }
        header
    }

    fn row(&self, view: &View) -> anyhow::Result<Vec<String>> {
        let columns = view.columns()?;
        let mut row = vec![view.found.name().to_owned(), columns.ready, columns.status, columns.restarts, view.age()];
        if self.output == Output::Wide {
            let none = || "<none>".to_owned();
            let spec = view.found.pod.spec.as_ref();
            row.push(view.status["podIP"].as_str().map_or_else(none, str::to_owned));
            row.push(spec.and_then(|spec| spec.node_name.clone()).unwrap_or_else(none));
            row.extend([none(), gates(view).unwrap_or_else(none)]);
        }
        if self.all_namespaces {
            row.insert(0, view.found.namespace().to_owned());
        }
        let labels = view.found.pod.metadata.labels.clone().unwrap_or_default();
        row.extend(self.args.label_columns.iter().map(|key| labels.get(key).cloned().unwrap_or_default()));
        if self.args.show_labels {
            row.push(shown(&labels));
        }
        Ok(row)
    }
}

/// How many of the pod's readiness gates are open: `1/2`.
fn gates(view: &View) -> Option<String> {
    let gates = view.found.pod.spec.as_ref()?.readiness_gates.as_ref().filter(|gates| !gates.is_empty())?;
    let conditions = view.status["conditions"].as_array();
    let is_open = |kind: &str| {
        conditions.is_some_and(|all| all.iter().any(|one: &Value| one["type"] == kind && one["status"] == "True"))
    };
    let open = gates.iter().filter(|gate| is_open(&gate.condition_type)).count();
    Some(format!("{open}/{}", gates.len()))
}

fn shown(labels: &BTreeMap<String, String>) -> String {
    let all: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    if all.is_empty() { "<none>".to_owned() } else { all.join(",") }
}
