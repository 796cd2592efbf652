//! `--sort-by`: pods in the order of a field.

use std::cmp::Ordering;

use serde_json::Value;

use crate::error::Said;
use crate::jsonpath::Template;
use crate::manifest::quantity::Amount;
use crate::print::view::View;

/// Sorts pods by a field; those that do not have it come first. `text` is the path as it was given.
pub(crate) fn by_path(views: &mut Vec<View>, path: &Template, text: &str) -> anyhow::Result<()> {
    let mut keyed = Vec::new();
    for view in views.drain(..) {
        let object = view.object()?;
        let found = path.values(&object).map_err(|error| Said::one(format!("error: {error}")))?;
        let key = found.first().map(|value| (*value).clone());
        keyed.push((key, view));
    }
    if !keyed.is_empty() && keyed.iter().all(|(key, _)| key.is_none()) {
        return Err(
            Said::one(format!("error: couldn't find any field with path {text:?} in the list of objects")).into()
        );
    }
    keyed.sort_by(|(a, _), (b, _)| match (a, b) {
        (Some(a), Some(b)) => order(a, b),
        (a, b) => a.is_some().cmp(&b.is_some()),
    });
    views.extend(keyed.into_iter().map(|(_, view)| view));
    Ok(())
}

fn order(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::String(a), Value::String(b)) => match (Amount::parse(a), Amount::parse(b)) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => natural(a, b),
        },
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        _ => a.as_f64().partial_cmp(&b.as_f64()).unwrap_or(Ordering::Equal),
    }
}

/// Text in the order of people, for whom `web-9` comes before `web-10`.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let (head_a, number_a, rest_a) = split(a);
        let (head_b, number_b, rest_b) = split(b);
        let order = head_a.cmp(head_b).then_with(|| {
            let trim = |digits: &str| digits.trim_start_matches('0').len();
            trim(number_a)
                .cmp(&trim(number_b))
                .then_with(|| number_a.trim_start_matches('0').cmp(number_b.trim_start_matches('0')))
        });
        if order != Ordering::Equal || (rest_a.is_empty() && rest_b.is_empty()) {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
}

/// Text up to the first digit, the digits, and what follows.
fn split(text: &str) -> (&str, &str, &str) {
    let (head, rest) = text.split_at(text.find(|c: char| c.is_ascii_digit()).unwrap_or(text.len()));
    let (number, rest) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()));
    (head, number, rest)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_in_names_count_as_numbers() {
        for (smaller, larger) in [("web-9", "web-10"), ("a", "b"), ("a1b2", "a1b10"), ("", "a"), ("a", "a0")] {
            assert!(natural(smaller, larger).is_le() && natural(larger, smaller).is_ge(), "{smaller} {larger}");
        }
        assert_eq!(natural("web-1", "web-1"), Ordering::Equal);
    }

    #[test]
    fn quantities_and_numbers_are_compared_by_size() {
        assert_eq!(order(&json!("500m"), &json!("1")), Ordering::Less);
        assert_eq!(order(&json!("1Gi"), &json!("900Mi")), Ordering::Greater);
        assert_eq!(order(&json!(9), &json!(10)), Ordering::Less);
        assert_eq!(order(&json!("2026-05-01T10:00:00Z"), &json!("2026-05-01T09:00:00Z")), Ordering::Greater);
    }
}
