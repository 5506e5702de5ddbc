//! `coil events`: what happens to containers, images, networks and volumes.

use std::io;
use std::time::Duration;

use clap::Args;
use coil_engine::event_reader::{EventRequest, FILTERS};
use serde_json::Value;

use crate::report::Failure;
use crate::settings::Settings;
use crate::template::Format;
use crate::{list_filters, moment, output};

/// Arguments of `coil events`.
#[derive(Debug, Args)]
pub struct Events {
    /// From this time on: 10m, 2026-01-31T08:00:00, or seconds since 1970
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Up to this time, and no longer
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Show those alone to which this applies, such as container=web
    #[arg(short, long = "filter", value_name = "NAME=VALUE")]
    filters: Vec<String>,
    /// json, or a template such as '{{.Action}} {{.Actor.ID}}'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

impl Events {
    /// Prints them as they come.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        let format = Format::of_objects(self.format.as_deref(), "")?;
        let filters = list_filters::pairs(&self.filters)?;
        if let Some((name, _)) = filters.iter().find(|(name, _)| !FILTERS.contains(&name.as_str())) {
            return Err(Failure::new(format!("invalid filter '{name}'"))
                .help(format!("the filters are {}", FILTERS.join(", "))));
        }
        let time = |name: &str, text: &Option<String>| {
            text.as_deref()
                .map(|text| moment::point_flag(name, text))
                .transpose()
        };
        let request = EventRequest {
            since: time("since", &self.since)?,
            until: time("until", &self.until)?,
            filters,
        };
        let engine = settings.engine()?;
        let mut wrong = None;
        let read = engine.read_events(&request, &mut |event| {
            match shown(&format, event) {
                Ok(text) => output::line(&text),
                Err(failure) => {
                    wrong = Some(failure);
                    return Err(io::ErrorKind::InvalidInput.into());
                }
            }
            output::flush();
            Ok(())
        });
        match (wrong, read) {
            (Some(failure), _) => Err(failure),
            (None, Err(error)) => Err(Failure::new("the log of events can't be read").help(error)),
            (None, Ok(())) => Ok(0),
        }
    }
}

fn shown(format: &Format, event: &Value) -> Result<String, Failure> {
    match format {
        Format::Table => Ok(line(event)),
        Format::Json => Ok(event.to_string()),
        Format::Template(shape) if shape.is_whole() => Ok(event.to_string()),
        Format::Template(shape) => {
            // The names of Go's fields, which differ from those of the JSON.
            let mut event = event.clone();
            let names = [
                ("status", "Status"),
                ("id", "ID"),
                ("from", "From"),
                ("scope", "Scope"),
                ("time", "Time"),
                ("timeNano", "TimeNano"),
            ];
            for (from, to) in names {
                let empty = if to.starts_with("Time") {
                    Value::from(0)
                } else {
                    "".into()
                };
                let value = event.as_object_mut().and_then(|fields| fields.remove(from));
                event[to] = value.unwrap_or(empty);
            }
            shape
                .one("*events.Message", &event)
                .map_err(|failure| failure.code(64))
        }
    }
}

/// `TIME TYPE ACTION ID (NAME=VALUE, …)`.
fn line(event: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let time = Duration::from_nanos(event["timeNano"].as_u64().unwrap_or_default());
    let mut attributes: Vec<String> = event["Actor"]["Attributes"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{name}={}", text(value)))
        .collect();
    attributes.sort();
    let mut line = format!(
        "{} {} {} {}",
        coil_oci::timestamp::nanoseconds(time),
        text(&event["Type"]),
        text(&event["Action"]),
        text(&event["Actor"]["ID"])
    );
    if !attributes.is_empty() {
        line.push_str(&format!(" ({})", attributes.join(", ")));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_is_a_line_or_what_a_template_makes_of_it() {
        let event = json!({
            "status": "start", "id": "12", "from": "img", "Type": "container", "Action": "start",
            "Actor": { "ID": "12", "Attributes": { "name": "web", "image": "img" } },
            "scope": "local", "time": 1, "timeNano": 1_500_000_000_u64,
        });
        assert_eq!(
            line(&event),
            "1970-01-01T00:00:01.500000000Z container start 12 (image=img, name=web)"
        );
        let through = |text: &str| {
            let format = Format::of_objects(Some(text), "").expect("a template");
            shown(&format, &event).expect("it is all there")
        };
        assert_eq!(
            through(
                "{{.Status}} {{.ID}} {{.From}} {{.Type}} {{.Actor.Attributes.name}} {{.Time}} {{.TimeNano}}"
            ),
            "start 12 img container web 1 1500000000"
        );
        assert_eq!(through("{{json .}}"), event.to_string());
    }
}
