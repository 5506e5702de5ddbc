//! Which Python a project gets, of those that a base can be made with.

use std::fmt;

use pep440_rs::{Version, VersionSpecifiers};
use serde::Serialize;

use crate::diagnostic::{Diagnostic, Problem, near_miss};
use crate::target::PythonVersion;

/// A Python that a suite has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AvailablePython {
    /// The minor version, `3.13`.
    pub minor: String,
    /// The suite that has it, `trixie`.
    pub suite: String,
}

/// The Pythons of Debian's suites, the preferred one first.
///
/// The current stable release comes first, then the one before, and the moving one last.
pub fn debian_pythons() -> Vec<AvailablePython> {
    [("3.13", "trixie"), ("3.11", "bookworm"), ("3.14", "sid")]
        .into_iter()
        .map(|(minor, suite)| AvailablePython {
            minor: minor.to_owned(),
            suite: suite.to_owned(),
        })
        .collect()
}

/// Something that has a say in the choice, with where it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PythonWish {
    /// A version asked for: `3.13`, `3.13.5` or `>=3.12`.
    Explicit {
        /// The text.
        text: String,
        /// `--python`, `pyproject.toml:12`, `.python-version`.
        found_in: String,
    },
    /// What the project or its lock allows.
    Requires {
        /// The specifiers.
        specifiers: VersionSpecifiers,
        /// `pyproject.toml line 5`, `uv.lock`.
        found_in: String,
    },
}

/// The chosen Python and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PythonChoice {
    /// The minor version, `3.13`.
    pub minor: String,
    /// The suite that has it.
    pub suite: String,
    /// Why it was chosen, in a few words.
    pub reason: String,
}

impl fmt::Display for PythonChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Python {} ({}; {})", self.minor, self.suite, self.reason)
    }
}

/// Chooses among what is available, the preferred first.
///
/// Of several explicit wishes the first one counts (give `--python` before `[tool.coil] python` before
/// `.python-version`); all requirements count. Fails with the list of what there is.
pub fn choose_python(
    available: &[AvailablePython],
    wishes: &[PythonWish],
) -> Result<PythonChoice, Diagnostic> {
    let explicit = wishes.iter().find_map(|wish| match wish {
        PythonWish::Explicit { text, found_in } => Some((text.trim(), found_in.as_str())),
        PythonWish::Requires { .. } => None,
    });
    let mut candidates: Vec<&AvailablePython> = available.iter().collect();
    let mut reason = "no requirement, so the preferred one".to_owned();
    if let Some((text, found_in)) = explicit {
        candidates.retain(|python| explicit_fits(text, &python.minor));
        if candidates.is_empty() {
            return Err(missing(available, text, found_in));
        }
        reason = format!("{found_in} asks for {text}");
    }
    for wish in wishes {
        let PythonWish::Requires { specifiers, found_in } = wish else {
            continue;
        };
        candidates.retain(|python| minor_fits(specifiers, &python.minor));
        if candidates.is_empty() {
            let error = Diagnostic::new(
                Problem::NoPython,
                match explicit {
                    Some((text, place)) => {
                        format!("{place} asks for Python {text}, and {found_in} allows only {specifiers}")
                    }
                    None => format!("no Debian suite has a Python that {found_in} allows: {specifiers}"),
                },
            );
            let others: Vec<&AvailablePython> = available
                .iter()
                .filter(|python| minor_fits(specifiers, &python.minor))
                .collect();
            return Err(match others.first() {
                Some(fits) if explicit.is_some() => error.note(inventory(available)).help(format!(
                    "Python {} is allowed; ask for it, or leave the choice to coil",
                    fits.minor
                )),
                _ => error
                    .note(inventory(available))
                    .help("change `requires-python`, or give an image that has the Python with --base"),
            });
        }
        if explicit.is_none() {
            reason = format!("{found_in} allows {specifiers}");
        }
    }
    let chosen = candidates
        .first()
        .ok_or_else(|| Diagnostic::new(Problem::NoPython, "no Python is available"))?;
    Ok(PythonChoice {
        minor: chosen.minor.clone(),
        suite: chosen.suite.clone(),
        reason,
    })
}

/// The wish that one exact Python does not fulfil; none where it fulfils all.
///
/// Of several explicit wishes the first one counts, as for [`choose_python`], and of an exact one the minor version alone.
pub fn unfulfilled_wish(python: PythonVersion, wishes: &[PythonWish]) -> Option<&PythonWish> {
    let minor = python.minor_text();
    let full = python.to_pep440();
    let explicit = wishes
        .iter()
        .find(|wish| matches!(wish, PythonWish::Explicit { .. }));
    let requires = wishes
        .iter()
        .filter(|wish| matches!(wish, PythonWish::Requires { .. }));
    explicit.into_iter().chain(requires).find(|wish| match wish {
        PythonWish::Explicit { text, .. } => !explicit_fits(text.trim(), &minor),
        PythonWish::Requires { specifiers, .. } => !specifiers.contains(&full),
    })
}

/// The wish that a `.python-version` file makes: its first line that says something.
pub fn python_version_file(text: &str) -> Option<PythonWish> {
    let line = text
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with('#'))?;
    // pyenv's and uv's other spellings: a name of a virtual environment or an interpreter's path says nothing here.
    let version = line
        .strip_prefix("cpython-")
        .or_else(|| line.strip_prefix("cpython@"))
        .or_else(|| line.strip_prefix("python-"))
        .or_else(|| line.strip_prefix("python"))
        .unwrap_or(line);
    version
        .starts_with(|c: char| c.is_ascii_digit() || "<>=!~".contains(c))
        .then(|| PythonWish::Explicit {
            text: version.to_owned(),
            found_in: ".python-version".to_owned(),
        })
}

