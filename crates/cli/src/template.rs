//! `--format`: a table, JSON, or a template in the language of Docker's (`{{.Names}}`, `table {{.ID}}\t{{upper .Names}}`).

use std::collections::BTreeMap;

use coil_template::{Mode, Object, Shapes, Template, Value};
use serde_json::Value as Json;

use crate::absent;
use crate::report::Failure;
use crate::{output, table};

/// How a list or an object is shown.
#[derive(Debug, Clone, PartialEq)]
pub enum Format {
    /// For people.
    Table,
    /// One JSON object a line.
    Json,
    /// Text with places for fields.
    Template(Shape),
}

/// A template, and whether what it makes is laid out in columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    template: Template,
    table: bool,
    whole: bool,
}

/// A list's columns.
#[derive(Debug, Clone, Copy)]
pub struct Columns<'a> {
    /// What Docker calls the type of its rows.
    pub of: &'static str,
    /// Heads and fields of the table.
    pub shown: &'a [(&'a str, &'a str)],
    /// Heads and fields that a template may ask for besides.
    pub more: &'a [(&'a str, &'a str)],
}

/// A row of a list.
#[derive(Debug, Clone)]
pub struct Row {
    fields: Json,
    labels: Option<BTreeMap<String, String>>,
}

impl From<Json> for Row {
    fn from(fields: Json) -> Self {
        Row { fields, labels: None }
    }
}

impl Row {
    /// Labels that `.Label "name"` is answered from.
    #[must_use]
    pub fn labelled(mut self, labels: BTreeMap<String, String>) -> Self {
        self.labels = Some(labels);
        self
    }

    fn value(&self, of: &'static str) -> Value {
        let mut value = Value::row(of, &self.fields);
        if let (Value::Object(object), Some(labels)) = (&mut value, &self.labels) {
            object
                .fields
                .push(("Label".to_owned(), Value::Lookup(labels.clone())));
        }
        value
    }
}

/// Which names in an inspected object stand for maps and lists, as Docker's types have them.
const SHAPES: Shapes<'static> = Shapes {
    maps: &[
        "Annotations",
        "Attributes",
        "Containers",
        "Data",
        "DriverOpts",
        "ExposedPorts",
        "GraphDriver.Data",
        "HostConfig.Tmpfs",
        "Labels",
        "LogConfig.Config",
        "Networks",
        "Options",
        "PortBindings",
        "Ports",
        "StorageOpt",
        "Sysctls",
        "Volumes",
    ],
    lists: &[
        "Aliases",
        "Args",
        "Binds",
        "BlkioDeviceReadBps",
        "BlkioDeviceReadIOps",
        "BlkioDeviceWriteBps",
        "BlkioDeviceWriteIOps",
        "BlkioWeightDevice",
        "CapAdd",
        "CapDrop",
        "Cmd",
        "Config",
        "DNSNames",
        "DeviceCgroupRules",
        "DeviceRequests",
        "Devices",
        "Dns",
        "DnsOptions",
        "DnsSearch",
        "Entrypoint",
        "Env",
        "ExecIDs",
        "ExtraHosts",
        "GroupAdd",
        "Layers",
        "Links",
        "Log",
        "MaskedPaths",
        "Mounts",
        "OnBuild",
        "ReadonlyPaths",
        "RepoDigests",
        "RepoTags",
        "SecondaryIPAddresses",
        "SecondaryIPv6Addresses",
        "SecurityOpt",
        "Shell",
        "Test",
        "Ulimits",
        "VolumesFrom",
    ],
};

impl Format {
    /// Reads the value of a list's `--format`.
    ///
    /// # Errors
    /// When it is no template.
    pub fn parse(text: Option<&str>) -> Result<Self, Failure> {
        let Some(text) = text else {
            return Ok(Self::Table);
        };
        match text.trim() {
            "" | "table" | "text" => Ok(Self::Table),
            "json" => Ok(Self::Json),
            text => {
                let (table, body) = match text.strip_prefix("table") {
                    Some(body) if body.starts_with([' ', '{', '\\', '\t']) => (true, body.trim_start()),
                    _ => (false, text),
                };
                let template = Template::parse("", &unescape(body))
                    .map_err(|error| Failure::new(format!("template parsing error: {error}")).help(HELP))?;
                Ok(Self::Template(Shape {
                    template,
                    table,
                    whole: is_whole(body),
                }))
            }
        }
    }

