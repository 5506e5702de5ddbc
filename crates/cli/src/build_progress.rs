//! What a build does, as a log: one line for each step and each line that it prints.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use coil_build::dockerfile::BuildEvents;
use serde_json::json;

/// How it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Lines for people.
    Plain,
    /// One JSON object a line.
    Json,
    /// Nothing.
    Quiet,
}

/// Tells of steps on standard error.
pub struct BuildLog {
    form: Form,
    begun: Mutex<BTreeMap<usize, Running>>,
}

struct Running {
    since: Instant,
    /// What was printed since the last end of a line.
    open: Vec<u8>,
}

/// So much of a line without an end is kept.
const LONGEST: usize = 64 * 1024;

impl BuildLog {
    /// A log.
    pub fn new(form: Form) -> BuildLog {
        BuildLog {
            form,
            begun: Mutex::default(),
        }
    }

    fn write(&self, lines: &[String]) {
        if self.form != Form::Plain {
            return;
        }
        let mut err = io::stderr().lock();
        for line in lines {
            // A log that nobody reads any more is no reason to fail.
            let _ = writeln!(err, "{line}");
        }
    }

    fn json(&self, value: serde_json::Value) {
        if self.form == Form::Json {
            let _ = writeln!(io::stderr().lock(), "{value}");
        }
    }

    fn since(&self, step: usize) -> f64 {
        let begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun
            .get(&step)
            .map_or(0.0, |running| running.since.elapsed().as_secs_f64())
    }

    fn rest(&self, step: usize) {
        let rest = {
            let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
            begun
                .get_mut(&step)
                .map(|running| std::mem::take(&mut running.open))
                .unwrap_or_default()
        };
        if !rest.is_empty() {
            self.line(step, &rest);
        }
    }

    fn line(&self, step: usize, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        let text = text.trim_end_matches('\r');
        // A bar that is drawn over and over: only what stands last.
        let text = text.rsplit('\r').next().unwrap_or(text);
        self.write(&[format!("#{step} {:.3} {text}", self.since(step))]);
        self.json(json!({"event": "output", "step": step, "text": text}));
    }
}

impl BuildEvents for BuildLog {
    fn begin(&self, step: usize, name: &str) {
        let running = Running {
            since: Instant::now(),
            open: Vec::new(),
        };
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.insert(step, running);
        drop(begun);
        self.write(&[format!("#{step} {name}")]);
        self.json(json!({"event": "begin", "step": step, "name": name}));
    }

    fn cached(&self, step: usize, name: &str) {
        let end = if name.contains("] FROM ") || name.starts_with("FROM ") {
            "DONE 0.0s"
        } else {
            "CACHED"
        };
        self.write(&[format!("#{step} {name}"), format!("#{step} {end}"), String::new()]);
        self.json(json!({"event": "cached", "step": step, "name": name}));
    }

    fn output(&self, step: usize, bytes: &[u8]) {
        if self.form == Form::Quiet {
            return;
        }
        let lines: Vec<Vec<u8>> = {
            let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(running) = begun.get_mut(&step) else {
                return;
            };
            running.open.extend_from_slice(bytes);
            let Some(end) = running.open.iter().rposition(|byte| *byte == b'\n') else {
                if running.open.len() > LONGEST {
                    running.open.clear();
                }
                return;
            };
            let rest = running.open.split_off(end + 1);
            let whole = std::mem::replace(&mut running.open, rest);
            whole[..end]
                .split(|byte| *byte == b'\n')
                .map(<[u8]>::to_vec)
                .collect()
        };
        for line in lines {
            self.line(step, &line);
        }
    }

    fn done(&self, step: usize) {
        self.rest(step);
        self.write(&[format!("#{step} DONE {:.1}s", self.since(step)), String::new()]);
        self.json(json!({"event": "done", "step": step, "seconds": self.since(step)}));
    }

    fn failed(&self, step: usize, why: &str) {
        self.rest(step);
        self.write(&[format!("#{step} ERROR: {why}"), String::new()]);
        self.json(json!({"event": "failed", "step": step, "why": why}));
    }

    fn note(&self, text: &str) {
        self.write(&[format!("note: {text}")]);
        self.json(json!({"event": "note", "text": text}));
    }
}
