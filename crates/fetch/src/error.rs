//! What can go wrong between asking and having.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use coil_oci::Digest;

/// Why a fetch failed; every `url` in it is already free of logins and queries.
#[derive(Debug)]
#[non_exhaustive]
pub enum FetchError {
    /// The network is switched off by the user.
    Offline {
        /// What was wanted.
        url: String,
    },
    /// The text is no http or https URL.
    BadUrl {
        /// The text.
        url: String,
    },
    /// The server says that there is no such thing (404, 410).
    NotFound {
        /// What was wanted.
        url: String,
    },
    /// The server wants a login, or another one (401, 403, 407).
    Unauthorized {
        /// What was wanted.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// Any other status that isn't success.
    Status {
        /// What was wanted.
        url: String,
        /// The HTTP status.
        status: u16,
        /// How long the server asks to wait.
        retry_after: Option<Duration>,
    },
    /// The connection can't be trusted.
    Tls {
        /// What was wanted.
        url: String,
        /// The library's words.
        reason: String,
    },
    /// The host's name is not known.
    Dns {
        /// What was wanted.
        url: String,
        /// The host or the proxy whose name it is.
        host: String,
    },
    /// No connection could be made, or it broke before the answer.
    Connect {
        /// What was wanted.
        url: String,
        /// The system's words.
        reason: String,
    },
    /// Nothing came for too long.
    Timeout {
        /// What was wanted.
        url: String,
    },
    /// Too many redirects, or one that leads nowhere.
    Redirect {
        /// Where it began.
        url: String,
        /// What was wrong.
        reason: String,
    },
    /// The body ended too early, each time it was tried.
    Truncated {
        /// What was wanted.
        url: String,
        /// Bytes that came.
        got: u64,
        /// Bytes that should have come.
        expected: Option<u64>,
    },
    /// The content isn't what it should be.
    HashMismatch {
        /// What was wanted.
        url: String,
        /// The digest that was asked for.
        expected: Digest,
        /// The digest of what came.
        found: Digest,
    },
    /// The content has another size than it should have.
    SizeMismatch {
        /// What was wanted.
        url: String,
        /// Bytes asked for.
        expected: u64,
        /// Bytes that came.
        found: u64,
    },
    /// The body is larger than this kind of thing may be.
    TooLarge {
        /// What was wanted.
        url: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// The answer broke HTTP's rules, or a content encoding's.
    Protocol {
        /// What was wanted.
        url: String,
        /// The library's words.
        reason: String,
    },
    /// A local file could not be written or read.
    Disk {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl FetchError {
    /// What the user can do about it, one line without a full stop; empty where there is nothing to say.
    pub fn help(&self) -> &'static str {
        match self {
            FetchError::Offline { .. } => "run it once without --offline, so that it is kept",
            FetchError::BadUrl { .. } => "give an http:// or https:// URL",
            FetchError::NotFound { .. } => "check the name and the address of the index or mirror",
            FetchError::Unauthorized { status: 407, .. } => {
                "put the login into the proxy's address: HTTPS_PROXY=http://user:password@host:port"
            }
            FetchError::Unauthorized { .. } => {
                "put the login into the URL (https://user:password@host/…) or into ~/.netrc"
            }
            FetchError::Tls { .. } => {
                "if your network has a certificate authority of its own, name its bundle in SSL_CERT_FILE"
            }
            FetchError::Dns { .. } => "check the address, the network and the proxy settings",
            FetchError::Connect { .. } | FetchError::Timeout { .. } => {
                "check the network and the proxy settings (HTTP_PROXY, HTTPS_PROXY, NO_PROXY), then try again"
            }
            FetchError::Status { .. } | FetchError::Truncated { .. } | FetchError::Protocol { .. } => {
                "the server is in trouble: try again later, or use another mirror"
            }
            FetchError::HashMismatch { .. } | FetchError::SizeMismatch { .. } => {
                "the file was changed on the server or on the way: don't use it before you know why"
            }
            FetchError::Disk { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                "make room on the disk, for example with `coil system prune`"
            }
            FetchError::Disk { .. } => "check that the folder can be written",
            FetchError::Redirect { .. } | FetchError::TooLarge { .. } => "check the address",
        }
    }

    /// Whether another try may go better.
    pub fn is_transient(&self) -> bool {
        match self {
            FetchError::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504),
            FetchError::Dns { .. }
            | FetchError::Connect { .. }
            | FetchError::Timeout { .. }
            | FetchError::Truncated { .. } => true,
            _ => false,
        }
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FetchError::Offline { url } => {
                write!(f, "{url} is not kept here, and the network is switched off")
            }
            FetchError::BadUrl { url } => write!(f, "`{url}` is not a URL that can be fetched"),
            FetchError::NotFound { url } => write!(f, "{url} does not exist (404)"),
            FetchError::Unauthorized { url, status: 407 } => {
                write!(f, "the proxy wants a login before it reaches {url} (407)")
            }
            FetchError::Unauthorized { url, status: 403 } => write!(f, "{url} is forbidden (403)"),
            FetchError::Unauthorized { url, status } => write!(f, "{url} wants a login ({status})"),
            FetchError::Status { url, status, .. } => write!(f, "{url} answered with status {status}"),
            FetchError::Tls { url, reason } => write!(f, "no trusted connection to {url}: {reason}"),
            FetchError::Dns { url, host } => write!(f, "no address is known for the host `{host}` of {url}"),
            FetchError::Connect { url, reason } => write!(f, "no connection to {url}: {reason}"),
            FetchError::Timeout { url } => write!(f, "{url} did not answer in time"),
            FetchError::Redirect { url, reason } => write!(f, "{url} leads on to nowhere: {reason}"),
            FetchError::Truncated {
                url,
                got,
                expected: Some(expected),
            } => {
                write!(f, "{url} was cut off after {got} of {expected} bytes")
            }
            FetchError::Truncated {
                url,
                got,
                expected: None,
            } => write!(f, "{url} was cut off after {got} bytes"),
            FetchError::HashMismatch { url, expected, found } => {
                write!(
                    f,
                    "{url} is not what it should be: expected {expected}, found {found}"
                )
            }
            FetchError::SizeMismatch { url, expected, found } => {
                write!(
                    f,
                    "{url} is not what it should be: expected {expected} bytes, found {found}"
                )
            }
            FetchError::TooLarge { url, limit } => write!(f, "{url} is larger than {limit} bytes"),
            FetchError::Protocol { url, reason } => write!(f, "{url} sent a broken answer: {reason}"),
            FetchError::Disk { path, .. } => write!(f, "cannot write {}", path.display()),
        }
    }
}

impl std::error::Error for FetchError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            FetchError::Disk { source, .. } => Some(source),
            _ => None,
        }
    }
}
