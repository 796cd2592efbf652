//! From the tree of a manifest to the typed object, strictly: an unknown field is a mistake, not noise.
//!
//! The API types say in `deserialize_struct` which fields they know, which is all that is needed to find the others. A
//! value of the wrong type is reported, set aside, and the object read again without it, so that one run reports every
//! mistake of the file.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

use serde::de::{self, DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};

use super::parse::{Key, Node, Place, Value};
use super::suggest::closest;

/// One mistake and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mistake {
    pub(crate) place: Place,
    pub(crate) message: String,
}

/// Reads `node` as a `T`; every unknown field and every value of a wrong type is in the error, in file order.
pub(crate) fn read<T: DeserializeOwned>(node: &Node) -> Result<T, Vec<Mistake>> {
    let seen = Seen::default();
    loop {
        let reader = Reader { node, path: String::new(), seen: &seen };
        match T::deserialize(reader) {
            Ok(value) => {
                let mistakes = seen.into_mistakes();
                return if mistakes.is_empty() { Ok(value) } else { Err(mistakes) };
            }
            Err(Fault { at: Some(culprit), .. }) => culprit.rejected.set(true),
            Err(Fault { at: None, message }) => {
                if !node.rejected.get() {
                    seen.mistakes.borrow_mut().insert(Mistake { place: node.place, message });
                }
                return Err(seen.into_mistakes());
            }
        }
    }
}

/// What the passes over one object have found.
#[derive(Default)]
struct Seen {
    mistakes: RefCell<BTreeSet<Mistake>>,
    unknown: RefCell<Vec<Unknown>>,
    /// Path and fields of every object that was read, to say where a misplaced field belongs.
    objects: RefCell<Vec<(String, &'static [&'static str])>>,
}

struct Unknown {
    place: Place,
    parent: String,
    name: String,
    fields: &'static [&'static str],
}

impl Seen {
    fn into_mistakes(self) -> Vec<Mistake> {
        let objects = self.objects.into_inner();
        let mut mistakes = self.mistakes.into_inner();
        for unknown in self.unknown.into_inner() {
            let path = join(&unknown.parent, &unknown.name);
            let hint = closest(&unknown.name, unknown.fields)
                .map(str::to_owned)
                .or_else(|| elsewhere(&unknown, &objects))
                .map(|name| format!(" (did you mean \"{name}\"?)"))
                .unwrap_or_default();
            mistakes.insert(Mistake { place: unknown.place, message: format!("unknown field \"{path}\"{hint}") });
        }
        mistakes.into_iter().collect()
    }
}

/// Where in the file's objects a field of this very name would be right: the nearest enclosing or sibling object.
fn elsewhere(unknown: &Unknown, objects: &[(String, &'static [&'static str])]) -> Option<String> {
    objects
        .iter()
        .filter(|(path, fields)| *path != unknown.parent && fields.contains(&unknown.name.as_str()))
        .min_by_key(|(path, _)| (!unknown.parent.starts_with(path.as_str()), path.len()))
        .map(|(path, _)| join(path, &unknown.name))
}

fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") }
}

/// A value could not be read; `at` is the node to set aside before the next pass.
#[derive(Debug)]
struct Fault<'a> {
    at: Option<&'a Node>,
    message: String,
}

impl fmt::Display for Fault<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault<'_> {}

impl de::Error for Fault<'_> {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Fault { at: None, message: message.to_string() }
    }

    fn invalid_type(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Fault { at: None, message: format!("expected {}", plain(&expected.to_string())) }
    }
}

/// serde's and the API types' names for what they expect, in words that a manifest's author uses.
fn plain(expected: &str) -> String {
    match expected {
        "i32" | "i64" | "u32" | "u64" | "u16" => "a whole number".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a mapping".to_owned(),
        name if name.chars().next().is_some_and(char::is_uppercase) => format!("a {name} object"),
        other => other.to_owned(),
    }
}

