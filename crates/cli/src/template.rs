//! `--format`: a table, JSON, or the simple half of Docker's templates (`{{.Names}}`, `{{json .}}`).

use serde_json::Value;

use crate::report::Failure;
use crate::{output, table};

/// How a list or an object is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Table,
    /// One JSON object a line.
    Json,
    /// Text with places for fields.
    Template(Vec<Piece>),
}

/// A part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Text as it is.
    Text(String),
    /// A field by its path, as text or as JSON; the whole object when the path is empty.
    Field {
        /// The names on the way.
        path: Vec<String>,
        /// Whether it is written as JSON.
        json: bool,
    },
}

impl Format {
    /// Reads the value of `--format`.
    ///
    /// # Errors
    /// When it is a template with more in it than fields.
    pub fn parse(text: Option<&str>) -> Result<Self, Failure> {
        match text {
            None | Some("" | "table" | "text") => Ok(Self::Table),
            Some("json") => Ok(Self::Json),
            Some(text) if text.contains("{{") => pieces(text).map(Self::Template),
            Some(text) => Err(unknown(text)),
        }
    }

    /// Prints rows: as a table by `cells`, or each object as JSON or through the template.
    pub fn show(&self, head: &[&str], rows: &[Value], cells: impl Fn(&Value) -> Vec<String>) {
        match self {
            Self::Table => output::print(&table::render(head, &rows.iter().map(cells).collect::<Vec<_>>())),
            Self::Json => rows.iter().for_each(|row| output::line(&row.to_string())),
            Self::Template(pieces) => rows.iter().for_each(|row| output::line(&fill(pieces, row))),
        }
    }
}

fn unknown(text: &str) -> Failure {
    Failure::new(format!("--format `{text}` is not known"))
        .help("give table, json, or a template of fields such as '{{.ID}} {{json .Labels}}'")
        .code(125)
}

fn pieces(text: &str) -> Result<Vec<Piece>, Failure> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let (inside, behind) = after.split_once("}}").ok_or_else(|| unknown(text))?;
        if !before.is_empty() {
            pieces.push(Piece::Text(unescape(before)));
        }
        let words: Vec<&str> = inside.split_whitespace().collect();
        let (json, field) = match words.as_slice() {
            [field] => (false, *field),
            ["json", field] => (true, *field),
            _ => return Err(unknown(text)),
        };
        let path = field.strip_prefix('.').ok_or_else(|| unknown(text))?;
        let path: Vec<String> = path
            .split('.')
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect();
        pieces.push(Piece::Field { path, json });
        rest = behind;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(unescape(rest)));
    }
    Ok(pieces)
}

fn unescape(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}

/// Puts an object's fields into a template; a field that isn't there is `<no value>`.
pub fn fill(pieces: &[Piece], object: &Value) -> String {
    let mut text = String::new();
    for piece in pieces {
        match piece {
            Piece::Text(part) => text.push_str(part),
            Piece::Field { path, json } => {
                let found = path.iter().try_fold(object, |value, name| value.get(name));
                match found {
                    Some(value) if *json => text.push_str(&value.to_string()),
                    Some(Value::String(value)) => text.push_str(value),
                    Some(value) => text.push_str(&value.to_string()),
                    None => text.push_str("<no value>"),
                }
            }
        }
    }
    text
}

/// A field of a row as text.
pub fn field(row: &Value, name: &str) -> String {
    row.get(name)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn templates_of_fields_are_filled() {
        let object = json!({ "Names": "web", "State": { "ExitCode": 3 } });
        for (template, text) in [
            ("{{.Names}}\\t{{.State.ExitCode}}", "web\t3"),
            ("{{ json .Names }}!", "\"web\"!"),
            ("{{json .State}}", "{\"ExitCode\":3}"),
            ("{{.Nothing}}", "<no value>"),
        ] {
            let Format::Template(pieces) = Format::parse(Some(template)).expect("a template") else {
                panic!("{template} is a template");
            };
            assert_eq!(fill(&pieces, &object), text);
        }
    }

    #[test]
    fn what_is_no_field_is_refused() {
        for text in ["{{range .Ports}}x{{end}}", "{{.ID", "yaml", "{{ID}}"] {
            assert!(Format::parse(Some(text)).is_err(), "{text}");
        }
    }
}
