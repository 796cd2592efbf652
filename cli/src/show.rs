//! Pods as YAML and JSON.

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

/// A pod as an API object, with its status if there is one.
pub(crate) fn object(pod: &Pod, status: Option<Value>) -> anyhow::Result<Value> {
    let mut object = serde_json::to_value(pod).context("write the pod as JSON")?;
    if let (Value::Object(fields), Some(status)) = (&mut object, status) {
        fields.insert("status".to_owned(), status);
    }
    Ok(object)
}

/// Several objects as one.
pub(crate) fn list(items: Vec<Value>) -> Value {
    serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": items, "metadata": { "resourceVersion": "" } })
}

pub(crate) fn yaml(value: &Value) -> anyhow::Result<String> {
    let options = serde_saphyr::ser_options! { compact_list_indent: true, prefer_block_scalars: false };
    serde_saphyr::to_string_with_options(value, options).context("write YAML")
}

pub(crate) fn json(value: &Value) -> anyhow::Result<String> {
    Ok(format!("{}\n", serde_json::to_string_pretty(value).context("write JSON")?))
}
