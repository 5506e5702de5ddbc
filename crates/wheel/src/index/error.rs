//! Why an index gave no answer.

use std::fmt;
use std::path::PathBuf;

use coil_fetch::FetchError;

use super::AccessHelp;

/// Why an index gave no answer.
#[derive(Debug)]
pub enum IndexError {
    /// A page could not be fetched.
    Fetch {
        /// Why.
        source: FetchError,
        /// What can be done about it.
        help: AccessHelp,
    },
    /// The index is to have a login always, and there is none.
    NoLogin {
        /// The index, without a login.
        index: String,
        /// The variable that would hold its password.
        variable: Option<String>,
    },
    /// The index that a lock names doesn't know the project.
    NotThere {
        /// The project's normalised name.
        name: String,
        /// The index, without a login.
        index: String,
    },
    /// All files of the version were uploaded too late, or nothing says when.
    TooNew {
        /// The project's normalised name.
        name: String,
        /// The version.
        version: String,
        /// The moment, in UTC.
        cutoff: String,
        /// When it was uploaded, where that is known.
        uploaded: Option<String>,
    },
    /// A page is neither of the known formats.
    Page {
        /// Its address, without a login.
        url: String,
        /// What is wrong with it.
        what: String,
    },
    /// A find-links place could not be read.
    Place {
        /// The place.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// No place knows the project.
    NoProject {
        /// Its normalised name.
        name: String,
        /// The indices that were asked, without logins.
        indices: Vec<String>,
        /// The find-links places that were looked through.
        find_links: Vec<String>,
        /// A project with nearly this name.
        near: Option<String>,
    },
    /// The index knows the project but not this version.
    NoVersion {
        /// The project's normalised name.
        name: String,
        /// The version.
        version: String,
        /// The index.
        index: Option<String>,
        /// The last version on its page.
        last: Option<String>,
    },
}

impl IndexError {
    /// What can be done about it, in one sentence.
    pub fn help(&self) -> String {
        match self {
            IndexError::Fetch { help, .. } => help.0.clone(),
            IndexError::NoLogin { variable, .. } => match variable {
                Some(name) => format!(
                    "set {} and {name}, or give the login in the index's address or in ~/.netrc",
                    name.replace("_PASSWORD", "_USERNAME")
                ),
                None => "give the login in the index's address or in ~/.netrc".to_owned(),
            },
            IndexError::NotThere { .. } => {
                "no other index is asked for it, since any could have another package of this name: lock again"
                    .to_owned()
            }
            IndexError::TooNew { name, .. } => format!(
                "set `exclude-newer` later, or `exclude-newer-package = {{ {name} = false }}` in [tool.uv]"
            ),
            IndexError::NoProject { near: Some(near), .. } => format!("did you mean `{near}`?"),
            IndexError::Page { what, .. } if what.contains("login") => {
                "the index wants a login: give it in the index's address or in ~/.netrc".to_owned()
            }
            IndexError::Page { .. } => "check that the index address ends in /simple or its like".to_owned(),
            IndexError::Place { .. } => "check the find-links setting".to_owned(),
            IndexError::NoProject { .. } => "check the name, and the index settings of pip or uv".to_owned(),
            IndexError::NoVersion { last: Some(last), .. } => format!("the index has {last}; lock again"),
            IndexError::NoVersion { .. } => "lock again".to_owned(),
        }
    }
}

impl fmt::Display for IndexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IndexError::Fetch { .. } => f.write_str("the package index did not answer"),
            IndexError::Page { url, what } => write!(f, "the index page {url} cannot be understood: {what}"),
            IndexError::Place { path, .. } => {
                write!(f, "the find-links place {} cannot be read", path.display())
            }
            IndexError::NoLogin { index, .. } => {
                write!(
                    f,
                    "the index {index} is set to get a login always, and none is known"
                )
            }
            IndexError::NotThere { name, index } => {
                write!(
                    f,
                    "no project `{name}` at {index}, the index that it must come from"
                )
            }
            IndexError::TooNew {
                name,
                version,
                cutoff,
                uploaded,
            } => match uploaded {
                Some(time) => write!(
                    f,
                    "`{name}` {version} was uploaded at {time}, and nothing from {cutoff} on counts (exclude-newer)"
                ),
                None => write!(
                    f,
                    "the index does not say when `{name}` {version} was uploaded, and only what came before {cutoff} counts \
                     (exclude-newer)"
                ),
            },
            IndexError::NoProject {
                name,
                indices,
                find_links,
                ..
            } => {
                let places: Vec<&str> = indices.iter().chain(find_links).map(String::as_str).collect();
                match places.is_empty() {
                    true => write!(
                        f,
                        "`{name}` cannot be looked for: no index and no find-links place is set"
                    ),
                    false => write!(f, "no project `{name}` at {}", places.join(", ")),
                }
            }
            IndexError::NoVersion {
                name, version, index, ..
            } => {
                write!(
                    f,
                    "no version {version} of `{name}` at {}",
                    index.as_deref().unwrap_or("the find-links places")
                )
            }
        }
    }
}

impl std::error::Error for IndexError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            IndexError::Fetch { source, .. } => Some(source),
            IndexError::Place { source, .. } => Some(source),
            _ => None,
        }
    }
}
