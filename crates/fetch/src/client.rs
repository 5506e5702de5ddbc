//! Requests for what fits in memory, and the rules that all requests share.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ureq::Body;
use ureq::http::Response;

use crate::address::{Address, Credentials, redact_url};
use crate::agents::Agents;
use crate::error::FetchError;
use crate::netrc::NetrcEntry;

/// The most that [`Fetcher::get`] takes in, in bytes.
const PAGE_LIMIT: u64 = 512 << 20;
pub(crate) const MAX_REDIRECTS: usize = 10;
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How to reach the network.
#[derive(Clone)]
pub struct FetchSettings {
    /// A bundle of certificate authorities (`SSL_CERT_FILE`), in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// A folder of certificate authorities (`SSL_CERT_DIR`), named by hash as OpenSSL does.
    pub ca_dir: Option<PathBuf>,
    /// The proxy for http URLs.
    pub http_proxy: Option<String>,
    /// The proxy for https URLs.
    pub https_proxy: Option<String>,
    /// Hosts reached without a proxy, separated by commas.
    pub no_proxy: Option<String>,
    /// Logins by host.
    pub netrc: Vec<NetrcEntry>,
    /// Never reach out: every request is [`FetchError::Offline`].
    pub offline: bool,
    /// How often to try again what may pass by itself.
    pub retries: u32,
    /// How long to wait for a connection, and for each next piece of an answer.
    pub timeout: Duration,
}

impl Default for FetchSettings {
    fn default() -> Self {
        FetchSettings {
            ca_file: None,
            ca_dir: None,
            http_proxy: None,
            https_proxy: None,
            no_proxy: None,
            netrc: Vec::new(),
            offline: false,
            retries: 4,
            timeout: Duration::from_secs(30),
        }
    }
}

/// The HTTP client; clones share connections and what is known of the hosts.
#[derive(Clone)]
pub struct Fetcher {
    pub(crate) inner: Arc<Inner>,
    anonymous: bool,
    /// The one origin that gets an `Authorization`, and its value.
    fixed: Option<Arc<(String, String)>>,
}

/// Where a login was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginSource {
    /// In the address itself, or in one for the same server that was used before.
    Address,
    /// In the netrc file.
    Netrc,
}

pub(crate) struct Inner {
    pub(crate) settings: FetchSettings,
    first_pause: Duration,
    /// How long a request may take with all its tries; none where only their number counts.
    pub(crate) patience: Option<Duration>,
    pub(crate) agents: Agents,
    /// Logins that stood in a URL, by origin.
    logins: Mutex<BTreeMap<String, Credentials>>,
}

impl std::fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fetcher")
    }
}

/// A body in memory, with what the server said about it.
#[derive(Debug, Clone)]
pub struct Page {
    /// Where it was found after all redirects, without a login; relative links in it start here.
    pub url: String,
    /// The `Content-Type`, empty where there was none.
    pub content_type: String,
    /// The content, with any content encoding undone.
    pub body: Vec<u8>,
    /// The `ETag`, as the server wrote it.
    pub etag: Option<String>,
    /// The `Last-Modified` date, as the server wrote it.
    pub last_modified: Option<String>,
}

impl Fetcher {
    /// Makes a client; nothing is read or connected before the first request.
    pub fn new(settings: FetchSettings) -> Fetcher {
        Fetcher {
            inner: Arc::new(Inner {
                settings,
                first_pause: Duration::from_millis(250),
                patience: None,
                agents: Agents::default(),
                logins: Mutex::new(BTreeMap::new()),
            }),
            anonymous: false,
            fixed: None,
        }
    }

    /// The same client, which never logs in anywhere.
    pub fn anonymous(&self) -> Fetcher {
        Fetcher {
            inner: self.inner.clone(),
            anonymous: true,
            fixed: None,
        }
    }

    /// The same client, which sends this `Authorization` to the server of `url`, and none to any other.
    pub fn authorized(&self, url: &str, authorization: &str) -> Fetcher {
        let origin = Address::parse(url).map(|address| address.origin());
        Fetcher {
            fixed: origin.map(|origin| Arc::new((origin, authorization.to_owned()))),
            ..self.anonymous()
        }
    }

    /// Which login a request to this address would have; none where there is none.
    pub fn login_source(&self, url: &str) -> Option<LoginSource> {
        let address = Address::parse(url).filter(|_| !self.anonymous)?;
        let logins = self.inner.logins.lock().unwrap_or_else(PoisonError::into_inner);
        if address.credentials.is_some() || logins.contains_key(&address.origin()) {
            return Some(LoginSource::Address);
        }
        self.netrc_entry(&address).map(|_| LoginSource::Netrc)
    }

