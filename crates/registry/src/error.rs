//! Why an image could not be had from a registry.

use std::fmt;
use std::io;

use coil_fetch::FetchError;
use coil_oci::Digest;

use crate::credentials::CredentialError;

/// Why an image could not be had from a registry; no text of it holds a secret.
#[derive(Debug)]
pub enum PullError {
    /// The registry lets nobody in who has no better login, or has no such repository: it doesn't say which.
    Denied {
        /// The image's name without its tag.
        name: String,
        /// The registry.
        registry: String,
        /// What the registry said.
        said: String,
        /// Whether a login was sent.
        logged_in: bool,
    },
    /// The repository has no such tag or digest.
    NotFound {
        /// The image.
        image: String,
        /// What the registry said.
        said: String,
    },
    /// The registry has had enough of us.
    RateLimit {
        /// The registry.
        registry: String,
        /// What it said.
        said: String,
    },
    /// The registry answers with something else than the protocol has.
    Answer {
        /// What was asked.
        url: String,
        /// The status.
        status: u16,
        /// What the registry said.
        said: String,
    },
    /// The manifest is of a kind that has no layers to unpack.
    Kind {
        /// The image.
        image: String,
        /// The media type.
        media_type: String,
    },
    /// The manifest or configuration is no JSON of its kind.
    Malformed {
        /// The image.
        image: String,
        /// What.
        what: String,
        /// The parser's words.
        source: serde_json::Error,
    },
    /// What came is not what the digest names.
    Digest {
        /// What was asked for.
        what: String,
        /// The digest that it should have.
        expected: Digest,
        /// The digest that it has.
        found: Digest,
    },
    /// The index has no image for the platform.
    NoPlatform {
        /// The image.
        image: String,
        /// The platform.
        wanted: String,
        /// What there is.
        found: Vec<String>,
    },
    /// A login is configured and cannot be had.
    Credentials(CredentialError),
    /// The token server that the registry names may not get a password.
    Realm {
        /// The registry.
        registry: String,
        /// The token server.
        realm: String,
    },
    /// There was no answer, or a blob could not be fetched.
    Fetch(FetchError),
    /// A layer or configuration that the manifest names is not there.
    MissingBlob {
        /// The image.
        image: String,
        /// Which.
        digest: Digest,
    },
    /// The store could not be written.
    Store {
        /// What was done.
        doing: String,
        /// The system's error.
        source: io::Error,
    },
}

impl PullError {
    /// What the user can do next.
    pub fn help(&self) -> Option<String> {
        let text = match self {
            PullError::Denied {
                registry, logged_in, ..
            } => {
                let login = match registry.as_str() {
                    "docker.io" => "docker login".to_owned(),
                    other => format!("docker login {other}"),
                };
                return Some(match logged_in {
                    true => format!(
                        "the login in ~/.docker/config.json may not read it: check the name, or `{login}` anew"
                    ),
                    false => format!(
                        "check the name; a private image needs a login, which `{login}` puts into ~/.docker/config.json"
                    ),
                });
            }
            PullError::NotFound { .. } => "check the tag",
            PullError::RateLimit { registry, .. } if registry == "docker.io" => {
                "log in (`docker login`), wait, or name a mirror in COIL_REGISTRY_MIRRORS"
            }
            PullError::RateLimit { .. } => "wait, or log in",
            PullError::Answer { .. } => {
                "check the registry's address; the server may not be a registry, or be in trouble"
            }
            PullError::Kind { media_type, .. } if media_type.contains("manifest.v1+") => {
                "schema 1 is long out of use: push the image again with a current tool"
            }
            PullError::Kind { .. } => "give the name of an image",
            PullError::Malformed { .. } => "push the image again",
            PullError::Digest { .. } => {
                "the image was changed on the registry or on the way: don't use it before you know why"
            }
            PullError::NoPlatform { .. } => "choose one of these with --platform, or another image",
            PullError::Credentials(_) => "mend ~/.docker/config.json, or log in anew",
            PullError::Realm { .. } => "a password goes over https alone: ask whoever runs the registry",
            PullError::MissingBlob { .. } => "the image is not whole on the registry: push it again",
            PullError::Fetch(error) => match error {
                FetchError::Offline { .. } => "pull it once with the network on",
                FetchError::Tls { .. } => {
                    "name its certificate authority in SSL_CERT_FILE; one that speaks plain HTTP belongs into COIL_INSECURE_REGISTRIES"
                }
                other => other.help(),
            },
            PullError::Store { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                "free some space, or choose another place with `--root DIR`"
            }
            PullError::Store { .. } => return None,
        };
        Some(text.to_owned())
    }
}

impl fmt::Display for PullError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PullError::Denied { name, said, .. } => write!(
                f,
                "pull access denied for {name}, repository does not exist or may require 'docker login': {said}"
            ),
            PullError::NotFound { image, said } => write!(f, "manifest for {image} not found: {said}"),
            PullError::RateLimit { registry, said } => {
                write!(f, "{registry} gives no more for now (toomanyrequests): {said}")
            }
            PullError::Answer { url, status, said } => {
                write!(f, "{url} answered with status {status}: {said}")
            }
            PullError::Kind { image, media_type } => {
                write!(
                    f,
                    "{image} is no image that can be unpacked: its type is {media_type}"
                )
            }
            PullError::Malformed { image, what, .. } => write!(f, "the {what} of {image} cannot be read"),
            PullError::Digest {
                what,
                expected,
                found,
            } => {
                write!(
                    f,
                    "{what} is not what it should be: expected {expected}, found {found}"
                )
            }
            PullError::NoPlatform { image, wanted, found } => {
                write!(
                    f,
                    "no matching manifest for {wanted} in the manifest list entries of {image}"
                )?;
                match found.as_slice() {
                    [] => Ok(()),
                    found => write!(f, "; it has {}", found.join(", ")),
                }
            }
            PullError::Credentials(error) => fmt::Display::fmt(error, f),
            PullError::Realm { registry, realm } => {
                write!(
                    f,
                    "{registry} wants the login to be sent to {realm}, which is not safe"
                )
            }
            PullError::MissingBlob { image, digest } => {
                write!(
                    f,
                    "{image} is incomplete on the registry: the blob {digest} is not there"
                )
            }
            PullError::Fetch(error) => fmt::Display::fmt(error, f),
            PullError::Store { doing, .. } => write!(f, "{doing} failed"),
        }
    }
}

impl std::error::Error for PullError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            PullError::Malformed { source, .. } => Some(source),
            PullError::Fetch(error) => error.source(),
            PullError::Store { source, .. } => Some(source),
            _ => None,
        }
    }
}
