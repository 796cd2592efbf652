//! kubectl's dialect of JSONPath: a template of text and `{...}` actions.
//!
//! | action | meaning |
//! |---|---|
//! | `{.a.b}`, `{['a']}` | a field; `\.` in a name is a dot of the name |
//! | `{.a[*]}`, `{.*}` | all elements, all values |
//! | `{.a[0]}`, `{.a[-1]}`, `{.a[1:3]}`, `{.a[::2]}` | elements of a list |
//! | `{.a[0,2]}`, `{['a','b']}` | several of them |
//! | `{.a[?(@.b=="c")]}` | the elements for which it is true: `==`, `!=`, `<`, `<=`, `>`, `>=`, or that the field is there |
//! | `{..a}` | every `a` below |
//! | `{range .a[*]}...{end}` | the template in between, for each |
//! | `{"\n"}` | text |
//!
//! A field that is not there yields nothing; an index that is not there is an error.

mod eval;
mod parse;

use serde_json::Value;

/// A template that was understood.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Template(Vec<Part>);

/// A piece of a template.
#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    /// `{...}`: from the current value on.
    Path(Vec<Step>),
    Range(Vec<Step>, Vec<Part>),
}

/// One step on the way from values to values.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    /// `$`: from the object that the template is given.
    Root,
    Field(String),
    Wildcard,
    /// `[from:until:by]`
    Slice {
        from: Option<i64>,
        until: Option<i64>,
        by: Option<i64>,
    },
    Index(i64),
    /// Each from the same values.
    Union(Vec<Step>),
    Filter(Box<Filter>),
    Recursive,
    Literal(Value),
}

/// What stands in `[?(...)]`.
#[derive(Clone, Debug, PartialEq)]
struct Filter {
    left: Vec<Step>,
    /// Nothing: whether `left` is there.
    compared: Option<(Operator, Vec<Step>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    Unequal,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

impl Template {
    /// Reads a template of text and actions.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        parse::template(text).map(Template)
    }

    /// Reads a single path, for which the braces, and the dot at its beginning, may be left out.
    pub(crate) fn parse_relaxed(text: &str) -> Result<Self, String> {
        let inner = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(text);
        let dot = if inner.starts_with(['.', '[', '$', '@']) { "" } else { "." };
        if inner.is_empty() || inner.contains(['{', '}']) {
            return Err(format!(
                "unexpected path string, expected a 'name1.name2' or '.name1.name2' or '{{name1.name2}}' or \
                 '{{.name1.name2}}', got {text:?}"
            ));
        }
        Self::parse(&format!("{{{dot}{inner}}}"))
    }

    /// What the template prints of an object: values beside each other are separated by a blank.
    pub(crate) fn print(&self, object: &Value) -> Result<String, String> {
        let mut text = String::new();
        eval::print(&self.0, object, object, &mut text)?;
        Ok(text)
    }

    /// All values that the paths of the template find.
    pub(crate) fn values<'v>(&'v self, object: &'v Value) -> Result<Vec<&'v Value>, String> {
        let mut found = Vec::new();
        for part in &self.0 {
            match part {
                Part::Path(steps) => found.extend(eval::walk(steps, object, object)?),
                Part::Range(..) => return Err("a range has no single values".to_owned()),
                Part::Text(_) => {}
            }
        }
        Ok(found)
    }
}

/// A value as text: text as it is, everything else as compact JSON.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
