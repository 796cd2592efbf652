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

/// As kubectl writes it: text of several lines as a block, long lines whole.
pub(crate) fn yaml(value: &Value) -> anyhow::Result<String> {
    let options = serde_saphyr::ser_options! { compact_list_indent: true, folded_wrap_chars: 1 << 30 };
    serde_saphyr::to_string_with_options(value, options).context("write YAML")
}

pub(crate) fn json(value: &Value) -> anyhow::Result<String> {
    Ok(format!("{}\n", serde_json::to_string_pretty(value).context("write JSON")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_looks_like_kubectls_and_reads_back() {
        let long = "x ".repeat(60);
        let value = serde_json::json!({ "args": ["-c", "a\nb\n"], "long": long.trim(), "flag": "yes", "number": "1" });
        let text = yaml(&value).unwrap();
        assert!(text.starts_with("args:\n- -c\n- |\n  a\n  b\n"), "{text}");
        assert!(text.contains(&format!("long: {}\n", long.trim())), "{text}");
        assert_eq!(serde_saphyr::from_str::<Value>(&text).unwrap(), value);
    }
}
