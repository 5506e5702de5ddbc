//! One request and whatever is answered: for protocols in which a status other than success is an answer too.

use ureq::Body;
use ureq::http::Response;

use crate::Fetcher;
use crate::address::{Address, base64, redact_url};
use crate::client::{MAX_REDIRECTS, read_body};
use crate::error::FetchError;

/// What to send.
#[derive(Debug, Clone, Default)]
pub struct Exchange<'a> {
    /// The address; a login in it is not sent.
    pub url: &'a str,
    /// Header fields.
    pub headers: &'a [(&'a str, &'a str)],
    /// The value of `Authorization`, for this server alone: it is not sent where a redirect leads to another one.
    pub authorization: Option<&'a str>,
    /// A form to post; nothing is posted when there is none, the request is a GET.
    pub form: Option<&'a [(&'a str, &'a str)]>,
    /// The most bytes that the answer may have.
    pub limit: u64,
}

/// What was answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Who answered, after all redirects.
    pub url: String,
    /// The status.
    pub status: u16,
    /// The header fields in their order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The first header field of a name, which is given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers_of(name).next()
    }

    /// All header fields of a name, which is given in lower case.
    pub fn headers_of(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers
            .iter()
            .filter(move |(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// Whether the status is one of success.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// The value of an `Authorization` field for a name and a password (RFC 7617).
pub fn basic_authorization(user: &str, password: &str) -> String {
    format!("Basic {}", base64(format!("{user}:{password}").as_bytes()))
}

impl Fetcher {
    /// Sends a request and gives the answer, whatever its status; redirects are followed.
    ///
    /// A server in trouble (408, 425, 5xx) and a broken connection are tried again, as with all requests; 429 is an answer.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn exchange(&self, request: &Exchange<'_>) -> Result<Answer, FetchError> {
        self.with_retries(|| {
            let (response, address) = self.exchange_once(request)?;
            let status = response.status().as_u16();
            if matches!(status, 408 | 425 | 500 | 502 | 503 | 504) {
                return Err(FetchError::Status {
                    url: redact_url(request.url),
                    status,
                    retry_after: None,
                });
            }
            let headers = response
                .headers()
                .iter()
                .map(|(name, value)| {
                    let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                    (name.as_str().to_owned(), value)
                })
                .collect();
            Ok(Answer {
                url: address.bare(),
                status,
                headers,
                body: read_body(response, request.url, false, request.limit)?,
            })
        })
    }

    fn exchange_once(&self, request: &Exchange<'_>) -> Result<(Response<Body>, Address), FetchError> {
        let shown = || redact_url(request.url);
        let first = Address::parse(request.url).ok_or_else(|| FetchError::BadUrl { url: shown() })?;
        if self.is_offline() {
            return Err(FetchError::Offline { url: shown() });
        }
        let form = request.form.map(form_text);
        let mut address = first.clone();
        for _ in 0..=MAX_REDIRECTS {
            let agent = self.agent(&address, request.url)?;
            let authorization = request
                .authorization
                .filter(|_| first.shares_credentials_with(&address));
            let mut headers: Vec<(&str, &str)> = request.headers.to_vec();
            headers.extend(authorization.map(|value| ("authorization", value)));
            let sent = match &form {
                None => {
                    let mut get = agent.get(address.bare());
                    for (name, value) in headers {
                        get = get.header(name, value);
                    }
                    get.call()
                }
                Some(form) => {
                    let mut post = agent.post(address.bare());
                    headers.push(("content-type", "application/x-www-form-urlencoded"));
                    for (name, value) in headers {
                        post = post.header(name, value);
                    }
                    post.send(form.as_bytes())
                }
            };
            let response = sent.map_err(|error| self.request_error(request.url, &address, error))?;
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) || form.is_some() {
                return Ok((response, address));
            }
            let location = response.headers().get("location").map(|value| value.as_bytes());
            let location = String::from_utf8_lossy(location.unwrap_or_default()).into_owned();
            address = address.join(&location).ok_or_else(|| FetchError::Redirect {
                url: shown(),
                reason: format!("`{}` is no http address", redact_url(&location)),
            })?;
        }
        Err(FetchError::Redirect {
            url: shown(),
            reason: format!("more than {MAX_REDIRECTS} redirects"),
        })
    }
}

/// A form as the body of a request (WHATWG URL standard, "application/x-www-form-urlencoded").
fn form_text(fields: &[(&str, &str)]) -> String {
    let pair = |(name, value): &(&str, &str)| format!("{}={}", percent_encode(name), percent_encode(value));
    fields.iter().map(pair).collect::<Vec<_>>().join("&")
}

/// A text as a part of a query: all but unreserved characters as `%XX`.
pub fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
