//! Reading the log of events: those of the past, and what comes.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::events::{OLD, path};
use crate::{Engine, clock};

/// Which events are wanted.
#[derive(Debug, Clone, Default)]
pub struct EventRequest {
    /// From this time on; from now on when none is given.
    pub since: Option<Duration>,
    /// Up to this time; for ever when none is given.
    pub until: Option<Duration>,
    /// Names and values: any value of each name, of labels all.
    pub filters: Vec<(String, String)>,
}

/// The time between two looks at a log in which nothing came.
const PAUSE: Duration = Duration::from_millis(20);

/// A log that is read to its end, again and again.
struct Log {
    reader: BufReader<File>,
    number: u64,
}

impl Log {
    fn open(path: &Path) -> io::Result<Log> {
        let file = File::open(path)?;
        let number = file.metadata()?.ino();
        Ok(Log {
            reader: BufReader::new(file),
            number,
        })
    }

    /// The next whole line; a piece of one is left for later.
    fn next(&mut self) -> io::Result<Option<Value>> {
        let mut text = String::new();
        loop {
            text.clear();
            let before = self.reader.stream_position()?;
            if self.reader.read_line(&mut text)? == 0 {
                return Ok(None);
            }
            if !text.ends_with('\n') {
                self.reader.seek(io::SeekFrom::Start(before))?;
                return Ok(None);
            }
            if let Ok(event) = serde_json::from_str(&text) {
                return Ok(Some(event));
            }
        }
    }
}

impl Engine {
    /// Gives each event that is wanted to `show`, in their order, until the time is over or `show` refuses.
    ///
    /// # Errors
    /// What the disk or `show` gives; a log that isn't there yet is an empty one.
    pub fn read_events(
        &self,
        request: &EventRequest,
        show: &mut dyn FnMut(&Value) -> io::Result<()>,
    ) -> io::Result<()> {
        let now = clock::now();
        let since = request.since.unwrap_or(now);
        let wanted = |event: &Value| {
            let time = time_of(event);
            time >= since
                && request.until.is_none_or(|until| time <= until)
                && passes(event, &request.filters)
        };
        let current = path(&self.options.run_root);
        if since < now
            && let Ok(mut old) = Log::open(&current.with_file_name(OLD))
        {
            while let Some(event) = old.next()? {
                if wanted(&event) {
                    show(&event)?;
                }
            }
        }
        let mut log: Option<Log> = None;
        loop {
            // Asked before reading, so that what was written before the end is read.
            let over = request.until.is_some_and(|until| clock::now() >= until);
            if log.is_none() {
                log = Log::open(&current).ok();
            }
            if let Some(open) = &mut log {
                while let Some(event) = open.next()? {
                    if wanted(&event) {
                        show(&event)?;
                    }
                }
                // A new one has begun: this one was read to its end after that only when it is looked at once more.
                if fs::metadata(&current).is_ok_and(|data| data.ino() != open.number) {
                    while let Some(event) = open.next()? {
                        if wanted(&event) {
                            show(&event)?;
                        }
                    }
                    log = None;
                    continue;
                }
            }
            if over {
                return Ok(());
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// When it was, since 1970.
fn time_of(event: &Value) -> Duration {
    Duration::from_nanos(event["timeNano"].as_u64().unwrap_or_default())
}

/// The filters that there are.
pub const FILTERS: [&str; 12] = [
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "scope",
    "type",
    "volume",
];

/// Whether an event passes: by any value of each filter, of labels by all.
fn passes(event: &Value, filters: &[(String, String)]) -> bool {
    filters.iter().all(|(name, value)| {
        if name == "label" {
            return fits(event, name, value);
        }
        let mut same = filters.iter().filter(|(other, _)| other == name);
        same.any(|(_, value)| fits(event, name, value))
    })
}

fn fits(event: &Value, name: &str, value: &str) -> bool {
    let attributes = &event["Actor"]["Attributes"];
    let attribute = |name: &str| attributes[name].as_str().unwrap_or_default();
    let kind = event["Type"].as_str().unwrap_or_default();
    let id = event["Actor"]["ID"].as_str().unwrap_or_default();
    match name {
        "container" | "network" | "volume" | "plugin" | "daemon" | "node" | "config" => {
            let named = kind == name
                && (id == value || attribute("name") == value || (value.len() >= 4 && id.starts_with(value)));
            // What happened to a network or volume for a container tells of it too.
            named || (name == "container" && kind != "container" && attribute("container") == value)
        }
        "image" => {
            let image = if kind == "image" {
                attribute("name")
            } else {
                attribute("image")
            };
            let without_tag = image.rsplit_once(':').map_or(image, |(name, _)| name);
            image == value || without_tag == value || (kind == "image" && id == value)
        }
        "event" => {
            let action = event["Action"].as_str().unwrap_or_default();
            action == value || action.split(':').next() == Some(value)
        }
        "type" => kind == value,
        "scope" => event["scope"] == value,
        "label" => match value.split_once('=') {
            Some((key, value)) => attributes[key] == value,
            None => attributes.get(value).is_some(),
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn events_are_chosen_by_what_they_are_about() {
        let event = json!({
            "Type": "container", "Action": "exec_create: sh", "scope": "local",
            "Actor": { "ID": "485592d62a85", "Attributes": { "image": "debian:bookworm", "name": "web", "a": "1" } },
        });
        for (filters, wanted) in [
            (vec![("container", "web")], true),
            (vec![("container", "4855")], true),
            (vec![("container", "db")], false),
            (vec![("container", "db"), ("container", "web")], true),
            (vec![("event", "exec_create")], true),
            (vec![("event", "start"), ("type", "container")], false),
            (vec![("type", "container")], true),
            (vec![("image", "debian")], true),
            (vec![("image", "debian:bookworm")], true),
            (vec![("label", "a")], true),
            (vec![("label", "a=1"), ("label", "b")], false),
            (vec![("volume", "web")], false),
        ] {
            let filters: Vec<(String, String)> = filters
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            assert_eq!(passes(&event, &filters), wanted, "{filters:?}");
        }
    }
}
