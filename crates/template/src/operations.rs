//! Comparing values, and taking parts of them.

use std::cmp::Ordering;

use crate::Value;
use crate::functions::Fault;

fn failed<T>(message: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Failed(message.into()))
}

pub(crate) fn equal(first: &Value, second: &Value) -> Result<bool, Fault> {
    Ok(match (first, second) {
        (Value::Missing | Value::Nil, Value::Missing | Value::Nil) => true,
        (Value::Missing | Value::Nil, _) | (_, Value::Missing | Value::Nil) => false,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Int(a), Value::Int(b)) => a == b,
        (Value::Float(a), Value::Float(b)) => a == b,
        (Value::Text(a) | Value::Number(a), Value::Text(b) | Value::Number(b)) => a == b,
        (Value::List(_) | Value::Map(_) | Value::NoList | Value::NoMap, _) => {
            return failed(format!(
                "non-comparable type {}: {}",
                first.plain(),
                first.type_name()
            ));
        }
        (_, Value::List(_) | Value::Map(_) | Value::NoList | Value::NoMap) => {
            return failed(format!(
                "non-comparable type {}: {}",
                second.plain(),
                second.type_name()
            ));
        }
        _ => return failed("incompatible types for comparison"),
    })
}

/// How two values stand to each other; none where one is no number.
pub(crate) fn compare(first: &Value, second: &Value) -> Result<Option<Ordering>, Fault> {
    Ok(match (first, second) {
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
        (Value::Text(a) | Value::Number(a), Value::Text(b) | Value::Number(b)) => Some(a.cmp(b)),
        (Value::Int(_) | Value::Float(_) | Value::Text(_) | Value::Number(_), _) => {
            return failed("incompatible types for comparison");
        }
        _ => return failed("invalid type for comparison"),
    })
}

pub(crate) fn length(value: &Value) -> Result<Value, Fault> {
    let length = match value {
        Value::Text(text) | Value::Number(text) => text.len(),
        Value::List(items) => items.len(),
        Value::Map(fields) => fields.len(),
        Value::NoList | Value::NoMap => 0,
        Value::Missing | Value::Nil => return failed("len of nil pointer"),
        other => return failed(format!("len of type {}", other.type_name())),
    };
    Ok(Value::Int(i64::try_from(length).unwrap_or(i64::MAX)))
}

/// An item of a list, a byte of a text, a value of a map; through several at once.
pub(crate) fn index(item: &Value, path: &[Value], untyped: bool) -> Result<Value, Fault> {
    let mut value = item.clone();
    if matches!(value, Value::Missing) {
        return failed("index of untyped nil");
    }
    for at in path {
        value = match value.made() {
            Value::List(mut items) => {
                let place = place(at, items.len().checked_sub(1))?;
                items.swap_remove(place)
            }
            Value::Text(text) => {
                let place = place(at, text.len().checked_sub(1))?;
                Value::Int(text.as_bytes()[place].into())
            }
            Value::Map(mut fields) => {
                let Value::Text(key) = at else {
                    return failed(format!("value has type {}; should be string", at.type_name()));
                };
                match fields.remove(key) {
                    Some(value) => value,
                    // A map of texts has an empty one for what it doesn't have.
                    None if !untyped && fields.values().all(|value| matches!(value, Value::Text(_))) => {
                        Value::Text(String::new())
                    }
                    // And one of structures a pointer to nothing.
                    None if !untyped && fields.values().any(|value| matches!(value, Value::Object(_))) => {
                        Value::Nil
                    }
                    None => Value::Missing,
                }
            }
            Value::Missing | Value::Nil => return failed("index of nil pointer"),
            other => return failed(format!("can't index item of type {}", other.type_name())),
        };
    }
    Ok(value)
}

/// A place up to the last one.
fn place(at: &Value, last: Option<usize>) -> Result<usize, Fault> {
    let number = match at {
        Value::Int(number) => *number,
        Value::Missing | Value::Nil => return failed("cannot index slice/array with nil"),
        other => {
            return failed(format!(
                "cannot index slice/array with type {}",
                other.type_name()
            ));
        }
    };
    match (usize::try_from(number), last) {
        (Ok(place), Some(last)) if place <= last => Ok(place),
        _ => failed(format!("index out of range: {number}")),
    }
}

/// A part of a list or text, from a place to another.
pub(crate) fn slice(item: &Value, path: &[Value]) -> Result<Value, Fault> {
    if path.len() > 3 {
        return failed(format!("too many slice indexes: {}", path.len()));
    }
    let length = match item {
        Value::Text(text) => text.len(),
        Value::List(items) => items.len(),
        Value::NoList => 0,
        Value::Missing => return failed("slice of untyped nil"),
        other => return failed(format!("can't slice item of type {}", other.type_name())),
    };
    let from = path.first().map_or(Ok(0), |at| place(at, Some(length)))?;
    let to = path.get(1).map_or(Ok(length), |at| place(at, Some(length)))?;
    if from > to {
        return failed(format!("invalid slice index: {from} > {to}"));
    }
    Ok(match item {
        Value::Text(text) => String::from_utf8_lossy(&text.as_bytes()[from..to])
            .into_owned()
            .into(),
        Value::List(items) => Value::List(items[from..to].to_vec()),
        other => other.clone(),
    })
}
