//! The environment of a container and the `$(VAR)` references to it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, EnvVarSource, Pod};

use super::{Host, Missing, Sources, WHERE, name, namespace, resources, uid};
use crate::manifest::quantity::Amount;
use crate::manifest::validate::subscript;

/// What is known of a pod once its sandbox stands.
#[derive(Clone, Debug, Default)]
pub(crate) struct Addresses {
    /// Of the pod, the first one is the primary one.
    pub(crate) pod: Vec<String>,
}

/// Everything that a variable may take its value from.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) sources: &'a Sources,
    pub(crate) addresses: &'a Addresses,
    pub(crate) host: &'a Host,
}

/// The variables of a container in the order in which they were first named; a later value takes the place of an earlier.
pub(crate) fn resolve(scope: Scope<'_>, container: &Container) -> Result<Vec<(String, String)>, Missing> {
    let (variables, missing) = resolve_all(scope, container);
    missing.into_iter().next().map_or(Ok(variables), Err)
}

/// The variables, and everything that some of them need and that is not there.
pub(crate) fn resolve_all(scope: Scope<'_>, container: &Container) -> (Vec<(String, String)>, Vec<Missing>) {
    let mut variables = Variables::default();
    let mut missing = Vec::new();
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        let keys = if let Some(from) = &source.config_map_ref {
            let keys = scope.sources.config_map(&from.name);
            object(container, "configmap", &from.name, from.optional, keys)
        } else if let Some(from) = &source.secret_ref {
            let keys = scope.sources.secret(&from.name);
            object(container, "secret", &from.name, from.optional, keys)
        } else {
            Ok(None)
        };
        match keys {
            Ok(keys) => {
                for (key, value) in keys.into_iter().flatten() {
                    variables.set(format!("{prefix}{key}"), String::from_utf8_lossy(&value).into_owned());
                }
            }
            Err(error) => missing.push(error),
        }
    }
    for variable in container.env.iter().flatten() {
        let value = match &variable.value_from {
            Some(source) => value_from(scope, container, source),
            None => Ok(Some(expand(variable.value.as_deref().unwrap_or_default(), |name| variables.get(name)))),
        };
        match value {
            Ok(Some(value)) => variables.set(variable.name.clone(), value),
            Ok(None) => {}
            Err(error) => missing.push(error),
        }
    }
    (variables.list, missing)
}

#[derive(Default)]
struct Variables {
    list: Vec<(String, String)>,
}

