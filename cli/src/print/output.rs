//! What `-o` asks for, and objects printed so.

use std::fs;

use serde_json::Value;

use crate::error::Said;
use crate::jsonpath::{self, Template};
use crate::print::{show, table};

const FORMATS: [&str; 9] = [
    "custom-columns",
    "custom-columns-file",
    "json",
    "jsonpath",
    "jsonpath-as-json",
    "jsonpath-file",
    "name",
    "wide",
    "yaml",
];

/// How objects are printed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Output {
    #[default]
    Table,
    Wide,
    Yaml,
    Json,
    Name,
    Path(Template),
    PathAsJson(Template),
    Columns(Vec<Column>),
}

/// A column of `-o custom-columns`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Column {
    header: String,
    path: Template,
}

impl Output {
    /// Reads what stands behind `-o`.
    pub(crate) fn parse(text: Option<&str>) -> anyhow::Result<Self> {
        let Some(text) = text else { return Ok(Output::Table) };
        let (format, argument) = text.split_once('=').map_or((text, None), |(format, rest)| (format, Some(rest)));
        let needed = |what: &str| match argument.filter(|argument| !argument.is_empty()) {
            Some(argument) => Ok(argument),
            None => Err(Said::one(format!("error: {what}"))),
        };
        let template = "template format specified but no template given";
        let columns = "custom-columns format specified but no custom columns given";
        Ok(match format {
            "wide" => Output::Wide,
            "yaml" => Output::Yaml,
            "json" => Output::Json,
            "name" => Output::Name,
            "jsonpath" => Output::Path(parsed(needed(template)?)?),
            "jsonpath-as-json" => Output::PathAsJson(parsed(needed(template)?)?),
            "jsonpath-file" => Output::Path(parsed(&read(needed(template)?)?)?),
            "custom-columns" => Output::Columns(columns_of(needed(columns)?)?),
            "custom-columns-file" => Output::Columns(columns_of_file(&read(needed(columns)?)?)?),
            _ => {
                return Err(Said::one(format!(
                    "error: unable to match a printer suitable for the output format {format:?}, allowed formats are: {}",
                    FORMATS.join(",")
                ))
                .into());
            }
        })
    }

    /// Whether every object is printed by itself, and not as a part of a list.
    fn is_one_by_one(&self) -> bool {
        matches!(self, Output::Name | Output::Columns(_))
    }

    /// Prints objects that are no table: one alone, several as a list.
    pub(crate) fn print(&self, mut objects: Vec<Value>, single: bool, headers: bool) -> anyhow::Result<String> {
        if self.is_one_by_one() {
            return self.each(&objects, headers);
        }
        let object = match single {
            true => objects.pop().unwrap_or_default(),
            false => show::list(objects),
        };
        self.one(&object)
    }

    fn each(&self, objects: &[Value], headers: bool) -> anyhow::Result<String> {
        let Output::Columns(columns) = self else {
            let name = |object: &Value| jsonpath::text(&object["metadata"]["name"]);
            let kind = |object: &Value| jsonpath::text(&object["kind"]).to_lowercase();
            return Ok(objects.iter().map(|object| format!("{}/{}\n", kind(object), name(object))).collect());
        };
        let header = headers.then(|| columns.iter().map(|column| column.header.clone()).collect());
        let rows = objects.iter().map(|object| columns.iter().map(|column| column.cell(object)).collect());
        let rows: Vec<Vec<String>> = header.into_iter().chain(rows).collect();
        Ok(table::render(&rows))
    }

    /// Prints one object, which may be a list.
    pub(crate) fn one(&self, object: &Value) -> anyhow::Result<String> {
        match self {
            Output::Yaml => show::yaml(object),
            Output::Path(template) => template.print(object).map_err(|error| failed(&error)),
            Output::PathAsJson(template) => {
                let values = template.values(object).map_err(|error| failed(&error))?;
                show::json(&Value::Array(values.into_iter().cloned().collect()))
            }
            Output::Name | Output::Columns(_) => self.each(std::slice::from_ref(object), false),
            Output::Json | Output::Table | Output::Wide => show::json(object),
        }
    }
}

impl Column {
    fn cell(&self, object: &Value) -> String {
        // An index that is not there is nothing to show, as is a field.
        let values = self.path.values(object).unwrap_or_default();
        match values.as_slice() {
            [] => "<none>".to_owned(),
            values => values.iter().map(|value| plain(value)).collect::<Vec<_>>().join(","),
        }
    }
}

