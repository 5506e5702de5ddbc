//! What templates are filled with, and how it is written.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value as Json;

use crate::numbers;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing at all: what a map doesn't have.
    Missing,
    /// A pointer to nothing.
    Nil,
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// A number of a JSON text, whose kind nobody told; it behaves as text, as Go's `json.Number` does.
    Number(String),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Value>),
    /// A list that was never made: empty, and `null` in JSON.
    NoList,
    /// A map that was never made.
    NoMap,
    /// A map by text.
    Map(BTreeMap<String, Value>),
    /// Named fields.
    Object(Object),
    /// A method that gives a text for a name: `.Label "name"`.
    Lookup(BTreeMap<String, String>),
}

/// Fields in their order.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// What errors call its type.
    pub type_name: &'static str,
    /// Names and values.
    pub fields: Vec<(String, Value)>,
    /// Whether its JSON is safe inside HTML, as that of Docker's rows is.
    pub escaped: bool,
}

/// Which names of a JSON text stand for maps and lists; `Parent.Name` for one inside another alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shapes<'a> {
    /// Objects whose names are their users': labels, options. `null` is an empty one.
    pub maps: &'a [&'a str],
    /// Lists that are empty where they are `null`.
    pub lists: &'a [&'a str],
}

impl Shapes<'_> {
    fn value(&self, json: &Json, parent: &str, name: &str) -> Value {
        let is_one_of = |names: &[&str]| {
            names.iter().any(|known| match known.split_once('.') {
                Some((outer, inner)) => outer == parent && inner == name,
                None => *known == name,
            })
        };
        match json {
            Json::Null if is_one_of(self.maps) => Value::NoMap,
            Json::Null if is_one_of(self.lists) => Value::NoList,
            Json::Null => Value::Nil,
            Json::Number(number) => number
                .as_i64()
                .map_or_else(|| Value::Float(number.as_f64().unwrap_or_default()), Value::Int),
            Json::Array(items) => {
                Value::List(items.iter().map(|item| self.value(item, parent, "")).collect())
            }
            Json::Object(fields) if is_one_of(self.maps) => Value::Map(
                fields
                    .iter()
                    .map(|(key, value)| (key.clone(), self.value(value, name, "")))
                    .collect(),
            ),
            Json::Object(fields) => Value::Object(Object {
                type_name: "struct",
                fields: fields
                    .iter()
                    .map(|(key, value)| (key.clone(), self.value(value, name, key)))
                    .collect(),
                escaped: false,
            }),
            other => Value::untyped(other),
        }
    }
}

impl Object {
    /// A field by its name.
    pub fn field(&self, name: &str) -> Option<&Value> {
        self.fields
            .iter()
            .find(|(field, _)| field == name)
            .map(|(_, value)| value)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Text(text)
    }
}

impl Value {
    /// A JSON value as one whose types nobody knows: every object is a map.
    pub fn untyped(json: &Json) -> Value {
        match json {
            Json::Null => Value::Missing,
            Json::Bool(value) => Value::Bool(*value),
            Json::Number(number) => Value::Number(number.to_string()),
            Json::String(text) => Value::Text(text.clone()),
            Json::Array(items) => Value::List(items.iter().map(Value::untyped).collect()),
            Json::Object(fields) => Value::Map(
                fields
                    .iter()
                    .map(|(name, value)| (name.clone(), Value::untyped(value)))
                    .collect(),
            ),
        }
    }

