//! Why a server would not let us in, as far as the settings explain it.

use coil_fetch::{FetchError, LoginSource};

use super::{Index, IndexClient, IndexError};

/// What can be done about a request that failed, in one sentence that knows which login was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessHelp(pub String);

impl IndexClient<'_> {
    /// What can be done about a request that failed.
    pub(crate) fn help(&self, url: &str, error: &FetchError) -> AccessHelp {
        AccessHelp(match error {
            FetchError::Unauthorized { status: 401 | 403, url: refused } => self.login_help(url, refused),
            FetchError::Tls { .. } if self.settings.is_insecure_host(url) => {
                "coil checks every certificate, and takes no host as trusted without: name the bundle of its authority in \
                 SSL_CERT_FILE"
                    .to_owned()
            }
            other => other.help().to_owned(),
        })
    }

    pub(super) fn failed(&self, url: &str, source: FetchError) -> IndexError {
        let help = self.help(url, &source);
        IndexError::Fetch { source, help }
    }

    fn login_help(&self, url: &str, refused: &str) -> String {
        let bare = super::without_login(url);
        let host = |url: &str| -> String {
            let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
            rest.split('/').next().unwrap_or(rest).to_owned()
        };
        if host(&bare) != host(refused) {
            return format!(
                "{} led on to {}, which gets no login that was meant for another host: give it one in ~/.netrc",
                host(&bare),
                host(refused)
            );
        }
        let index = self.settings.index_of(url);
        let ways = {
            let variable = index.and_then(Index::password_variable);
            let variable = variable.map(|name| {
                let user = name.replace("_PASSWORD", "_USERNAME");
                format!("in {user} and {name}, ")
            });
            format!(
                "{}in the index's address (https://user:password@host/\u{2026}) or in ~/.netrc",
                variable.unwrap_or_default()
            )
        };
        let keyring = match self.settings.keyring() {
            Some(provider) => {
                format!(" (the keyring provider `{provider}` is set, and coil asks no keyring)")
            }
            None => String::new(),
        };
        if index.is_some_and(|index| index.authenticate == super::Authenticate::Never) {
            return "the index is set to get no login (authenticate = \"never\")".to_owned();
        }
        let with = self.settings.with_login(url);
        let tried = match self.settings.login_found_in(url) {
            Some(place) => Some(place),
            None => self.fetcher.login_source(&with).map(|source| match source {
                LoginSource::Address => "the address".to_owned(),
                LoginSource::Netrc => "the netrc file".to_owned(),
            }),
        };
        match tried {
            Some(place) => {
                format!("the login of {place} was not accepted: give another there, or one {ways}{keyring}")
            }
            None => format!("no login is known for {}: give one {ways}{keyring}", host(&bare)),
        }
    }
}

impl Index {
    /// Whether this failure says that the index doesn't know a project.
    pub(super) fn ignores(&self, error: &FetchError) -> bool {
        let status = match error {
            FetchError::Unauthorized { status, .. } | FetchError::Status { status, .. } => *status,
            _ => return false,
        };
        // PyTorch's server answers so to whatever it doesn't have; uv knows that too.
        let pytorch = super::without_login(&self.url)
            .split('/')
            .nth(2)
            .is_some_and(|host| host.ends_with("pytorch.org"));
        self.ignore_error_codes.contains(&status)
            || (pytorch && status == 403 && self.ignore_error_codes.is_empty())
    }
}
