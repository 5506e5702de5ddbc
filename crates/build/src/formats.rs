//! Which packages are built from their sources even where a wheel fits, and which are never built.

use std::collections::BTreeSet;

use coil_python::IndexOptions;
use coil_python::uv_settings::UvSettings;
use coil_wheel::filename::normalise;
use serde::{Deserialize, Serialize};

use crate::error::PackError;
use crate::request::FormatWish;

/// pip's word for every package.
const ALL: &str = ":all:";
/// pip's word that takes back what was said before.
const NONE: &str = ":none:";

/// What was said of formats; what is said later wins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Formats {
    sources: BTreeSet<String>,
    wheels: BTreeSet<String>,
    /// Who said last that packages are not built, for people.
    said: String,
}

impl Formats {
    /// `[tool.uv]` or `uv.toml`.
    pub(crate) fn uv(&mut self, uv: &UvSettings, found_in: &str) {
        // What is said of one package wins over what is said of all.
        let (all, some): (Vec<_>, Vec<_>) = uv
            .resolution
            .iter()
            .partition(|(key, _)| !key.ends_with("-package"));
        for (key, value) in all.into_iter().chain(some) {
            let names = || serde_json::from_str::<Vec<String>>(value).unwrap_or_default();
            match (key.as_str(), value.as_str()) {
                ("no-binary", "true") => self.no_binary(&[ALL.to_owned()]),
                ("no-binary-package", _) => self.no_binary(&names()),
                ("no-build", "true") => {
                    self.only_binary(&[ALL.to_owned()], &format!("no-build in {found_in}"))
                }
                ("no-build-package", _) => {
                    self.only_binary(&names(), &format!("no-build-package in {found_in}"))
                }
                _ => {}
            }
        }
    }

    /// What the machine or its user says, the weightier later.
    pub(crate) fn wishes(&mut self, wishes: &[FormatWish]) {
        for wish in wishes {
            match wish.wheels {
                true => self.only_binary(&wish.names, &wish.said),
                false => self.no_binary(&wish.names),
            }
        }
    }

    /// The options of a requirements file.
    pub(crate) fn requirements(&mut self, options: &IndexOptions, file: &str) {
        self.only_binary(&options.only_binary, &format!("--only-binary in {file}"));
        self.no_binary(&options.no_binary);
    }

    /// `--no-binary`.
    pub(crate) fn no_binary(&mut self, names: &[String]) {
        let (sources, wheels) = (&mut self.sources, &mut self.wheels);
        names.iter().for_each(|name| say(name, sources, wheels));
    }

    /// `--only-binary`.
    pub(crate) fn only_binary(&mut self, names: &[String], said: &str) {
        if !names.is_empty() {
            said.clone_into(&mut self.said);
        }
        let (sources, wheels) = (&mut self.sources, &mut self.wheels);
        names.iter().for_each(|name| say(name, wheels, sources));
    }

    /// Whether a package is built even where a wheel fits.
    pub(crate) fn builds(&self, name: &str) -> bool {
        self.sources.contains(name) || (self.sources.contains(ALL) && !self.wheels.contains(name))
    }

    /// Whether a package may be built.
    pub(crate) fn allows_build(&self, name: &str) -> bool {
        !self.wheels.contains(name) && (!self.wheels.contains(ALL) || self.sources.contains(name))
    }

    /// The same, as an error that says who forbids it.
    pub(crate) fn may_build(&self, name: &str) -> Result<(), PackError> {
        if self.allows_build(name) {
            return Ok(());
        }
        Err(PackError::Setting {
            message: format!(
                "{name} has no wheel that fits, and must not be built: {}",
                self.said
            ),
            help: Some("choose a version that has a wheel, or let this package be built".into()),
        })
    }
}

/// Adds a name to one side and takes it from the other, as pip's format control does.
fn say(name: &str, to: &mut BTreeSet<String>, from: &mut BTreeSet<String>) {
    match name {
        ALL => {
            to.clear();
            from.clear();
            to.insert(ALL.to_owned());
        }
        NONE => to.clear(),
        name => {
            let name = normalise(name);
            from.remove(&name);
            to.insert(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn the_machine_says_it_first() {
        let wish = |wheels, names: &str| FormatWish {
            wheels,
            names: words(names),
            said: "PIP_ONLY_BINARY".into(),
        };
        let mut formats = Formats::default();
        formats.wishes(&[wish(true, ":all:"), wish(false, "lxml")]);
        assert!(!formats.allows_build("docopt") && formats.builds("lxml"));
        formats.no_binary(&words("docopt"));
        formats.only_binary(&words("lxml"), "a flag");
        assert!(formats.builds("docopt") && !formats.builds("lxml"));
    }

    #[test]
    fn what_is_said_later_wins() {
        let mut formats = Formats::default();
        formats.only_binary(&words(":all:"), "a file");
        assert!(!formats.allows_build("docopt") && !formats.builds("docopt"));
        formats.no_binary(&words("DocOpt lxml"));
        assert!(formats.allows_build("docopt") && formats.builds("docopt"));
        formats.only_binary(&words("docopt"), "a flag");
        assert!(!formats.allows_build("docopt") && formats.builds("lxml"));
        formats.no_binary(&words(":none:"));
        assert!(!formats.builds("lxml") && !formats.allows_build("lxml"));
        formats.no_binary(&words(":all:"));
        assert!(formats.builds("anything"));
        formats.only_binary(&words("numpy"), "a flag");
        assert!(!formats.builds("numpy") && formats.builds("lxml"));
    }

    #[test]
    fn uv_has_words_of_its_own() {
        let pyproject = "[tool.uv]\nno-build = true\nno-binary-package = [\"lxml\"]\n";
        let uv = coil_python::PyProject::parse("pyproject.toml", pyproject)
            .unwrap()
            .uv;
        let mut formats = Formats::default();
        formats.uv(&uv, "pyproject.toml");
        assert!(formats.builds("lxml") && formats.allows_build("lxml"));
        let error = formats.may_build("docopt").unwrap_err();
        assert_eq!(
            error.to_string(),
            "docopt has no wheel that fits, and must not be built: no-build in pyproject.toml"
        );
    }
}
