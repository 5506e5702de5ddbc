//! Requests to registries, with whatever login they want.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use coil_fetch::{Answer, Exchange, Fetcher, basic_authorization, percent_encode, redact_url};
use serde::Deserialize;

use crate::challenge::{self, Challenge};
use crate::credentials::{Credentials, Login};
use crate::endpoint::{Endpoint, RegistrySettings};
use crate::error::PullError;

/// A manifest may have 4 MiB, as Docker's registry has it; so may an answer about an error or a token.
const LIMIT: u64 = 4 << 20;
/// Names us to token servers.
const CLIENT: &str = "coil";

/// All registries, as one user reaches them. Tokens are remembered as long as it lives.
pub struct Registries<'a> {
    /// For blobs.
    pub(crate) fetcher: Fetcher,
    /// For all else.
    asking: Fetcher,
    pub(crate) settings: RegistrySettings,
    credentials: &'a dyn Credentials,
    /// By server and repository: the server's challenges, and the `Authorization` that answers them.
    known: Mutex<BTreeMap<String, Known>>,
}

#[derive(Clone)]
struct Known {
    challenges: Vec<Challenge>,
    authorization: String,
    logged_in: bool,
}

#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
}

#[derive(Deserialize)]
struct Errors {
    #[serde(default)]
    errors: Vec<OneError>,
}

#[derive(Deserialize)]
struct OneError {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: Option<String>,
}

