//! What this machine can do for containers: facts for `coil doctor`, tried where trying is the only way to know.

mod network;
mod privileges;
mod system;

use std::path::PathBuf;

/// Whether something works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    /// It does.
    Yes,
    /// It does in part, or in another way.
    Partly,
    /// It doesn't.
    No,
}

/// One thing that containers need or like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// What it is, such as `user namespaces`.
    pub name: &'static str,
    /// Whether it works.
    pub ok: Answer,
    /// What was found.
    pub detail: String,
    /// What doesn't work without it; empty when all is well.
    pub consequence: String,
    /// What the user can do; empty when all is well or nothing can be done.
    pub remedy: String,
}

impl Fact {
    fn yes(name: &'static str, detail: impl Into<String>) -> Self {
        Self {
            name,
            ok: Answer::Yes,
            detail: detail.into(),
            consequence: String::new(),
            remedy: String::new(),
        }
    }

    fn no(name: &'static str, detail: impl Into<String>, consequence: &str, remedy: &str) -> Self {
        Self {
            name,
            ok: Answer::No,
            detail: detail.into(),
            consequence: consequence.to_owned(),
            remedy: remedy.to_owned(),
        }
    }

    fn partly(name: &'static str, detail: impl Into<String>, consequence: &str, remedy: &str) -> Self {
        Self {
            ok: Answer::Partly,
            ..Self::no(name, detail, consequence, remedy)
        }
    }
}

/// What the probe is told, since nothing below the command line reads the environment.
#[derive(Clone, Debug)]
pub struct ProbeSettings {
    /// Where programs are looked for: the parts of PATH.
    pub search_path: Vec<PathBuf>,
    /// The user's name, for the ranges of subordinate ids.
    pub user_name: Option<String>,
    /// The data root: its disk is measured (the nearest directory that exists).
    pub data_root: PathBuf,
    /// An existing directory in which an empty one may be made for a moment, such as the one for temporary files.
    pub scratch: PathBuf,
}

/// Finds out all facts, in the order to show them; takes some milliseconds and leaves nothing behind.
pub fn facts(settings: &ProbeSettings) -> Vec<Fact> {
    let root = coil_sys::process::effective_uid() == 0;
    let mut facts = system::facts(settings);
    facts.extend(privileges::facts(settings, root));
    facts.extend(network::facts(root));
    facts
}