fn describe(node: &Node) -> String {
    match &node.value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => format!("the boolean {value}"),
        Value::Int(value) => format!("the number {value}"),
        Value::Unsigned(value) => format!("the number {value}"),
        Value::Float(value) => format!("the number {value}"),
        Value::Text(value) => format!("the text {value:?}"),
        Value::List(_) => "a list".to_owned(),
        Value::Map(_) => "a mapping".to_owned(),
    }
}

/// A deserializer over one node.
struct Reader<'a, 's> {
    node: &'a Node,
    path: String,
    seen: &'s Seen,
}

impl<'a> Reader<'a, '_> {
    /// Reports a fault that has no culprit yet as this node's.
    fn blame(node: &'a Node, path: &str, seen: &Seen, fault: Fault<'a>) -> Fault<'a> {
        if fault.at.is_some() || node.rejected.get() {
            return fault;
        }
        let hint = match (&node.value, fault.message.as_str()) {
            (Value::Bool(_) | Value::Int(_) | Value::Float(_), "expected a string") => " (put it in quotes)",
            (Value::Text(word), "expected a boolean") => match word.to_lowercase().as_str() {
                "yes" | "on" | "y" => " (write true)",
                "no" | "off" | "n" => " (write false)",
                _ => "",
            },
            _ => "",
        };
        let message = if fault.message.starts_with("expected") {
            format!("{path}: {}, found {}{hint}", fault.message, describe(node))
        } else {
            format!("{path}: {}", fault.message)
        };
        seen.mistakes.borrow_mut().insert(Mistake { place: node.place, message });
        Fault { at: Some(node), message: String::new() }
    }

    fn visit<V: Visitor<'a>>(&self, visitor: V) -> Result<V::Value, Fault<'a>> {
        match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Int(value) => visitor.visit_i64(*value),
            Value::Unsigned(value) => visitor.visit_u64(*value),
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Text(value) => visitor.visit_borrowed_str(value),
            Value::List(items) => visitor.visit_seq(Items { items: items.iter().enumerate(), of: self }),
            Value::Map(entries) => visitor.visit_map(Entries { entries: entries.iter(), value: None, of: self }),
        }
    }

    fn note_unknown(&self, fields: &'static [&'static str]) {
        let Value::Map(entries) = &self.node.value else { return };
        let mut objects = self.seen.objects.borrow_mut();
        if !objects.iter().any(|(path, _)| *path == self.path) {
            objects.push((self.path.clone(), fields));
        }
        for (key, _) in entries.iter().filter(|(key, _)| !fields.contains(&key.text.as_str())) {
            self.seen.unknown.borrow_mut().push(Unknown {
                place: key.place,
                parent: self.path.clone(),
                name: key.text.clone(),
                fields,
            });
        }
    }
}

impl<'de> Deserializer<'de> for Reader<'de, '_> {
    type Error = Fault<'de>;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault<'de>> {
        self.visit(visitor).map_err(|fault| Self::blame(self.node, &self.path, self.seen, fault))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault<'de>> {
        if self.node.value == Value::Null { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault<'de>> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault<'de>> {
        self.note_unknown(fields);
        self.deserialize_any(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault<'de>> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map enum identifier
    }
}

struct Items<'a, 'r, 's> {
    items: std::iter::Enumerate<std::slice::Iter<'a, Node>>,
    of: &'r Reader<'a, 's>,
}

impl<'a> SeqAccess<'a> for Items<'a, '_, '_> {
    type Error = Fault<'a>;

    fn next_element_seed<T: de::DeserializeSeed<'a>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault<'a>> {
        let Some((index, node)) = self.items.find(|(_, node)| !node.rejected.get()) else { return Ok(None) };
        let path = format!("{}[{index}]", self.of.path);
        seed.deserialize(Reader { node, path, seen: self.of.seen }).map(Some)
    }
}

struct Entries<'a, 'r, 's> {
    entries: std::slice::Iter<'a, (Key, Node)>,
    value: Option<(&'a Key, &'a Node)>,
    of: &'r Reader<'a, 's>,
}

