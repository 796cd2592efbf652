//! Templates followed through an object.

use std::cmp::Ordering;

use serde_json::Value;

use super::{Filter, Operator, Part, Step, text};

pub(super) fn print(parts: &[Part], root: &Value, current: &Value, out: &mut String) -> Result<(), String> {
    for part in parts {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Path(steps) => {
                for (index, value) in walk(steps, root, current)?.into_iter().enumerate() {
                    out.push_str(if index == 0 { "" } else { " " });
                    out.push_str(&text(value));
                    room(out)?;
                }
            }
            Part::Range(steps, inner) => {
                for value in walk(steps, root, current)? {
                    print(inner, root, value, out)?;
                }
            }
        }
    }
    Ok(())
}

/// More than all pods of a machine have to say: what is in a value is printed again with everything that it is in.
const MOST_BYTES: usize = 1 << 26;

fn room(out: &str) -> Result<(), String> {
    if out.len() > MOST_BYTES {
        return Err(format!("it prints more than {MOST_BYTES} bytes: name more fields, and fewer \"..\" and \"*\""));
    }
    Ok(())
}

/// More values than all pods of a machine have. Each `..` finds what is in a value once for everything that it is in, so that a few
/// of them, one after the other, find more than fits into memory.
const MOST: usize = 1 << 20;

/// The values that the steps lead to.
pub(super) fn walk<'v>(steps: &'v [Step], root: &'v Value, from: &'v Value) -> Result<Vec<&'v Value>, String> {
    let mut values = vec![from];
    for step in steps {
        values = one(step, root, &values)?;
        if values.len() > MOST {
            return Err(format!("it leads to more than {MOST} values: name more fields, and fewer \"..\""));
        }
    }
    Ok(values)
}

fn one<'v>(step: &'v Step, root: &'v Value, values: &[&'v Value]) -> Result<Vec<&'v Value>, String> {
    let mut found = Vec::new();
    match step {
        Step::Root => found.push(root),
        Step::Literal(value) => found.push(value),
        Step::Union(steps) => {
            for step in steps {
                found.extend(one(step, root, values)?);
            }
        }
        Step::Recursive => values.iter().for_each(|value| below(value, &mut found)),
        Step::Field(name) => found.extend(values.iter().filter_map(|value| value.get(name.as_str()))),
        Step::Wildcard => values.iter().for_each(|value| match value {
            Value::Array(all) => found.extend(all),
            Value::Object(all) => found.extend(all.values()),
            _ => {}
        }),
        Step::Index(_) | Step::Slice { .. } => {
            for value in values {
                elements(step, value, &mut found)?;
            }
        }
        Step::Filter(filter) => {
            for value in values.iter().filter_map(|value| value.as_array()).flatten() {
                if holds(filter, root, value)? {
                    found.push(value);
                }
            }
        }
    }
    Ok(found)
}

/// A value and everything in it.
fn below<'v>(value: &'v Value, found: &mut Vec<&'v Value>) {
    found.push(value);
    match value {
        Value::Array(all) => all.iter().for_each(|one| below(one, found)),
        Value::Object(all) => all.values().for_each(|one| below(one, found)),
        _ => {}
    }
}

fn elements<'v>(step: &Step, value: &'v Value, found: &mut Vec<&'v Value>) -> Result<(), String> {
    let all = match value {
        Value::Array(all) => all,
        Value::Null => return Ok(()),
        other => return Err(format!("{} is not array or slice", text(other))),
    };
    let length = i64::try_from(all.len()).unwrap_or(i64::MAX);
    let absolute = |at: i64| if at < 0 { at.saturating_add(length) } else { at };
    let (from, until, by) = match step {
        Step::Index(index) => {
            let at = absolute(*index);
            let element = usize::try_from(at).ok().and_then(|at| all.get(at));
            found.push(element.ok_or_else(|| format!("array index out of bounds: index {index}, length {length}"))?);
            return Ok(());
        }
        Step::Slice { from, until, by } => (from.unwrap_or(0), until.unwrap_or(length), by.unwrap_or(1)),
        _ => return Ok(()),
    };
    if by <= 0 {
        return Err(format!("step must be > 0, got {by}"));
    }
    let (from, until) = (absolute(from).clamp(0, length), absolute(until).clamp(0, length));
    let by = usize::try_from(by).unwrap_or(usize::MAX);
    let (from, until) = (usize::try_from(from).unwrap_or(0), usize::try_from(until).unwrap_or(0));
    found.extend(all.get(from..until).unwrap_or_default().iter().step_by(by));
    Ok(())
}

fn holds(filter: &Filter, root: &Value, value: &Value) -> Result<bool, String> {
    let left = walk(&filter.left, root, value)?;
    let Some((operator, right)) = &filter.compared else { return Ok(!left.is_empty()) };
    let right = walk(right, root, value)?;
    match (left.as_slice(), right.as_slice()) {
        ([], _) | (_, []) => Ok(false),
        ([left], [right]) => Ok(compare(left, *operator, right)),
        _ => Err("can only compare one element at a time".to_owned()),
    }
}

fn compare(left: &Value, operator: Operator, right: &Value) -> bool {
    let order = match (left, right) {
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        _ => match (left.as_f64(), right.as_f64()) {
            (Some(left), Some(right)) => left.partial_cmp(&right),
            _ => None,
        },
    };
    match operator {
        Operator::Equal => left == right || order == Some(Ordering::Equal),
        Operator::Unequal => left != right && order != Some(Ordering::Equal),
        Operator::Less => order == Some(Ordering::Less),
        Operator::LessEqual => order.is_some_and(Ordering::is_le),
        Operator::Greater => order == Some(Ordering::Greater),
        Operator::GreaterEqual => order.is_some_and(Ordering::is_ge),
    }
}
