//! Why an index gave no answer.

use std::fmt;
use std::path::PathBuf;

use coil_fetch::FetchError;

/// Why an index gave no answer.
#[derive(Debug)]
pub enum IndexError {
    /// A page could not be fetched.
    Fetch {
        /// Why.
        source: FetchError,
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
            IndexError::Fetch { source } => source.help().to_owned(),
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
            IndexError::NoProject {
                name,
                indices,
                find_links,
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
            IndexError::Fetch { source } => Some(source),
            IndexError::Place { source, .. } => Some(source),
            _ => None,
        }
    }
}