    /// The same client with another first pause before it tries again; each next pause is twice as long.
    pub fn with_first_pause(self, first_pause: Duration) -> Fetcher {
        let mut fetcher = Fetcher::new(self.inner.settings.clone());
        if let Some(inner) = Arc::get_mut(&mut fetcher.inner) {
            inner.first_pause = first_pause;
        }
        fetcher
    }

    /// The same client for questions whose answer is not waited for: a server that doesn't answer in this time is given up.
    ///
    /// It counts for finding the address, for the connection and for each next piece of an answer, and nothing is tried again once
    /// it has passed. Connections and what is known of hosts aren't shared with the client that it is made from.
    pub fn in_a_hurry(&self, patience: Duration) -> Fetcher {
        let mut settings = self.inner.settings.clone();
        settings.timeout = settings.timeout.min(patience);
        let mut fetcher = Fetcher::new(settings);
        if let Some(inner) = Arc::get_mut(&mut fetcher.inner) {
            inner.patience = Some(patience);
            inner.first_pause = self.inner.first_pause;
        }
        fetcher.anonymous = self.anonymous;
        fetcher.fixed = self.fixed.clone();
        fetcher
    }

    /// Whether the user switched the network off.
    pub fn is_offline(&self) -> bool {
        self.inner.settings.offline
    }

    /// Fetches a page into memory.
    pub fn get(&self, url: &str, accept: Option<&str>) -> Result<Page, FetchError> {
        match self.get_if_changed(url, accept, None, None)? {
            Some(page) => Ok(page),
            None => Err(FetchError::Status {
                url: redact_url(url),
                status: 304,
                retry_after: None,
            }),
        }
    }

    /// Fetches a page unless it is still what the validators of an earlier one say; then `None`.
    pub fn get_if_changed(
        &self,
        url: &str,
        accept: Option<&str>,
        etag: Option<&str>,
        last_modified: Option<&str>,
    ) -> Result<Option<Page>, FetchError> {
        let mut headers = vec![("accept-encoding", "gzip")];
        headers.extend(accept.map(|value| ("accept", value)));
        headers.extend(etag.map(|value| ("if-none-match", value)));
        headers.extend(last_modified.map(|value| ("if-modified-since", value)));
        self.with_retries(|| {
            let (response, address) = self.send(url, &headers)?;
            if response.status() == 304 {
                return Ok(None);
            }
            let header = |name: &str| {
                response
                    .headers()
                    .get(name)
                    .and_then(|value| value.to_str().ok())
                    .map(str::to_string)
            };
            let (etag, last_modified) = (header("etag"), header("last-modified"));
            let content_type = header("content-type").unwrap_or_default();
            let gzip =
                header("content-encoding").is_some_and(|value| matches!(value.trim(), "gzip" | "x-gzip"));
            let body = read_body(response, url, gzip, PAGE_LIMIT)?;
            Ok(Some(Page {
                url: address.bare(),
                content_type,
                body,
                etag,
                last_modified,
            }))
        })
    }

    /// Fetches the bytes from `start` up to, but without, `end`; `None` where the server has no ranges.
    ///
    /// The answer is shorter when the file ends before `end`.
    pub fn range(&self, url: &str, start: u64, end: u64) -> Result<Option<Vec<u8>>, FetchError> {
        if end <= start {
            return Ok(Some(Vec::new()));
        }
        let range = format!("bytes={start}-{}", end - 1);
        self.with_retries(|| {
            let (response, _) = self.send(url, &[("accept-encoding", "identity"), ("range", &range)])?;
            if response.status() != 206 {
                return Ok(None);
            }
            match content_range_start(&response) {
                Some(at) if at == start => Ok(Some(read_body(response, url, false, end - start)?)),
                _ => Ok(None),
            }
        })
    }

