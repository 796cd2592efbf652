//! Where the fields of an object stand in its file, for everything that is found out after it was read.

use std::collections::BTreeMap;

use super::parse::{Node, Place, Value};

/// The places of one object's fields, by their paths (`spec.containers[0].name`).
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    file: String,
    at: BTreeMap<String, Place>,
}

impl Places {
    /// Those of a document of `file`.
    pub(super) fn of(file: &str, document: &Node) -> Self {
        let mut places = Places { file: file.to_owned(), at: BTreeMap::new() };
        places.walk("", document);
        places
    }

    /// `pod.yaml:12:7: ` for a path: where the field stands, or the nearest one around it when it is not there. Empty
    /// for an object that comes from no file.
    pub(crate) fn prefix(&self, path: &str) -> String {
        let mut path = path;
        loop {
            if let Some(place) = self.at.get(path) {
                return format!("{}:{place}: ", self.file);
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = &path[..end],
                None if path.is_empty() => return String::new(),
                None => path = "",
            }
        }
    }

    fn walk(&mut self, path: &str, node: &Node) {
        self.at.insert(path.to_owned(), node.place);
        match &node.value {
            Value::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.walk(&format!("{path}[{index}]"), item);
                }
            }
            Value::Map(entries) => {
                for (key, value) in entries {
                    // The entries of a free mapping are written with brackets: `limits[cpu]`.
                    self.at.insert(format!("{path}[{}]", key.text), value.place);
                    let child = if path.is_empty() { key.text.clone() } else { format!("{path}.{}", key.text) };
                    self.walk(&child, value);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse::parse;
    use super::*;

    #[test]
    fn a_field_that_is_missing_is_said_to_be_where_it_belongs() {
        let text = "spec:\n  containers:\n  - name: a\n    resources:\n      limits: {example.com/x: 1, cpu: 2}\n";
        let places = Places::of("f", &parse(text).unwrap()[0]);
        for (path, expected) in [
            ("spec.containers[0].name", "f:3:11: "),
            ("spec.containers[0].image", "f:3:5: "),
            ("spec.containers[0].resources.limits[cpu]", "f:5:39: "),
            ("spec.containers[0].resources.limits[example.com/x]", "f:5:31: "),
            ("metadata.name", "f:1:1: "),
        ] {
            assert_eq!(places.prefix(path), expected, "{path}");
        }
        assert_eq!(Places::default().prefix("spec"), "");
    }
}