    /// A JSON object as a row of a list: its fields are known, and no other ones are.
    pub fn row(type_name: &'static str, json: &Json) -> Value {
        let mut fields: Vec<(String, Value)> = json
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, value)| (name.clone(), Value::shaped(value, &Shapes::default())))
            .collect();
        fields.sort_by(|(one, _), (other, _)| one.cmp(other));
        Value::Object(Object {
            type_name,
            fields,
            escaped: true,
        })
    }

    /// A JSON value whose objects are structures, but for those whose names are known to be those of maps.
    pub fn shaped(json: &Json, shapes: &Shapes<'_>) -> Value {
        shapes.value(json, "", "")
    }

    /// With an empty list or map in place of one that was never made.
    pub(crate) fn made(self) -> Value {
        match self {
            Value::NoList => Value::List(Vec::new()),
            Value::NoMap => Value::Map(BTreeMap::new()),
            other => other,
        }
    }

    /// Whether a condition holds for it.
    pub(crate) fn is_true(&self) -> bool {
        match self {
            Value::Missing | Value::Nil | Value::NoList | Value::NoMap => false,
            Value::Bool(value) => *value,
            Value::Int(number) => *number != 0,
            Value::Float(number) => *number != 0.0,
            Value::Number(text) | Value::Text(text) => !text.is_empty(),
            Value::List(items) => !items.is_empty(),
            Value::Map(fields) => !fields.is_empty(),
            Value::Object(_) | Value::Lookup(_) => true,
        }
    }

    /// The type's name in Go, for errors and `%T`.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Value::Missing | Value::Nil => "<nil>",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float64",
            Value::Number(_) => "json.Number",
            Value::Text(_) => "string",
            Value::List(items) if items.iter().all(|item| matches!(item, Value::Text(_))) => "[]string",
            Value::NoList => "[]string",
            Value::NoMap => "map[string]string",
            Value::List(_) => "[]interface {}",
            Value::Map(fields) if fields.values().all(|value| matches!(value, Value::Text(_))) => {
                "map[string]string"
            }
            Value::Map(_) => "map[string]interface {}",
            Value::Object(object) => object.type_name,
            Value::Lookup(_) => "func(string) string",
        }
    }

    /// Whether print functions take it as text, which needs no space around it.
    pub(crate) fn is_text(&self) -> bool {
        matches!(self, Value::Text(_))
    }

    /// As an action writes it.
    pub(crate) fn shown(&self) -> String {
        match self {
            Value::Missing => "<no value>".to_owned(),
            other => other.plain(),
        }
    }

    /// As `%v` writes it.
    pub(crate) fn plain(&self) -> String {
        let mut text = String::new();
        self.write(&mut text, false);
        text
    }

    /// As `%+v` writes it, with the names of fields.
    pub(crate) fn with_names(&self) -> String {
        let mut text = String::new();
        self.write(&mut text, true);
        text
    }

    fn write(&self, out: &mut String, names: bool) {
        match self {
            Value::Missing | Value::Nil => out.push_str("<nil>"),
            Value::NoList => out.push_str("[]"),
            Value::NoMap => out.push_str("map[]"),
            Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Value::Int(number) => {
                let _ = write!(out, "{number}");
            }
            Value::Float(number) => out.push_str(&numbers::shortest(*number)),
            Value::Number(text) | Value::Text(text) => out.push_str(text),
            Value::List(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push(' ');
                    }
                    item.write(out, names);
                }
                out.push(']');
            }
            Value::Map(fields) => {
                out.push_str("map[");
                for (at, (name, value)) in fields.iter().enumerate() {
                    if at > 0 {
                        out.push(' ');
                    }
                    out.push_str(name);
                    out.push(':');
                    value.write(out, names);
                }
                out.push(']');
            }
            Value::Object(object) => {
                out.push('{');
                for (at, (name, value)) in object.shown().enumerate() {
                    if at > 0 {
                        out.push(' ');
                    }
                    if names {
                        out.push_str(name);
                        out.push(':');
                    }
                    value.write(out, names);
                }
                out.push('}');
            }
            Value::Lookup(_) => out.push_str("<method>"),
        }
    }

    /// As JSON in one line.
    pub fn json(&self) -> String {
        let mut text = String::new();
        self.write_json(&mut text);
        text
    }

    fn write_json(&self, out: &mut String) {
        match self {
            Value::Missing | Value::Nil | Value::NoList | Value::NoMap | Value::Lookup(_) => {
                out.push_str("null");
            }
            Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Value::Int(number) => {
                let _ = write!(out, "{number}");
            }
            Value::Float(number) => out.push_str(&numbers::shortest(*number)),
            Value::Number(text) => out.push_str(text),
            Value::Text(text) => out.push_str(&Json::from(text.as_str()).to_string()),
            Value::List(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    item.write_json(out);
                }
                out.push(']');
            }
            Value::Map(fields) => {
                let fields = fields.iter().map(|(name, value)| (name.as_str(), value));
                out.push_str(&json_object(fields));
            }
            Value::Object(object) => {
                let text = json_object(object.shown());
                out.push_str(&if object.escaped { safe_in_html(&text) } else { text });
            }
        }
    }
}

impl Object {
    /// Without methods.
    fn shown(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.fields
            .iter()
            .filter(|(_, value)| !matches!(value, Value::Lookup(_)))
            .map(|(name, value)| (name.as_str(), value))
    }
}

fn json_object<'a>(fields: impl Iterator<Item = (&'a str, &'a Value)>) -> String {
    let mut text = String::from("{");
    for (at, (name, value)) in fields.enumerate() {
        if at > 0 {
            text.push(',');
        }
        text.push_str(&Json::from(name).to_string());
        text.push(':');
        value.write_json(&mut text);
    }
    text.push('}');
    text
}

/// In JSON these stand in texts alone.
fn safe_in_html(json: &str) -> String {
    json.replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
}