    /// Runs one try after another, as long as the error may pass by itself.
    pub(crate) fn with_retries<T>(
        &self,
        mut attempt: impl FnMut() -> Result<T, FetchError>,
    ) -> Result<T, FetchError> {
        let mut tries = 0;
        let begun = Instant::now();
        loop {
            let error = match attempt() {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let most = match &error {
                // Who has no address now seldom has one in a second.
                FetchError::Dns { .. } => self.inner.settings.retries.min(1),
                _ => self.inner.settings.retries,
            };
            if tries >= most || !error.is_transient() {
                return Err(error);
            }
            let asked = match &error {
                FetchError::Status { retry_after, .. } => *retry_after,
                _ => None,
            };
            let pause = asked.unwrap_or_else(|| self.inner.first_pause.saturating_mul(1 << tries.min(10)));
            let pause = pause.min(LONGEST_PAUSE);
            let patience = self.inner.patience;
            if patience.is_some_and(|patience| begun.elapsed() + pause >= patience) {
                return Err(error);
            }
            std::thread::sleep(pause);
            tries += 1;
        }
    }

    /// Sends one GET and follows redirects; the answer's status is 200, 206 or 304.
    pub(crate) fn send(
        &self,
        url: &str,
        headers: &[(&str, &str)],
    ) -> Result<(Response<Body>, Address), FetchError> {
        let shown = || redact_url(url);
        let mut address = Address::parse(url).ok_or_else(|| FetchError::BadUrl { url: shown() })?;
        if self.inner.settings.offline {
            return Err(FetchError::Offline { url: shown() });
        }
        let mut authorization = self.authorization(&address);
        for _ in 0..=MAX_REDIRECTS {
            let agent = self.agent(&address, url)?;
            let mut request = agent.get(address.bare());
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            if let Some(value) = &authorization {
                request = request.header("authorization", value.as_str());
            }
            let response = request
                .call()
                .map_err(|error| self.request_error(url, &address, error))?;
            let status = response.status().as_u16();
            match status {
                200 | 206 | 304 => return Ok((response, address)),
                301 | 302 | 303 | 307 | 308 => {
                    let location = response.headers().get("location").map(|value| value.as_bytes());
                    let location = location.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
                    let next = location
                        .as_deref()
                        .and_then(|location| address.join(location))
                        .ok_or_else(|| {
                            let reason = format!(
                                "`{}` is no http address",
                                redact_url(&location.unwrap_or_default())
                            );
                            FetchError::Redirect { url: shown(), reason }
                        })?;
                    if !address.shares_credentials_with(&next) || next.credentials.is_some() {
                        authorization = self.redirected_authorization(&address, &next);
                    }
                    address = next;
                }
                404 | 410 => return Err(FetchError::NotFound { url: shown() }),
                401 | 403 | 407 => {
                    // The server that says so may be another than the one that was asked.
                    let url = redact_url(&address.bare());
                    return Err(FetchError::Unauthorized { url, status });
                }
                _ => {
                    let retry_after = response.headers().get("retry-after");
                    let seconds = retry_after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
                    let retry_after = seconds.map(Duration::from_secs);
                    return Err(FetchError::Status {
                        url: shown(),
                        status,
                        retry_after,
                    });
                }
            }
        }
        Err(FetchError::Redirect {
            url: shown(),
            reason: format!("more than {MAX_REDIRECTS} redirects"),
        })
    }

    /// The login for an address: of the URL, of an earlier URL for the same origin, or of netrc.
    pub(crate) fn authorization(&self, address: &Address) -> Option<String> {
        if let Some(fixed) = &self.fixed
            && fixed.0 == address.origin()
        {
            return Some(fixed.1.clone());
        }
        if self.anonymous {
            return None;
        }
        let mut logins = self.inner.logins.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(login) = &address.credentials {
            logins.insert(address.origin(), login.clone());
            return Some(login.basic());
        }
        if let Some(login) = logins.get(&address.origin()) {
            return Some(login.basic());
        }
        drop(logins);
        self.netrc_entry(address).map(|entry| entry_login(entry).basic())
    }

    /// The netrc file's entry for a host, or its default.
    fn netrc_entry(&self, address: &Address) -> Option<&NetrcEntry> {
        let netrc = &self.inner.settings.netrc;
        let named = netrc
            .iter()
            .find(|entry| entry.machine.as_deref().is_some_and(|name| address.is_host(name)));
        named.or_else(|| netrc.iter().find(|entry| entry.machine.is_none()))
    }

    /// The login for where a redirect leads: never what was meant for the host before.
    fn redirected_authorization(&self, from: &Address, to: &Address) -> Option<String> {
        if self.anonymous {
            return None;
        }
        if let Some(login) = &to.credentials {
            return Some(login.basic());
        }
        if from.https && !to.https {
            return None;
        }
        let netrc = &self.inner.settings.netrc;
        let named = netrc
            .iter()
            .find(|entry| entry.machine.as_deref().is_some_and(|name| to.is_host(name)))?;
        Some(entry_login(named).basic())
    }

    pub(crate) fn request_error(&self, url: &str, address: &Address, error: ureq::Error) -> FetchError {
        let url = redact_url(url);
        let proxy = self.proxy_for(address).map(|proxy| {
            let bare = proxy.split_once("://").map_or(proxy, |(_, rest)| rest);
            let bare = bare.rsplit_once('@').map_or(bare, |(_, host)| host);
            bare.trim_end_matches('/').to_owned()
        });
        let through = |reason: String| match &proxy {
            Some(proxy) => format!("the proxy {proxy}: {reason}"),
            None => reason,
        };
        // Where nobody answers any longer, the next try looks again where the server is.
        self.inner.agents.names.forget();
        // A name is looked up here for the proxy alone, where there is one.
        let host = proxy.clone().unwrap_or_else(|| address.host.clone());
        let reason = error.to_string();
        match error {
            ureq::Error::HostNotFound => FetchError::Dns { url, host },
            ureq::Error::Timeout(_) => FetchError::Timeout { url },
            ureq::Error::Rustls(error) => FetchError::Tls {
                url,
                reason: error.to_string(),
            },
            ureq::Error::Tls(_) | ureq::Error::TlsRequired | ureq::Error::Pem(_) => {
                FetchError::Tls { url, reason }
            }
            ureq::Error::Io(error) => match tls_error(&error) {
                Some(reason) => FetchError::Tls { url, reason },
                None if error.kind() == std::io::ErrorKind::TimedOut => FetchError::Timeout { url },
                // The resolver's own errors carry no code that the standard library knows.
                None if error.to_string().contains("lookup address") => FetchError::Dns { url, host },
                None => FetchError::Connect {
                    url,
                    reason: through(error.to_string()),
                },
            },
            ureq::Error::ConnectionFailed | ureq::Error::ConnectProxyFailed(_) => FetchError::Connect {
                url,
                reason: through(reason),
            },
            _ => FetchError::Protocol { url, reason },
        }
    }
}

impl Address {
    fn is_host(&self, name: &str) -> bool {
        self.host.trim_matches(['[', ']']).eq_ignore_ascii_case(name)
    }
}

fn entry_login(entry: &NetrcEntry) -> Credentials {
    Credentials {
        user: entry.login.clone(),
        password: entry.password.clone(),
    }
}

fn tls_error(error: &std::io::Error) -> Option<String> {
    error
        .get_ref()?
        .downcast_ref::<rustls::Error>()
        .map(ToString::to_string)
}

/// The first byte's position in the whole file, of a 206 answer.
pub(crate) fn content_range_start(response: &Response<Body>) -> Option<u64> {
    let text = response.headers().get("content-range")?.to_str().ok()?;
    text.trim()
        .strip_prefix("bytes")?
        .trim()
        .split('-')
        .next()?
        .trim()
        .parse()
        .ok()
}

/// What an error in the middle of a body means.
pub(crate) fn body_error(url: &str, error: &std::io::Error, got: u64, expected: Option<u64>) -> FetchError {
    let url = redact_url(url);
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<ureq::Error>());
    match inner {
        Some(ureq::Error::Timeout(_)) => FetchError::Timeout { url },
        _ if error.kind() == std::io::ErrorKind::TimedOut => FetchError::Timeout { url },
        _ => FetchError::Truncated { url, got, expected },
    }
}

