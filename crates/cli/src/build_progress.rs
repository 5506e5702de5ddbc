//! What a build does, told on standard error: a live view on a terminal, else a log, for people or for programs.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use coil_build::dockerfile::BuildEvents;
use coil_fetch::{Progress, base64};
use coil_oci::{Digest, timestamp};
use serde_json::{Value, json};

use crate::build_screen::BuildScreen;

/// How it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A view that changes; with colours or without.
    Live {
        /// With colours.
        colours: bool,
    },
    /// Lines for people.
    Plain,
    /// One JSON object a line.
    Json,
    /// One JSON object a line, as BuildKit has them.
    RawJson,
    /// Nothing but the image's id at the end.
    Quiet,
    /// Nothing.
    Silent,
}

/// Tells of steps on standard error.
pub struct BuildLog {
    form: Form,
    begun: Mutex<BTreeMap<usize, Running>>,
    screen: Option<BuildScreen>,
    /// Lines that wait while something else has the screen.
    held: Mutex<Option<Vec<String>>>,
}

struct Running {
    name: String,
    since: Instant,
    began: String,
    /// What was printed since the last end of a line.
    open: Vec<u8>,
}

/// So much of a line without an end is kept.
const LONGEST: usize = 64 * 1024;

/// Whether a step is an image that is begun with.
pub fn is_base(name: &str) -> bool {
    name.contains("] FROM ") || name.starts_with("FROM ")
}

fn now() -> String {
    timestamp::nanoseconds(coil_engine::clock::now())
}

impl BuildLog {
    /// A log.
    pub fn new(form: Form) -> BuildLog {
        BuildLog {
            form,
            begun: Mutex::default(),
            screen: match form {
                Form::Live { colours } => Some(BuildScreen::new(colours)),
                _ => None,
            },
            held: Mutex::default(),
        }
    }

    /// Who is told of downloads, where there is a view of them.
    pub fn downloads(&self) -> Option<&dyn Progress> {
        self.screen.as_ref().map(|screen| screen as &dyn Progress)
    }

    /// The view stands as it is at the end.
    pub fn end(&self) {
        if let Some(screen) = &self.screen {
            screen.finish();
        }
    }

    /// Leaves the screen to something else until [`BuildLog::go_on`]; what is told in between comes then.
    pub fn hold(&self) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(Vec::new());
        if let Some(screen) = &self.screen {
            screen.hold(true);
        }
    }

    /// Takes the screen back.
    pub fn go_on(&self) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(screen) = &self.screen {
            screen.hold(false);
        }
        self.lines(&held.unwrap_or_default());
    }

    /// Lines that stay, whatever the form for people is.
    fn lines(&self, lines: &[String]) {
        {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(held) = held.as_mut() {
                held.extend_from_slice(lines);
                return;
            }
        }
        if let Some(screen) = &self.screen {
            lines.iter().for_each(|line| screen.line(line));
            return;
        }
        let mut err = io::stderr().lock();
        for line in lines {
            // A log that nobody reads any more is no reason to fail.
            let _ = writeln!(err, "{line}");
        }
    }

    fn plain(&self, lines: &[String]) {
        if self.form == Form::Plain {
            self.lines(lines);
        }
    }

    fn json(&self, value: Value) {
        if self.form == Form::Json {
            self.lines(&[value.to_string()]);
        }
    }

    /// A step as BuildKit tells of it.
    fn raw(&self, step: usize, name: &str, more: Value) {
        if self.form != Form::RawJson {
            return;
        }
        let mut vertex = json!({"digest": vertex(step, name), "name": name});
        if let (Some(vertex), Value::Object(more)) = (vertex.as_object_mut(), more) {
            vertex.extend(more);
        }
        self.lines(&[json!({"vertexes": [vertex]}).to_string()]);
    }

    fn begun(&self, step: usize) -> (f64, String, String) {
        let begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.get(&step).map_or((0.0, String::new(), now()), |running| {
            (
                running.since.elapsed().as_secs_f64(),
                running.name.clone(),
                running.began.clone(),
            )
        })
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
        let (since, ..) = self.begun(step);
        self.plain(&[format!("#{step} {since:.3} {text}")]);
        self.json(json!({"event": "output", "step": step, "text": text}));
        if let Some(screen) = &self.screen {
            screen.change(|view, _| view.line(step, text));
        }
    }
}

/// What BuildKit's log knows a step by.
fn vertex(step: usize, name: &str) -> String {
    Digest::of(format!("{step} {name}").as_bytes()).to_string()
}

impl BuildEvents for BuildLog {
    fn planned(&self, steps: usize) {
        if let Some(screen) = &self.screen {
            screen.change(|view, _| view.expect(steps));
        }
    }

    fn begin(&self, step: usize, name: &str) {
        let began = now();
        let running = Running {
            name: name.to_owned(),
            since: Instant::now(),
            began: began.clone(),
            open: Vec::new(),
        };
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.insert(step, running);
        drop(begun);
        self.plain(&[format!("#{step} {name}")]);
        self.json(json!({"event": "begin", "step": step, "name": name}));
        self.raw(step, name, json!({"started": began}));
        if let Some(screen) = &self.screen {
            screen.change(|view, now| view.begin(step, name, now));
        }
    }

    fn cached(&self, step: usize, name: &str) {
        let end = if is_base(name) { "DONE 0.0s" } else { "CACHED" };
        self.plain(&[format!("#{step} {name}"), format!("#{step} {end}"), String::new()]);
        self.json(json!({"event": "cached", "step": step, "name": name}));
        let time = now();
        self.raw(
            step,
            name,
            json!({"started": time, "completed": time, "cached": true}),
        );
        if let Some(screen) = &self.screen {
            screen.change(|view, now| view.cached(step, name, now));
        }
    }

    fn output(&self, step: usize, bytes: &[u8]) {
        if self.form == Form::Quiet {
            return;
        }
        if self.form == Form::RawJson {
            let (_, name, _) = self.begun(step);
            let log = json!({
                "vertex": vertex(step, &name),
                "stream": 1,
                "data": base64(bytes),
                "timestamp": now(),
            });
            self.lines(&[json!({"logs": [log]}).to_string()]);
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
        let (since, name, began) = self.begun(step);
        self.plain(&[format!("#{step} DONE {since:.1}s"), String::new()]);
        self.json(json!({"event": "done", "step": step, "seconds": since}));
        self.raw(step, &name, json!({"started": began, "completed": now()}));
        if let Some(screen) = &self.screen {
            screen.change(|view, now| view.done(step, now));
        }
    }

    fn failed(&self, step: usize, name: &str, why: &str) {
        self.rest(step);
        let (_, _, began) = self.begun(step);
        self.plain(&[format!("#{step} ERROR: {why}"), String::new()]);
        self.json(json!({"event": "failed", "step": step, "why": why}));
        self.raw(
            step,
            name,
            json!({"started": began, "completed": now(), "error": why}),
        );
        if let Some(screen) = &self.screen {
            screen.failed(step, name);
        }
    }

    fn note(&self, text: &str) {
        match self.form {
            Form::Plain | Form::Live { .. } => self.lines(&[format!("note: {text}")]),
            _ => self.json(json!({"event": "note", "text": text})),
        }
    }
}
