//! The files of configMap, secret, downwardAPI and projected volumes.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, KeyToPath, Volume};

use super::super::env::{Scope, field_value};
use super::super::{Missing, WHERE, containers, resources};
use super::FileOf;
use crate::manifest::quantity::Amount;

type Keys = BTreeMap<String, Vec<u8>>;

/// An object of keys that a volume shows as files.
struct Object<'a> {
    volume: &'a str,
    kind: &'static str,
    name: &'a str,
    keys: Option<Keys>,
    items: Option<&'a [KeyToPath]>,
    mode: Option<i32>,
    optional: bool,
}

/// All files of a volume, or nothing when it is not made of files.
pub(super) fn all(scope: Scope<'_>, volume: &Volume) -> Result<Option<Vec<FileOf>>, Missing> {
    if let Some(source) = &volume.config_map {
        return keys_of(Object {
            volume: &volume.name,
            kind: "configmap",
            name: &source.name,
            keys: scope.sources.config_map(&source.name),
            items: source.items.as_deref(),
            mode: source.default_mode,
            optional: source.optional == Some(true),
        })
        .map(Some);
    }
    if let Some(source) = &volume.secret {
        let name = source.secret_name.as_deref().unwrap_or_default();
        return keys_of(Object {
            volume: &volume.name,
            kind: "secret",
            name,
            keys: scope.sources.secret(name),
            items: source.items.as_deref(),
            mode: source.default_mode,
            optional: source.optional == Some(true),
        })
        .map(Some);
    }
    if volume.downward_api.is_none() && volume.projected.is_none() {
        return Ok(None);
    }
    let mut files = from_objects(scope, volume)?;
    files.extend(about_the_pod(scope, volume)?);
    Ok(Some(files))
}

/// What a projected volume takes from ConfigMaps and Secrets.
fn from_objects(scope: Scope<'_>, volume: &Volume) -> Result<Vec<FileOf>, Missing> {
    let mut files = Vec::new();
    let Some(projected) = &volume.projected else { return Ok(files) };
    for source in projected.sources.iter().flatten() {
        if let Some(source) = &source.config_map {
            files.extend(keys_of(Object {
                volume: &volume.name,
                kind: "configmap",
                name: &source.name,
                keys: scope.sources.config_map(&source.name),
                items: source.items.as_deref(),
                mode: projected.default_mode,
                optional: source.optional == Some(true),
            })?);
        }
        if let Some(source) = &source.secret {
            files.extend(keys_of(Object {
                volume: &volume.name,
                kind: "secret",
                name: &source.name,
                keys: scope.sources.secret(&source.name),
                items: source.items.as_deref(),
                mode: projected.default_mode,
                optional: source.optional == Some(true),
            })?);
        }
    }
    Ok(files)
}

/// The files of a volume that tell about the pod; they are the ones that may change while it runs.
pub(super) fn about_the_pod(scope: Scope<'_>, volume: &Volume) -> Result<Vec<FileOf>, Missing> {
    let alone = volume
        .downward_api
        .iter()
        .flat_map(|source| source.items.iter().flatten().map(move |item| (item, source.default_mode)));
    let projected = volume.projected.iter().flat_map(|projected| {
        let sources = projected.sources.iter().flatten().filter_map(|source| source.downward_api.as_ref());
        sources.flat_map(move |source| source.items.iter().flatten().map(move |item| (item, projected.default_mode)))
    });
    alone.chain(projected).map(|(item, mode)| field(scope, volume, item, mode)).collect()
}

fn field(
    scope: Scope<'_>,
    volume: &Volume,
    item: &DownwardAPIVolumeFile,
    default_mode: Option<i32>,
) -> Result<FileOf, Missing> {
    let text = if let Some(field) = &item.field_ref {
        match field.field_path.as_str() {
            "metadata.labels" => lines(scope.pod.metadata.labels.as_ref()),
            "metadata.annotations" => lines(scope.pod.metadata.annotations.as_ref()),
            path => field_value(scope, path),
        }
    } else if let Some(field) = &item.resource_field_ref {
        let spec = scope.pod.spec.clone().unwrap_or_default();
        let name = field.container_name.as_deref().unwrap_or_default();
        let of = containers(&spec).find(|container| container.name == name);
        let of = of.ok_or_else(|| Missing(format!("volume {:?}: container {name:?} not found", volume.name)))?;
        let divisor = field.divisor.as_ref().map(Amount::of).unwrap_or_default();
        let value = resources::field(&spec, of, &field.resource, divisor, scope.host);
        value.map_or_else(String::new, |value| value.to_string())
    } else {
        String::new()
    };
    let mode = permission(item.mode).or_else(|| permission(default_mode)).unwrap_or(DEFAULT_MODE);
    Ok(FileOf { path: item.path.clone(), content: text.into_bytes(), mode })
}

/// A map as sorted lines `key="value"`, each value quoted as a kubelet does.
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<String> = map.into_iter().flatten().map(|(key, value)| format!("{key}={}", quote(value))).collect();
    lines.join("\n")
}

/// Text in the quotes of the Go language.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            c if u32::from(c) < 0x80 && c.is_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if c.is_control() || c == '\u{feff}' => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

const DEFAULT_MODE: u32 = 0o644;

fn keys_of(object: Object<'_>) -> Result<Vec<FileOf>, Missing> {
    let Object { volume, kind, name, keys, items, mode, optional } = object;
    let keys = match keys {
        Some(keys) => keys,
        None if optional => Keys::default(),
        None => return Err(Missing(format!("volume {volume:?}: {kind} {name:?} not found ({WHERE})"))),
    };
    let default_mode = permission(mode).unwrap_or(DEFAULT_MODE);
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        let every = keys.into_iter().map(|(path, content)| FileOf { path, content, mode: default_mode });
        return Ok(every.collect());
    };
    let mut files = Vec::new();
    for item in items {
        match keys.get(&item.key) {
            Some(content) => files.push(FileOf {
                path: item.path.clone(),
                content: content.clone(),
                mode: permission(item.mode).unwrap_or(default_mode),
            }),
            None if optional => {}
            None => {
                return Err(Missing(format!("volume {volume:?}: {kind} {name:?} has no key {:?}", item.key)));
            }
        }
    }
    Ok(files)
}

fn permission(mode: Option<i32>) -> Option<u32> {
    u32::try_from(mode?).ok().map(|mode| mode & 0o777)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v4_labels_are_sorted_lines_with_quoted_values() {
        let map =
            BTreeMap::from([("b".to_owned(), "two\nlines".to_owned()), ("a".to_owned(), "a \"word\"".to_owned())]);
        assert_eq!(lines(Some(&map)), "a=\"a \\\"word\\\"\"\nb=\"two\\nlines\"");
        assert_eq!(lines(None), "");
        assert_eq!(quote("\\\u{1}é\u{85}"), "\"\\\\\\x01é\\u0085\"");
    }
}