pub(crate) fn read_body(
    response: Response<Body>,
    url: &str,
    gzip: bool,
    limit: u64,
) -> Result<Vec<u8>, FetchError> {
    let mut body = response.into_body();
    let expected = body.content_length();
    let too_large = || FetchError::TooLarge {
        url: redact_url(url),
        limit,
    };
    if expected.is_some_and(|size| size > limit) {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(expected.unwrap_or(0).min(1 << 24) as usize);
    let mut reader = body.as_reader().take(limit + 1);
    if let Err(error) = reader.read_to_end(&mut bytes) {
        return Err(body_error(url, &error, bytes.len() as u64, expected));
    }
    if bytes.len() as u64 > limit {
        return Err(too_large());
    }
    if let Some(expected) = expected.filter(|expected| *expected != bytes.len() as u64) {
        return Err(FetchError::Truncated {
            url: redact_url(url),
            got: bytes.len() as u64,
            expected: Some(expected),
        });
    }
    if !gzip {
        return Ok(bytes);
    }
    let mut plain = Vec::new();
    let mut decoder = flate2::read::MultiGzDecoder::new(bytes.as_slice()).take(limit + 1);
    match decoder.read_to_end(&mut plain) {
        Err(error) => Err(FetchError::Protocol {
            url: redact_url(url),
            reason: format!("gzip: {error}"),
        }),
        Ok(_) if plain.len() as u64 > limit => Err(too_large()),
        Ok(_) => Ok(plain),
    }
}