    /// Reads the value of an object's `--format`, in which `table` is no word; `name` is what errors call the template.
    ///
    /// # Errors
    /// When it is no template: 64, as Docker has it.
    pub fn of_objects(text: Option<&str>, name: &str) -> Result<Self, Failure> {
        match text {
            None | Some("") => Ok(Self::Table),
            Some("json") => Ok(Self::Json),
            Some(text) => Template::parse(name, text)
                .map(|template| {
                    Self::Template(Shape {
                        template,
                        table: false,
                        whole: is_whole(text),
                    })
                })
                .map_err(|error| {
                    Failure::new(format!("template parsing error: {error}"))
                        .help(HELP)
                        .code(64)
                }),
        }
    }

    /// Whether a field is shown that costs something to find.
    pub fn asks_for(&self, field: &str) -> bool {
        match self {
            Self::Table | Self::Json => false,
            Self::Template(shape) => shape.template.asks_for(field),
        }
    }

    /// Prints a list.
    ///
    /// # Errors
    /// When a template asks for what no row has.
    pub fn list<R: Into<Row>>(
        &self,
        columns: &Columns<'_>,
        rows: impl IntoIterator<Item = R>,
    ) -> Result<(), Failure> {
        let rows = rows.into_iter().map(Into::into);
        match self {
            Self::Table => {
                let head: Vec<&str> = columns.shown.iter().map(|(title, _)| *title).collect();
                let cells: Vec<Vec<String>> = rows
                    .map(|row: Row| {
                        let fields = columns.shown.iter();
                        fields.map(|(_, name)| field(&row.fields, name)).collect()
                    })
                    .collect();
                output::print(&table::render(&head, &cells));
            }
            Self::Json => {
                for row in rows {
                    output::line(&Row { labels: None, ..row }.value(columns.of).json());
                }
            }
            Self::Template(shape) => {
                let mut text = String::new();
                if shape.table {
                    text.push_str(&shape.fill(&columns.heads(), Mode::Head)?);
                    text.push('\n');
                }
                for row in rows {
                    text.push_str(&shape.fill(&row.value(columns.of), Mode::Lenient)?);
                    text.push('\n');
                }
                output::print(&if shape.table { table::align(&text) } else { text });
            }
        }
        Ok(())
    }

    /// Prints objects: all of them as JSON, or each through the template.
    ///
    /// # Errors
    /// When a template asks for what isn't there; what came before is printed.
    pub fn objects(&self, objects: &[Json]) -> Result<(), Failure> {
        match self {
            Self::Table => output::json(&objects),
            Self::Json => output::line(&Json::from(objects).to_string()),
            Self::Template(shape) => {
                for (at, object) in objects.iter().enumerate() {
                    match shape.object(object) {
                        Ok(text) => output::line(&text),
                        Err(failure) => {
                            if at == 0 {
                                output::line("");
                            }
                            return Err(failure);
                        }
                    }
                }
                // As Docker has it: an empty line where there is nothing else.
                if objects.is_empty() {
                    output::line("");
                }
            }
        }
        Ok(())
    }
}

const HELP: &str = "give json, or a template such as '{{.ID}} {{json .Labels}}'";

impl Columns<'_> {
    fn heads(&self) -> Value {
        let mut heads: BTreeMap<String, Value> = self
            .shown
            .iter()
            .chain(self.more)
            .map(|(title, field)| ((*field).to_owned(), Value::from(*title)))
            .collect();
        heads.insert("Label".to_owned(), Value::Lookup(BTreeMap::new()));
        Value::Map(heads)
    }
}

impl Shape {
    fn fill(&self, value: &Value, mode: Mode) -> Result<String, Failure> {
        self.template
            .render(value, mode)
            .map_err(|error| Failure::new(format!("template parsing error: {error}")).help(fields_of(value)))
    }

