//! The suites that have a Python, and which one a project gets.

/// A suite of Debian's and the Python it brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suite {
    /// The codename.
    pub name: &'static str,
    /// Its Python, major and minor number.
    pub python: &'static str,
    /// Whether it has `-updates` and `-security`.
    pub released: bool,
}

/// All suites, the preferred first: the current stable one, then the one before, then the one in the making.
pub const ALL: [Suite; 3] = [
    Suite {
        name: "trixie",
        python: "3.13",
        released: true,
    },
    Suite {
        name: "bookworm",
        python: "3.11",
        released: true,
    },
    Suite {
        name: "sid",
        python: "3.14",
        released: false,
    },
];

/// No suite has a Python that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoPython {
    /// What was wanted, as the user wrote it.
    pub wanted: String,
}

impl NoPython {
    /// What the user can do about it.
    pub fn help(&self) -> String {
        let pythons: Vec<_> = by_age().map(|suite| suite.python).collect();
        format!(
            "ask for Python {} in requires-python or with --python",
            pythons.join(", ")
        )
    }
}

impl std::fmt::Display for NoPython {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut suites = by_age();
        write!(f, "no Debian suite has Python {}", self.wanted)?;
        if let Some(first) = suites.next() {
            write!(f, ": {} has {}", first.name, first.python)?;
        }
        for suite in suites {
            write!(f, ", {} {}", suite.name, suite.python)?;
        }
        Ok(())
    }
}

impl std::error::Error for NoPython {}

fn by_age() -> impl Iterator<Item = Suite> {
    let mut suites = ALL;
    suites.sort_by_key(|suite| suite.python);
    suites.into_iter()
}

/// Suites that packages can be added from, though no base is made of them.
const OTHERS: [Suite; 2] = [
    Suite {
        name: "bullseye",
        python: "3.9",
        released: true,
    },
    Suite {
        name: "forky",
        python: "3.14",
        released: false,
    },
];

impl Suite {
    /// The suite of a codename, of those that packages can be added from.
    pub(crate) fn any(name: &str) -> Option<Suite> {
        ALL.into_iter().chain(OTHERS).find(|suite| suite.name == name)
    }

    /// The suite of a codename.
    pub fn named(name: &str) -> Option<Suite> {
        ALL.into_iter().find(|suite| suite.name == name)
    }

    /// The first suite whose Python (`3.13`) is accepted; `wanted` is what the error calls it.
    ///
    /// # Errors
    /// When none is.
    pub fn for_python(wanted: &str, accepts: &dyn Fn(&str) -> bool) -> Result<Suite, NoPython> {
        ALL.into_iter()
            .find(|suite| accepts(suite.python))
            .ok_or_else(|| NoPython {
                wanted: wanted.to_string(),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_current_stable_first_and_an_error_that_lists_all() {
        assert_eq!(Suite::for_python(">=3.9", &|_| true).unwrap().name, "trixie");
        assert_eq!(
            Suite::for_python("3.11", &|python| python == "3.11")
                .unwrap()
                .name,
            "bookworm"
        );
        let error = Suite::for_python("3.12", &|python| python == "3.12").unwrap_err();
        assert_eq!(
            error.to_string(),
            "no Debian suite has Python 3.12: bookworm has 3.11, trixie 3.13, sid 3.14"
        );
    }
}
