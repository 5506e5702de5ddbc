//! What happened to containers: one line of JSON for each event, in Docker's shape, in a file that can be followed.
//!
//! The file lies in the folder of live state that all containers of a data root share, so a boot ends it. Every line is
//! written whole by one call to a file opened for appending, so lines of several writers never mix. A file that has grown
//! large is renamed to [`OLD`] and a new one begun: who follows opens the new one when the number of its file changes.

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The file's name in the run root.
pub const FILE: &str = "events.jsonl";
/// What the file is called when a new one has begun.
pub const OLD: &str = "events.old.jsonl";
/// Above so many bytes a new file begins.
const MOST: u64 = 8 << 20;

/// Where a data root's events are written.
pub fn path(run_root: &Path) -> PathBuf {
    run_root.join(FILE)
}

/// Whom an event is about.
#[derive(Debug, Clone, Default)]
pub struct Subject<'a> {
    /// `container`, `network`, `volume`, `image`.
    pub kind: &'a str,
    /// Its id.
    pub id: &'a str,
    /// The image, for containers.
    pub image: &'a str,
    /// The name.
    pub name: &'a str,
    /// The labels.
    pub labels: Option<&'a BTreeMap<String, String>>,
}

/// Appends an event; `action` is Docker's word, such as `start` or `exec_create: sh`, `more` are attributes.
///
/// # Errors
/// What the disk gives; an event that can't be written is nobody's failure.
pub fn append(
    run_root: &Path,
    subject: &Subject<'_>,
    action: &str,
    more: &[(&str, String)],
) -> io::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let line = line(subject, action, more, now);
    let path = path(run_root);
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(&path)?;
    file.write_all(line.as_bytes())?;
    if file.metadata()?.len() > MOST {
        fs::rename(&path, run_root.join(OLD))?;
    }
    Ok(())
}

fn line(subject: &Subject<'_>, action: &str, more: &[(&str, String)], now: Duration) -> String {
    let mut attributes: Map<String, Value> = Map::new();
    for (key, value) in subject.labels.into_iter().flatten() {
        attributes.insert(key.clone(), value.clone().into());
    }
    for (key, value) in [("image", subject.image), ("name", subject.name)] {
        if !value.is_empty() {
            attributes.insert(key.to_owned(), value.into());
        }
    }
    for (key, value) in more {
        attributes.insert((*key).to_owned(), value.clone().into());
    }
    let mut event = json!({
        "Type": subject.kind,
        "Action": action,
        "Actor": { "ID": subject.id, "Attributes": attributes },
        "scope": "local",
        "time": now.as_secs(),
        "timeNano": u64::try_from(now.as_nanos()).unwrap_or(u64::MAX),
    });
    if subject.kind == "container" {
        event["status"] = action.into();
        event["id"] = subject.id.into();
        event["from"] = subject.image.into();
    }
    format!("{event}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_of_json() {
        let labels = BTreeMap::from([("a".to_owned(), "b\nc".to_owned())]);
        let subject = Subject {
            kind: "container",
            id: "12",
            image: "img",
            name: "web",
            labels: Some(&labels),
        };
        let text = line(&subject, "die", &[("exitCode", "3".into())], Duration::new(5, 7));
        assert_eq!(text.lines().count(), 1);
        let event: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(
            (&event["status"], &event["timeNano"]),
            (&"die".into(), &5_000_000_007_u64.into())
        );
        assert_eq!(event["Actor"]["Attributes"]["exitCode"], "3");
        assert_eq!(event["Actor"]["Attributes"]["a"], "b\nc");
    }
}
