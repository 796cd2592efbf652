//! YAML and JSON text to a tree that knows where each value stands.
//!
//! Octal numbers are read as kubectl's YAML library reads them, so that `defaultMode: 0644` means what it means there.
//! `yes`, `no`, `on`, `off`, `y` and `n` are text, as in YAML 1.2: a pod may be named `n`. JSON is read as the YAML that
//! it is.

use std::cell::Cell;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// Line and column of a value in its file, both counted from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) line: u64,
    pub(crate) column: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A value of a manifest and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) value: Value,
    /// Set once this value could not be read as the type it should have; from then on it is passed over, which lets
    /// the reader go on and report the other mistakes of the file.
    pub(crate) rejected: Cell<bool>,
}

/// What a node holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Unsigned(u64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

/// The key of a mapping and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Key {
    pub(crate) place: Place,
    pub(crate) text: String,
}

impl Node {
    /// The value below `key` when this is a mapping that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|(k, _)| k.text == key).map(|(_, node)| node),
            _ => None,
        }
    }

    /// The text of this node, if text is what it is.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// Why a file is not YAML: the place if it is known, and the parser's words.
#[derive(Debug)]
pub(crate) struct NotYaml {
    pub(crate) place: Option<Place>,
    pub(crate) message: String,
}

/// How deep the values of a manifest may lie: those of an object of this API lie at most half as deep, and each level takes
/// room on the stack.
const DEEPEST: usize = 32;

/// Reads every document of `text`; documents with nothing in them are left out.
pub(crate) fn parse(text: &str) -> Result<Vec<Node>, NotYaml> {
    let options = serde_saphyr::options! {
        legacy_octal_numbers: true,
        strict_booleans: true,
        with_snippet: false,
        budget: serde_saphyr::budget! { max_depth: DEEPEST },
    };
    let documents: Vec<Spanned<Tree>> = serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
        let place = error.location().map(|at| Place { line: at.line(), column: at.column() });
        let mut message = first_line(&error.without_snippet().to_string());
        // The place is told apart.
        if let Some(Place { line, column }) = place {
            message = message.replace(&format!(" at line {line}, column {column}"), "");
        }
        NotYaml { place, message }
    })?;
    Ok(documents.into_iter().map(Node::from).filter(|node| node.value != Value::Null).collect())
}

fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().to_owned()
}

impl From<Spanned<Tree>> for Node {
    fn from(tree: Spanned<Tree>) -> Self {
        Node { place: place_of(&tree.referenced), value: tree.value.0, rejected: Cell::new(false) }
    }
}

fn place_of(location: &serde_saphyr::Location) -> Place {
    Place { line: location.line(), column: location.column() }
}

/// The value alone, as serde hands it out; `Spanned` around it brings the place.
struct Tree(Value);

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, v: bool) -> Result<Tree, E> {
        Ok(Tree(Value::Bool(v)))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Tree, E> {
        Ok(Tree(Value::Int(v)))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Tree, E> {
        Ok(Tree(i64::try_from(v).map_or(Value::Unsigned(v), Value::Int)))
    }

    fn visit_f64<E>(self, v: f64) -> Result<Tree, E> {
        Ok(Tree(Value::Float(v)))
    }

    fn visit_str<E>(self, v: &str) -> Result<Tree, E> {
        Ok(Tree(Value::Text(v.to_owned())))
    }

    fn visit_string<E>(self, v: String) -> Result<Tree, E> {
        Ok(Tree(Value::Text(v)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tree, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<Spanned<Tree>>()? {
            items.push(Node::from(item));
        }
        Ok(Tree(Value::List(items)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, value)) = map.next_entry::<Spanned<String>, Spanned<Tree>>()? {
            entries.push((Key { place: place_of(&key.referenced), text: key.value }, Node::from(value)));
        }
        Ok(Tree(Value::Map(entries)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_knows_its_line_and_column() {
        let documents = parse("a: 1\nb:\n  - c: x\n").unwrap();
        let item = match &documents[0].get("b").unwrap().value {
            Value::List(items) => &items[0],
            other => panic!("{other:?}"),
        };
        assert_eq!(item.get("c").unwrap().place, Place { line: 3, column: 8 });
        let Value::Map(entries) = &item.value else { panic!() };
        assert_eq!(entries[0].0.place, Place { line: 3, column: 5 });
    }

    #[test]
    fn empty_documents_are_left_out() {
        assert_eq!(parse("---\n---\na: 1\n---\n# nothing\n").unwrap().len(), 1);
        assert_eq!(parse("").unwrap().len(), 0);
    }

    #[test]
    fn scalars_mean_what_their_authors_expect() {
        let document =
            parse("mode: 0644\nword: yes\nquoted: \"0644\"\nnothing: null\nratio: 0.5\nnegative: -3\n").unwrap();
        let get = |key: &str| document[0].get(key).unwrap().value.clone();
        assert_eq!(get("mode"), Value::Int(0o644));
        assert_eq!(get("word"), Value::Text("yes".into()));
        assert_eq!(get("quoted"), Value::Text("0644".into()));
        assert_eq!(get("nothing"), Value::Null);
        assert_eq!(get("ratio"), Value::Float(0.5));
        assert_eq!(get("negative"), Value::Int(-3));
    }

    #[test]
    fn json_with_tabs_is_read() {
        let document = parse("{\n\t\"kind\": \"Pod\",\n\t\"n\": [1, true, null]\n}\n").unwrap();
        assert_eq!(document[0].get("kind").unwrap().text(), Some("Pod"));
    }

    /// Nine lists of nine of the list before: 9^9 values in 400 bytes.
    #[test]
    fn aliases_that_grow_without_end_are_refused() {
        let line = |n: u8| {
            let (name, of) = (char::from(b'a' + n), char::from(b'a' + n - 1));
            format!("{name}: &{name} [{}]\n", vec![format!("*{of}"); 9].join(", "))
        };
        let laughs: String = (1..=9).map(line).collect();
        let error = parse(&format!("a: &a [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n{laughs}")).unwrap_err();
        assert!(!error.message.is_empty() && error.message.len() < 300, "{error:?}");
    }

    #[test]
    fn a_document_that_is_too_deep_is_refused() {
        for open in ["[", "{a: ", "- ", "? "] {
            let error = parse(&open.repeat(100_000)).unwrap_err();
            assert!(!error.message.is_empty() && error.message.len() < 300, "{error:?}");
        }
    }

    #[test]
    fn a_duplicate_key_and_broken_yaml_say_where() {
        let error = parse("a: 1\nb: 2\na: 3\n").unwrap_err();
        assert_eq!(error.place.unwrap().line, 3, "{error:?}");
        let error = parse("a: [1\nb: 2\n").unwrap_err();
        assert!(error.place.is_some(), "{error:?}");
    }
}