/// A value as kubectl shows it in a cell, which is how Go prints it.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Array(all) => format!("[{}]", all.iter().map(plain).collect::<Vec<_>>().join(" ")),
        Value::Object(all) => {
            let pairs: Vec<String> = all.iter().map(|(key, value)| format!("{key}:{}", plain(value))).collect();
            format!("map[{}]", pairs.join(" "))
        }
        other => jsonpath::text(other),
    }
}

fn failed(error: &str) -> anyhow::Error {
    Said::one(format!("error: error executing jsonpath: Error executing template: {error}")).into()
}

fn parsed(template: &str) -> Result<Template, Said> {
    Template::parse(template).map_err(|error| Said::one(format!("error: error parsing jsonpath {template}, {error}")))
}

fn read(file: &str) -> Result<String, Said> {
    fs::read_to_string(file).map_err(|error| Said::one(format!("error: error reading template {file}, {error}")))
}

fn columns_of(text: &str) -> Result<Vec<Column>, Said> {
    // A comma inside of a subscript belongs to it.
    let mut depth = 0_i32;
    let parts = text.split(|c| {
        depth += i32::from(c == '[') - i32::from(c == ']');
        c == ',' && depth == 0
    });
    parts
        .map(|part| match part.split_once(':') {
            Some((header, path)) => column(header, path),
            None => Err(Said::one(format!(
                "error: unexpected custom-columns spec: {part}, expected <header>:<json-path-expr>"
            ))),
        })
        .collect()
}

fn columns_of_file(text: &str) -> Result<Vec<Column>, Said> {
    let words = |line: Option<&str>| line.unwrap_or_default().split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let mut lines = text.lines();
    let (headers, paths) = (words(lines.next()), words(lines.next()));
    if headers.len() != paths.len() || headers.is_empty() {
        let (headers, paths) = (headers.len(), paths.len());
        return Err(Said::one(format!(
            "error: number of headers ({headers}) and field specifications ({paths}) don't match"
        )));
    }
    headers.iter().zip(&paths).map(|(header, path)| column(header, path)).collect()
}

fn column(header: &str, path: &str) -> Result<Column, Said> {
    let path = Template::parse_relaxed(path).map_err(|error| Said::one(format!("error: {error}")))?;
    Ok(Column { header: header.to_owned(), path })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pods() -> Vec<Value> {
        let pod = |name: &str, labels: Value| json!({ "kind": "Pod", "metadata": { "name": name, "labels": labels } });
        vec![pod("a", json!({ "app": "web", "tier": "front" })), pod("b", Value::Null)]
    }

    fn printed(output: &str, headers: bool) -> String {
        Output::parse(Some(output)).unwrap().print(pods(), false, headers).unwrap()
    }

    fn refused(output: &str) -> String {
        Output::parse(Some(output)).unwrap_err().to_string()
    }

    #[test]
    fn names_columns_and_paths_are_printed() {
        assert_eq!(printed("name", true), "pod/a\npod/b\n");
        assert_eq!(printed("jsonpath={.items[*].metadata.name}", true), "a b");
        assert_eq!(
            printed("custom-columns=NAME:.metadata.name,APP:{.metadata.labels.app},L:metadata.labels", true),
            "NAME   APP      L\na      web      map[app:web tier:front]\nb      <none>   <nil>\n"
        );
        assert_eq!(printed("custom-columns=N:.metadata.name", false), "a\nb\n");
        assert!(printed("jsonpath-as-json={.items[*].metadata.name}", true).starts_with("[\n  \"a\",\n"));
    }

    #[test]
    fn what_is_no_format_is_refused_in_kubectls_words() {
        assert!(refused("xml").starts_with(
            "error: unable to match a printer suitable for the output format \"xml\", allowed formats are: custom-columns,"
        ));
        assert!(refused("go-template={{.kind}}").contains("\"go-template\""));
        assert_eq!(refused("jsonpath"), "error: template format specified but no template given");
        assert_eq!(refused("custom-columns"), "error: custom-columns format specified but no custom columns given");
        assert_eq!(
            refused("custom-columns=NAME"),
            "error: unexpected custom-columns spec: NAME, expected <header>:<json-path-expr>"
        );
        assert_eq!(refused("jsonpath={.a"), "error: error parsing jsonpath {.a, unclosed action");
    }

    #[test]
    fn a_file_of_columns_has_headers_above_paths() {
        assert_eq!(columns_of_file("NAME  APP\n.metadata.name metadata.labels.app\n").unwrap().len(), 2);
        assert!(columns_of_file("NAME APP\n.metadata.name\n").is_err());
    }
}
