//! The functions of templates: Go's own and Docker's.

use crate::operations::{compare, equal, index, length, slice};
use crate::{Value, printf};

/// Why a function gave nothing.
pub(crate) enum Fault {
    /// It takes so many arguments.
    Count(&'static str),
    /// An argument is of the wrong kind.
    Type { at: usize, expected: &'static str },
    /// It says so.
    Failed(String),
    /// There is nothing to call.
    NotFunction,
}

const NAMES: [&str; 27] = [
    "and", "call", "eq", "ge", "gt", "html", "index", "join", "js", "json", "le", "len", "lower", "lt", "ne",
    "not", "or", "pad", "print", "printf", "println", "slice", "split", "title", "truncate", "upper",
    "urlquery",
];

/// Whether there is a function of this name.
pub(crate) fn is_known(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Whether it leaves a column's head as it is.
pub(crate) fn is_plain_in_heads(name: &str) -> bool {
    [
        "json", "split", "join", "title", "lower", "upper", "pad", "truncate",
    ]
    .contains(&name)
}

/// Calls a function that looks at all of its arguments.
pub(crate) fn call(name: &str, arguments: &[Value], untyped: bool) -> Result<Value, Fault> {
    match name {
        "json" => one(arguments).map(|value| value.json().into()),
        "lower" => text_of_one(arguments).map(|text| text.to_lowercase().into()),
        "upper" => text_of_one(arguments).map(|text| text.to_uppercase().into()),
        "title" => text_of_one(arguments).map(|text| title(text).into()),
        "split" => {
            count(arguments, 2, "2")?;
            let (whole, by) = (text(arguments, 0)?, text(arguments, 1)?);
            Ok(Value::List(split(whole, by)))
        }
        "join" => {
            count(arguments, 2, "2")?;
            let first = arguments[0].clone().made();
            let Value::List(items) = &first else {
                return Err(list_wanted());
            };
            let texts: Option<Vec<&str>> = items
                .iter()
                .map(|item| match item {
                    Value::Text(text) => Some(text.as_str()),
                    _ => None,
                })
                .collect();
            let between = text(arguments, 1)?;
            texts
                .map(|texts| texts.join(between).into())
                .ok_or_else(list_wanted)
        }
        "pad" => {
            count(arguments, 3, "3")?;
            let (inner, before, behind) = (text(arguments, 0)?, number(arguments, 1)?, number(arguments, 2)?);
            if inner.is_empty() {
                return Ok(inner.into());
            }
            Ok(format!("{}{inner}{}", blanks(before), blanks(behind)).into())
        }
        "truncate" => {
            count(arguments, 2, "2")?;
            let (whole, most) = (text(arguments, 0)?, number(arguments, 1)?);
            let most = usize::try_from(most).unwrap_or(0);
            if whole.len() <= most {
                return Ok(whole.into());
            }
            let end = (0..=most)
                .rev()
                .find(|at| whole.is_char_boundary(*at))
                .unwrap_or(0);
            Ok(whole[..end].into())
        }
        "print" => Ok(printf::print(arguments).into()),
        "println" => Ok(printf::print_line(arguments).into()),
        "printf" => {
            let (format, rest) = arguments.split_first().ok_or(Fault::Count("at least 1"))?;
            let Value::Text(format) = format else {
                return Err(Fault::Type {
                    at: 0,
                    expected: "string",
                });
            };
            Ok(printf::printf(format, rest).into())
        }
        "html" => Ok(html(&printf::print(arguments)).into()),
        "js" => Ok(script(&printf::print(arguments)).into()),
        "urlquery" => Ok(query(&printf::print(arguments)).into()),
        "len" => one(arguments).and_then(length),
        "index" => {
            let (item, at) = arguments.split_first().ok_or(Fault::Count("at least 1"))?;
            index(item, at, untyped)
        }
        "slice" => {
            let (item, at) = arguments.split_first().ok_or(Fault::Count("at least 1"))?;
            slice(item, at)
        }
        "not" => one(arguments).map(|value| Value::Bool(!value.is_true())),
        "eq" => {
            let (first, others) = arguments.split_first().ok_or(Fault::Count("at least 1"))?;
            if others.is_empty() {
                return Err(Fault::Failed("missing argument for comparison".to_owned()));
            }
            for other in others {
                if equal(first, other)? {
                    return Ok(Value::Bool(true));
                }
            }
            Ok(Value::Bool(false))
        }
        "ne" => {
            count(arguments, 2, "2")?;
            Ok(Value::Bool(!equal(&arguments[0], &arguments[1])?))
        }
        "lt" | "le" | "gt" | "ge" => {
            count(arguments, 2, "2")?;
            let order = compare(&arguments[0], &arguments[1])?;
            Ok(Value::Bool(match name {
                "lt" => order.is_some_and(|order| order.is_lt()),
                "le" => order.is_some_and(|order| order.is_le()),
                "gt" => order.is_some_and(|order| order.is_gt()),
                _ => order.is_some_and(|order| order.is_ge()),
            }))
        }
        "call" => Err(if arguments.is_empty() {
            Fault::Count("at least 1")
        } else {
            Fault::NotFunction
        }),
        // The parser lets no other name through.
        _ => Err(Fault::NotFunction),
    }
}

fn list_wanted() -> Fault {
    Fault::Type {
        at: 0,
        expected: "[]string",
    }
}

fn count(arguments: &[Value], wanted: usize, text: &'static str) -> Result<(), Fault> {
    if arguments.len() == wanted {
        Ok(())
    } else {
        Err(Fault::Count(text))
    }
}

fn one(arguments: &[Value]) -> Result<&Value, Fault> {
    count(arguments, 1, "1")?;
    Ok(&arguments[0])
}

fn text(arguments: &[Value], at: usize) -> Result<&str, Fault> {
    match arguments.get(at) {
        Some(Value::Text(text)) => Ok(text),
        _ => Err(Fault::Type {
            at,
            expected: "string",
        }),
    }
}

fn text_of_one(arguments: &[Value]) -> Result<&str, Fault> {
    count(arguments, 1, "1")?;
    text(arguments, 0)
}

fn number(arguments: &[Value], at: usize) -> Result<i64, Fault> {
    match arguments.get(at) {
        Some(Value::Int(number)) => Ok(*number),
        _ => Err(Fault::Type { at, expected: "int" }),
    }
}

/// So many blanks, a column's worth at most.
fn blanks(count: i64) -> String {
    " ".repeat(usize::try_from(count).unwrap_or(0).min(10_000))
}

fn split(whole: &str, by: &str) -> Vec<Value> {
    if by.is_empty() {
        return whole.chars().map(|c| Value::Text(c.to_string())).collect();
    }
    whole.split(by).map(Value::from).collect()
}

/// A capital at the beginning of each word.
fn title(text: &str) -> String {
    let mut inside = false;
    let mut titled = String::with_capacity(text.len());
    for character in text.chars() {
        if inside {
            titled.push(character);
        } else {
            titled.extend(character.to_uppercase());
        }
        inside = character.is_alphanumeric()
            || character == '_'
            || (!character.is_ascii() && !character.is_whitespace());
    }
    titled
}

fn html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' => escaped.push_str("&#34;"),
            '\'' => escaped.push_str("&#39;"),
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\0' => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

fn script(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' => escaped.push_str("\\\\"),
            '\'' => escaped.push_str("\\'"),
            '"' => escaped.push_str("\\\""),
            '<' | '>' | '&' | '=' => escaped.push_str(&format!("\\u{:04X}", u32::from(character))),
            control if control.is_control() => {
                escaped.push_str(&format!("\\u{:04X}", u32::from(control)));
            }
            other => escaped.push(other),
        }
    }
    escaped
}

fn query(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(char::from(byte));
            }
            b' ' => escaped.push('+'),
            other => escaped.push_str(&format!("%{other:02X}")),
        }
    }
    escaped
}