    /// An object through the template: with its types first, and as plain JSON where that goes wrong, as Docker does it.
    fn object(&self, object: &Json) -> Result<String, Failure> {
        let typed = Value::shaped(object, &SHAPES);
        self.template
            .render(&typed, Mode::Lenient)
            .or_else(|_| {
                self.template
                    .render(&Value::shaped(&absent::filled(object), &SHAPES), Mode::Lenient)
            })
            .or_else(|_| self.template.render(&Value::untyped(object), Mode::Strict))
            .map_err(|error| {
                Failure::new(format!("template parsing error: {error}"))
                    .help("without --format all that there is is shown")
            })
    }

    /// Whether it is `{{json .}}`, which shows all that there is as it is.
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// One value that is no part of a list: `version`, `info`, an event. Its top is a structure of this type.
    ///
    /// # Errors
    /// When the template asks for what isn't there.
    pub fn one(&self, of: &'static str, object: &Json) -> Result<String, Failure> {
        let mut typed = Value::shaped(object, &SHAPES);
        if let Value::Object(top) = &mut typed {
            top.type_name = of;
        }
        self.template
            .render(&typed, Mode::Lenient)
            .map_err(|error| Failure::new(format!("template parsing error: {error}")).help(fields_of(&typed)))
    }
}

fn fields_of(value: &Value) -> String {
    let names: Vec<&str> = match value {
        Value::Object(Object { fields, .. }) => fields.iter().map(|(name, _)| name.as_str()).collect(),
        _ => Vec::new(),
    };
    format!("the fields are {}", names.join(", "))
}

fn is_whole(text: &str) -> bool {
    let words: Vec<&str> = text
        .trim()
        .trim_start_matches("{{")
        .trim_end_matches("}}")
        .split_whitespace()
        .collect();
    words == ["json", "."]
}

fn unescape(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}

/// A field of a row as text.
pub fn field(row: &Json, name: &str) -> String {
    row.get(name)
        .and_then(Json::as_str)
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn inspected(template: &str) -> Result<String, Failure> {
        let object = json!({
            "Name": "/web",
            "State": { "ExitCode": 3, "Health": null },
            "Config": { "Labels": {}, "Cmd": null },
            "HostConfig": { "LogConfig": { "Type": "json-file", "Config": {} }, "CapAdd": null },
        });
        match Format::of_objects(Some(template), "")? {
            Format::Template(shape) => shape.object(&object),
            _ => panic!("{template} is a template"),
        }
    }

    #[test]
    fn objects_are_filled_in_with_their_types_or_without() {
        for (template, text) in [
            ("{{.Name}} {{.State.ExitCode}} {{.State}}", "/web 3 {3 <nil>}"),
            (
                "{{index .Config.Labels \"x\"}}|{{.Config.Labels}}|{{.Config.Cmd}}",
                "|map[]|[]",
            ),
            (
                "{{.HostConfig.LogConfig}} {{.HostConfig.CapAdd}}",
                "{json-file map[]} []",
            ),
            ("table {{.Name}}", "table /web"),
        ] {
            assert_eq!(inspected(template).ok().as_deref(), Some(text), "{template}");
        }
        let failure = inspected("{{.Nothing}}").expect_err("there is no such field");
        assert!(
            failure
                .text()
                .contains("template parsing error: template: :1:2: executing \"\" at <.Nothing>"),
            "{}",
            failure.text()
        );
    }

    #[test]
    fn a_tables_template_is_told_apart_from_text() {
        let parse = |text: &str| Format::parse(Some(text)).expect("it is right");
        assert_eq!(parse("table"), Format::Table);
        assert_eq!(parse(" json "), Format::Json);
        assert!(matches!(parse("table {{.ID}}\\t{{.Names}}"), Format::Template(shape) if shape.table));
        assert!(matches!(parse("tables {{.ID}}"), Format::Template(shape) if !shape.table));
        assert!(Format::parse(Some("{{.ID")).is_err());
    }
}