fn explicit_fits(text: &str, minor: &str) -> bool {
    if text.starts_with(|c: char| "<>=!~".contains(c)) {
        return text
            .parse::<VersionSpecifiers>()
            .is_ok_and(|specifiers| minor_fits(&specifiers, minor));
    }
    // An exact patch can't be promised: the suite's own of the same minor is taken.
    let parts: Vec<&str> = text.split('.').collect();
    let ours: Vec<&str> = minor.split('.').collect();
    match parts[..] {
        [major] => ours.first() == Some(&major),
        [major, minor, ..] => ours == [major, minor],
        [] => false,
    }
}

/// Whether some patch of a minor version is allowed.
///
/// The patch isn't known yet, so the lowest and a high one are tried: `>=3.11.4` and `<3.13.2` both mean the minor.
fn minor_fits(specifiers: &VersionSpecifiers, minor: &str) -> bool {
    (0..=40).any(|patch| {
        format!("{minor}.{patch}")
            .parse::<Version>()
            .is_ok_and(|version| specifiers.contains(&version))
    })
}

fn inventory(available: &[AvailablePython]) -> String {
    let mut list: Vec<String> = available
        .iter()
        .map(|python| format!("{} ({})", python.minor, python.suite))
        .collect();
    list.sort();
    format!("there are {}", list.join(", "))
}

fn missing(available: &[AvailablePython], text: &str, found_in: &str) -> Diagnostic {
    let error = Diagnostic::new(
        Problem::NoPython,
        format!("no Debian suite has Python {text}, which {found_in} asks for"),
    )
    .note(inventory(available));
    match near_miss(text, available.iter().map(|python| python.minor.as_str())) {
        Some(near) if text.contains('.') && !text.starts_with(|c: char| "<>=".contains(c)) => error.help(
            format!("ask for {near}, or give an image that has Python {text} with --base"),
        ),
        _ => error.help("ask for one of these, or give an image that has the Python with --base"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explicit(text: &str, found_in: &str) -> PythonWish {
        PythonWish::Explicit {
            text: text.to_owned(),
            found_in: found_in.to_owned(),
        }
    }

    fn requires(text: &str) -> PythonWish {
        PythonWish::Requires {
            specifiers: text.parse().expect("specifiers"),
            found_in: "pyproject.toml line 3".to_owned(),
        }
    }

    #[test]
    fn the_choice() {
        for (wishes, expected) in [
            (vec![], "3.13"),
            (vec![requires(">=3.11")], "3.13"),
            (vec![requires(">=3.11,<3.13")], "3.11"),
            (vec![requires(">=3.14")], "3.14"),
            (vec![requires(">=3.9"), requires("<3.12")], "3.11"),
            (vec![requires("==3.13.*")], "3.13"),
            (vec![requires(">=3.13.4")], "3.13"),
            (
                vec![explicit("3.11", "--python"), explicit("3.14", ".python-version")],
                "3.11",
            ),
            (vec![explicit("3.14.1", "--python"), requires(">=3.9")], "3.14"),
            (vec![explicit("3", "--python")], "3.13"),
            (vec![explicit("<3.13", "--python")], "3.11"),
        ] {
            let choice = choose_python(&debian_pythons(), &wishes).expect("one fits");
            assert_eq!(choice.minor, expected, "{wishes:?}");
        }
    }

    #[test]
    fn an_exact_python_fulfils_or_not() {
        let python = PythonVersion::new(3, 11, 2);
        let wishes = [
            explicit("3.11.9", "--python"),
            explicit("3.14", ".python-version"),
            requires(">=3.9"),
        ];
        assert_eq!(unfulfilled_wish(python, &wishes), None);
        let newer = [requires(">=3.11.4")];
        assert_eq!(unfulfilled_wish(python, &newer), Some(&newer[0]));
        let other = [explicit("3.12", "--python")];
        assert_eq!(unfulfilled_wish(python, &other), Some(&other[0]));
    }

    #[test]
    fn what_there_is_is_listed() {
        for (wishes, expected) in [
            (
                vec![explicit("3.12", "--python")],
                "error: no Debian suite has Python 3.12, which --python asks for\n\
                 note: there are 3.11 (bookworm), 3.13 (trixie), 3.14 (sid)\n\
                 help: ask for 3.11, or give an image that has Python 3.12 with --base",
            ),
            (
                vec![requires("==3.12.*")],
                "error: no Debian suite has a Python that pyproject.toml line 3 allows: ==3.12.*\n\
                 note: there are 3.11 (bookworm), 3.13 (trixie), 3.14 (sid)\n\
                 help: change `requires-python`, or give an image that has the Python with --base",
            ),
            (
                vec![explicit("3.11", "--python"), requires(">=3.13")],
                "error: --python asks for Python 3.11, and pyproject.toml line 3 allows only >=3.13\n\
                 note: there are 3.11 (bookworm), 3.13 (trixie), 3.14 (sid)\n\
                 help: Python 3.13 is allowed; ask for it, or leave the choice to coil",
            ),
        ] {
            let error = choose_python(&debian_pythons(), &wishes).expect_err("none fits");
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn version_files() {
        for (text, expected) in [
            ("3.11\n", Some("3.11")),
            ("# comment\n\ncpython-3.13.1\n", Some("3.13.1")),
            ("myenv\n", None),
            ("", None),
        ] {
            let wish = python_version_file(text);
            let found = wish.as_ref().map(|wish| match wish {
                PythonWish::Explicit { text, .. } => text.as_str(),
                PythonWish::Requires { .. } => "",
            });
            assert_eq!(found, expected, "{text:?}");
        }
    }
}