impl<'a> Registries<'a> {
    /// A client; nothing is connected or asked yet.
    pub fn new(
        fetcher: &Fetcher,
        settings: RegistrySettings,
        credentials: &'a dyn Credentials,
    ) -> Registries<'a> {
        // Logins of package indices (netrc, addresses) have no business at a registry.
        let fetcher = fetcher.anonymous();
        Registries {
            asking: fetcher.clone(),
            fetcher,
            settings,
            credentials,
            known: Mutex::default(),
        }
    }

    /// The same registries, where there is another way when they don't answer: they get this long for a connection and for each
    /// piece of an answer, and nothing is asked again after it. Layers, once it is known that they are there, have all the time.
    pub fn in_a_hurry(&self, patience: Duration) -> Registries<'a> {
        Registries {
            fetcher: self.fetcher.clone(),
            asking: self.fetcher.in_a_hurry(patience),
            settings: self.settings.clone(),
            credentials: self.credentials,
            known: Mutex::default(),
        }
    }

    fn known(&self, endpoint: &Endpoint) -> Option<Known> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&endpoint.url("")).cloned()
    }

    /// Asks; when the server wants a login, once more with one.
    pub(crate) fn get(
        &self,
        endpoint: &Endpoint,
        path: &str,
        accept: Option<&str>,
    ) -> Result<Answer, PullError> {
        let url = endpoint.url(path);
        let headers: Vec<(&str, &str)> = accept.map(|accept| ("accept", accept)).into_iter().collect();
        let ask = |authorization: Option<&str>| {
            let request = Exchange {
                url: &url,
                headers: &headers,
                authorization,
                form: None,
                limit: LIMIT,
            };
            self.asking.exchange(&request).map_err(PullError::Fetch)
        };
        let known = self.known(endpoint);
        let answer = ask(known.as_ref().map(|known| known.authorization.as_str()))?;
        if answer.status != 401 {
            return Ok(answer);
        }
        let challenges: Vec<Challenge> = answer
            .headers_of("www-authenticate")
            .flat_map(challenge::parse)
            .collect();
        match self.authorise(endpoint, challenges)? {
            Some(authorization) => ask(Some(&authorization)),
            None => Ok(answer),
        }
    }

    /// A client for large blobs: it sends the login that is known, to this server alone.
    pub(crate) fn blob_fetcher(&self, endpoint: &Endpoint) -> Fetcher {
        match self.known(endpoint) {
            Some(known) => self.fetcher.authorized(&endpoint.base, &known.authorization),
            None => self.fetcher.clone(),
        }
    }

    /// Gets a new token after one has run out; false where there was none.
    pub(crate) fn renew(&self, endpoint: &Endpoint) -> Result<bool, PullError> {
        match self.known(endpoint) {
            Some(known) => Ok(self.authorise(endpoint, known.challenges)?.is_some()),
            None => Ok(false),
        }
    }

    /// Answers a server's challenges: by a token, or by the login itself.
    fn authorise(
        &self,
        endpoint: &Endpoint,
        challenges: Vec<Challenge>,
    ) -> Result<Option<String>, PullError> {
        let of = |scheme: &str| challenges.iter().find(|challenge| challenge.scheme == scheme);
        let login = || {
            self.credentials
                .login(&endpoint.name)
                .map_err(PullError::Credentials)
        };
        let (authorization, logged_in) = if let Some(bearer) = of("bearer") {
            let login = login()?;
            match self.token(endpoint, bearer, login.as_ref())? {
                Some(token) => (format!("Bearer {token}"), login.is_some()),
                None => return Ok(None),
            }
        } else if of("basic").is_some() {
            match login()? {
                Some(Login::Password { user, password }) => (basic_authorization(&user, &password), true),
                _ => return Ok(None),
            }
        } else {
            return Ok(None);
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(
            endpoint.url(""),
            Known {
                challenges,
                authorization: authorization.clone(),
                logged_in,
            },
        );
        Ok(Some(authorization))
    }

    /// Asks the token server that a challenge names.
    fn token(
        &self,
        endpoint: &Endpoint,
        bearer: &Challenge,
        login: Option<&Login>,
    ) -> Result<Option<String>, PullError> {
        let Some(realm) = bearer.get("realm") else {
            return Ok(None);
        };
        let realm_is_safe =
            realm.starts_with("https://") || (endpoint.is_plain() && realm.starts_with("http://"));
        if !realm_is_safe && (login.is_some() || !realm.starts_with("http://")) {
            return Err(PullError::Realm {
                registry: endpoint.name.clone(),
                realm: redact_url(realm),
            });
        }
        let own = format!("repository:{}:pull", endpoint.repository);
        let scope = bearer.get("scope").unwrap_or(&own);
        let service = bearer.get("service").unwrap_or_default();
        let answer = if let Some(Login::IdentityToken(token)) = login {
            let form = [
                ("grant_type", "refresh_token"),
                ("service", service),
                ("client_id", CLIENT),
                ("scope", scope),
                ("refresh_token", token),
            ];
            self.asking.exchange(&Exchange {
                url: realm,
                form: Some(&form),
                limit: LIMIT,
                ..Exchange::default()
            })
        } else {
            let mut url = realm.to_owned();
            let mut push = |name: &str, value: &str| {
                url.push(if url.contains('?') { '&' } else { '?' });
                url.push_str(&format!("{name}={}", percent_encode(value)));
            };
            if !service.is_empty() {
                push("service", service);
            }
            for scope in scope.split(' ').filter(|scope| !scope.is_empty()) {
                push("scope", scope);
            }
            let authorization = match login {
                Some(Login::Password { user, password }) => {
                    push("account", user);
                    Some(basic_authorization(user, password))
                }
                _ => None,
            };
            self.asking.exchange(&Exchange {
                url: &url,
                authorization: authorization.as_deref(),
                limit: LIMIT,
                ..Exchange::default()
            })
        };
        let answer = answer.map_err(PullError::Fetch)?;
        match answer.status {
            200 => {}
            401 | 403 => {
                return Err(PullError::Denied {
                    name: format!("{}/{}", endpoint.name, endpoint.repository),
                    registry: endpoint.name.clone(),
                    said: said(&answer, "unauthorized: the login was refused"),
                    logged_in: login.is_some(),
                });
            }
            _ => return Err(self.failure(endpoint, &answer)),
        }
        let token: Option<Token> = serde_json::from_slice(&answer.body).ok();
        let text = token.map(|token| match token.token.is_empty() {
            true => token.access_token,
            false => token.token,
        });
        // A line break would end the header field that it goes into.
        Ok(text.filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())))
    }

    /// Whether a login was sent to a server.
    pub(crate) fn is_logged_in(&self, endpoint: &Endpoint) -> bool {
        self.known(endpoint).is_some_and(|known| known.logged_in)
    }

    /// What an answer without success means, where it is about no manifest in particular.
    pub(crate) fn failure(&self, endpoint: &Endpoint, answer: &Answer) -> PullError {
        if answer.status == 429 {
            return PullError::RateLimit {
                registry: endpoint.name.clone(),
                said: said(answer, "too many requests"),
            };
        }
        PullError::Answer {
            url: redact_url(&answer.url),
            status: answer.status,
            said: said(answer, "no reason given"),
        }
    }
}

/// A registry's own words, as Docker shows them: `manifest unknown: manifest unknown`.
pub(crate) fn said(answer: &Answer, otherwise: &str) -> String {
    let errors: Option<Errors> = serde_json::from_slice(&answer.body).ok();
    let Some(error) = errors.and_then(|errors| errors.errors.into_iter().next()) else {
        return otherwise.to_owned();
    };
    let code = error.code.to_lowercase().replace('_', " ");
    let message = error.message.unwrap_or_else(|| code.clone());
    // It goes to a terminal: no control characters, no endless line.
    let text: String = format!("{code}: {message}")
        .chars()
        .filter(|c| !c.is_control())
        .take(300)
        .collect();
    text.trim_start_matches(": ").to_owned()
}