impl<'a> MapAccess<'a> for Entries<'a, '_, '_> {
    type Error = Fault<'a>;

    fn next_key_seed<K: de::DeserializeSeed<'a>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault<'a>> {
        let Some((key, node)) = self.entries.find(|(_, node)| !node.rejected.get()) else { return Ok(None) };
        self.value = Some((key, node));
        seed.deserialize(de::value::BorrowedStrDeserializer::new(&key.text)).map(Some)
    }

    fn next_value_seed<V: de::DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, Fault<'a>> {
        let (key, node) = self.value.take().ok_or_else(|| de::Error::custom("a value without its key"))?;
        seed.deserialize(Reader { node, path: join(&self.of.path, &key.text), seen: self.of.seen })
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;

    use super::super::parse::parse;
    use super::*;

    fn mistakes(text: &str) -> Vec<String> {
        read::<Pod>(&parse(text).unwrap()[0])
            .unwrap_err()
            .iter()
            .map(|m| format!("{}: {}", m.place, m.message))
            .collect()
    }

    #[test]
    fn an_unknown_field_is_named_with_its_place_and_what_was_probably_meant() {
        let text = "apiVersion: v1\nkind: Pod\nspec:\n  restartpolicy: Never\n  containers:\n  - nmae: a\n";
        assert_eq!(
            mistakes(text),
            [
                "4:3: unknown field \"spec.restartpolicy\" (did you mean \"restartPolicy\"?)",
                "6:5: unknown field \"spec.containers[0].nmae\" (did you mean \"name\"?)",
            ]
        );
    }

    #[test]
    fn a_misplaced_field_is_sent_where_it_belongs() {
        let text = "metadata:\n  name: a\n  restartPolicy: Never\nspec:\n  containers:\n  - name: a\n";
        assert_eq!(
            mistakes(text),
            ["3:3: unknown field \"metadata.restartPolicy\" (did you mean \"spec.restartPolicy\"?)"]
        );
    }

    #[test]
    fn every_value_of_a_wrong_type_is_reported_at_once() {
        let text = "spec:\n  hostNetwork: yes\n  containers:\n  - name: a\n    args: [1]\n    env:\n    - name: A\n      \
                    value: 8080\n  - just text\n  oops: 1\n";
        assert_eq!(
            mistakes(text),
            [
                "2:16: spec.hostNetwork: expected a boolean, found the text \"yes\" (write true)",
                "5:12: spec.containers[0].args[0]: expected a string, found the number 1 (put it in quotes)",
                "8:14: spec.containers[0].env[0].value: expected a string, found the number 8080 (put it in quotes)",
                "9:5: spec.containers[1]: expected a Container object, found the text \"just text\"",
                "10:3: unknown field \"spec.oops\"",
            ]
        );
    }

    #[test]
    fn nulls_and_empty_objects_are_accepted() {
        let text = "metadata:\n  name: a\n  creationTimestamp: null\nspec:\n  containers:\n  - name: a\n    resources: \
                    {}\n    env: null\nstatus: {}\n";
        let pod: Pod = read(&parse(text).unwrap()[0]).unwrap();
        assert_eq!(pod.metadata.name.as_deref(), Some("a"));
    }

    #[test]
    fn quantities_may_be_numbers() {
        let text = "spec:\n  containers:\n  - name: a\n    resources:\n      limits: {cpu: 1, memory: 0.5, x/y: 2Gi}\n";
        let pod: Pod = read(&parse(text).unwrap()[0]).unwrap();
        let limits = pod.spec.unwrap().containers[0].resources.clone().unwrap().limits.unwrap();
        assert_eq!(limits["cpu"].0, "1");
        assert_eq!(limits["memory"].0, "0.5");
    }
}