impl Variables {
    fn set(&mut self, name: String, value: String) {
        match self.list.iter_mut().find(|(known, _)| *known == name) {
            Some(entry) => entry.1 = value,
            None => self.list.push((name, value)),
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.list.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

type Keys = BTreeMap<String, Vec<u8>>;

fn object(
    container: &Container,
    kind: &str,
    name: &str,
    optional: Option<bool>,
    keys: Option<Keys>,
) -> Result<Option<Keys>, Missing> {
    if keys.is_none() && optional != Some(true) {
        let by = &container.name;
        return Err(Missing(format!("container {by:?}: {kind} {name:?} not found ({WHERE})")));
    }
    Ok(keys)
}

fn value_from(scope: Scope<'_>, container: &Container, source: &EnvVarSource) -> Result<Option<String>, Missing> {
    if let Some(field) = &source.field_ref {
        return Ok(Some(field_value(scope, &field.field_path)));
    }
    if let Some(field) = &source.resource_field_ref {
        let of = match field.container_name.as_deref().filter(|name| !name.is_empty()) {
            Some(name) => scope.pod.spec.iter().flat_map(super::containers).find(|other| other.name == name),
            None => Some(container),
        };
        let of =
            of.ok_or_else(|| Missing(format!("container {:?}: resourceFieldRef: no such container", container.name)))?;
        let divisor = field.divisor.as_ref().map(Amount::of).unwrap_or_default();
        let spec = scope.pod.spec.clone().unwrap_or_default();
        return Ok(resources::field(&spec, of, &field.resource, divisor, scope.host).map(|value| value.to_string()));
    }
    if let Some(key) = &source.config_map_key_ref {
        let keys = object(container, "configmap", &key.name, key.optional, scope.sources.config_map(&key.name))?;
        return key_value(container, "configmap", &key.name, &key.key, key.optional, keys);
    }
    if let Some(key) = &source.secret_key_ref {
        let keys = object(container, "secret", &key.name, key.optional, scope.sources.secret(&key.name))?;
        return key_value(container, "secret", &key.name, &key.key, key.optional, keys);
    }
    Ok(None)
}

fn key_value(
    container: &Container,
    kind: &str,
    name: &str,
    key: &str,
    optional: Option<bool>,
    keys: Option<Keys>,
) -> Result<Option<String>, Missing> {
    let Some(keys) = keys else { return Ok(None) };
    match keys.get(key) {
        Some(value) => Ok(Some(String::from_utf8_lossy(value).into_owned())),
        None if optional == Some(true) => Ok(None),
        None => Err(Missing(format!("container {:?}: couldn't find key {key} in {kind} {name:?}", container.name))),
    }
}

/// A field of the pod; validation has made sure that it is one of the known ones.
pub(super) fn field_value(scope: Scope<'_>, path: &str) -> String {
    let meta = &scope.pod.metadata;
    if let Some((map, key)) = subscript(path) {
        let entries = if map == "labels" { &meta.labels } else { &meta.annotations };
        return entries.as_ref().and_then(|entries| entries.get(key)).cloned().unwrap_or_default();
    }
    let host = &scope.host.addresses;
    let on_host = scope.pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true);
    let pod = if on_host { host } else { &scope.addresses.pod };
    let first = |addresses: &[String]| addresses.first().cloned().unwrap_or_default();
    match path {
        "metadata.name" => name(scope.pod).to_owned(),
        "metadata.namespace" => namespace(scope.pod).to_owned(),
        "metadata.uid" => uid(scope.pod).to_owned(),
        "spec.nodeName" => scope.host.name.clone(),
        "spec.serviceAccountName" => {
            scope.pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone()).unwrap_or_default()
        }
        "status.hostIP" => first(host),
        "status.hostIPs" => host.join(","),
        "status.podIP" => first(pod),
        "status.podIPs" => pod.join(","),
        _ => String::new(),
    }
}

/// Replaces `$(NAME)` by the value of a variable. `$$` stands for one `$` and keeps the reference behind it literal; a name
/// that is not known stays as it is written.
pub(crate) fn expand<'v>(text: &str, value: impl Fn(&str) -> Option<&'v str>) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, from) = rest.split_at(at);
        result.push_str(before);
        let after = &from[1..];
        rest = if let Some(literal) = after.strip_prefix('$') {
            result.push('$');
            literal
        } else if let Some((name, tail)) = after.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match value(name) {
                Some(value) => result.push_str(value),
                None => result.push_str(&from[..name.len() + 3]),
            }
            tail
        } else {
            result.push('$');
            after
        };
    }
    result.push_str(rest);
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest;

    #[test]
    fn references_are_expanded_as_by_a_kubelet() {
        let value = |name: &str| match name {
            "A" => Some("1"),
            "B" => Some("$(A)"),
            _ => None,
        };
        for (text, expected) in [
            ("$(A)", "1"),
            ("x$(A)y$(A)", "x1y1"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$(C)", "$(C)"),
            ("$(B)", "$(A)"),
            ("$A", "$A"),
            ("$(A", "$(A"),
            ("$", "$"),
            ("$$", "$"),
            ("é$(A)é", "é1é"),
        ] {
            assert_eq!(expand(text, value), expected, "{text}");
        }
    }

    fn environment(text: &str) -> Result<Vec<(String, String)>, Missing> {
        let objects = manifest::load("f", text).unwrap_or_else(|said| panic!("{said}"));
        let mut pod = objects.pods[0].clone();
        manifest::defaults::complete(&mut pod, "default");
        let sources = Sources::of("default", &objects.config_maps, &objects.secrets);
        let addresses = Addresses { pod: vec!["10.0.0.2".into(), "fd00::2".into()] };
        let host = Host { name: "node".into(), addresses: vec!["192.0.2.1".into()], ..Host::default() };
        let scope = Scope { pod: &pod, sources: &sources, addresses: &addresses, host: &host };
        resolve(scope, &pod.spec.as_ref().unwrap().containers[0])
    }

    const CONFIG: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {A: one, B: $(A)}\n---\napiVersion: \
                          v1\nkind: Secret\nmetadata: {name: s}\nstringData: {P: secret}\n---\n";

    fn with_env(env: &str) -> Result<Vec<(String, String)>, Missing> {
        environment(&format!(
            "{CONFIG}apiVersion: v1\nkind: Pod\nmetadata: {{name: p, labels: {{x/y: z}}}}\nspec: {{containers: [{{name: a, \
             image: b, {env}}}]}}\n"
        ))
    }

    fn pairs(expected: &[(&str, &str)]) -> Result<Vec<(String, String)>, Missing> {
        Ok(expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn later_values_win_and_see_only_what_came_before() {
        assert_eq!(
            with_env(
                "envFrom: [{prefix: X_, configMapRef: {name: c}}], env: [{name: A, value: $(LATE)}, {name: LATE, \
                      value: $(X_A)}, {name: X_A, value: new}]"
            ),
            pairs(&[("X_A", "new"), ("X_B", "$(A)"), ("A", "$(LATE)"), ("LATE", "one")])
        );
    }

    #[test]
    fn fields_and_keys_are_looked_up() {
        assert_eq!(
            with_env(
                "env: [{name: A, valueFrom: {fieldRef: {fieldPath: status.podIP}}}, {name: B, valueFrom: {fieldRef: \
                 {fieldPath: \"metadata.labels['x/y']\"}}}, {name: C, valueFrom: {secretKeyRef: {name: s, key: P}}}, {name: \
                 D, valueFrom: {configMapKeyRef: {name: c, key: none, optional: true}}}, {name: E, valueFrom: {fieldRef: \
                 {fieldPath: spec.nodeName}}}]"
            ),
            pairs(&[("A", "10.0.0.2"), ("B", "z"), ("C", "secret"), ("E", "node")])
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let missing = |env| with_env(env).unwrap_err().0;
        assert_eq!(
            missing("envFrom: [{configMapRef: {name: none}}]"),
            "container \"a\": configmap \"none\" not found (put it in the same file or give it with --configmap)"
        );
        assert_eq!(
            missing("env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: Q}}}]"),
            "container \"a\": couldn't find key Q in secret \"s\""
        );
    }
}
