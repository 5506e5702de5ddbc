//! Addresses as the settings need them: with a login, without one, of the same server or not.

/// An address in parts.
pub(crate) struct Location<'a> {
    scheme: &'a str,
    login: Option<&'a str>,
    host: &'a str,
    /// From the first `/`, `?` or `#` on.
    path: &'a str,
}

impl<'a> Location<'a> {
    pub(crate) fn parse(url: &'a str) -> Option<Location<'a>> {
        let (scheme, rest) = url.split_once("://")?;
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (login, host) = match authority.rsplit_once('@') {
            Some((login, host)) => (Some(login).filter(|login| !login.is_empty()), host),
            None => (None, authority),
        };
        Some(Location {
            scheme,
            login,
            host,
            path,
        })
    }

    /// `user:password` as written, percent-encoded.
    pub(crate) fn login(&self) -> Option<&'a str> {
        self.login
    }

    /// Host and port as written.
    pub(crate) fn host(&self) -> &'a str {
        self.host
    }

    pub(crate) fn with_login(&self, login: &str) -> String {
        format!("{}://{login}@{}{}", self.scheme, self.host, self.path)
    }

    /// Whether scheme, host and port are the same.
    pub(crate) fn is_same_server(&self, other: &Location<'_>) -> bool {
        self.scheme.eq_ignore_ascii_case(other.scheme)
            && self.plain_host().eq_ignore_ascii_case(other.plain_host())
    }

    /// How many characters of the other address's path this one's is a beginning of, in whole segments.
    pub(crate) fn covers(&self, other: &Location<'_>) -> Option<usize> {
        let own = self.path.trim_end_matches('/');
        let rest = other.path.strip_prefix(own)?;
        (rest.is_empty() || rest.starts_with(['/', '?', '#'])).then_some(own.len())
    }

    /// The host, without the port that the scheme means anyway.
    fn plain_host(&self) -> &'a str {
        let usual = match self.scheme.to_ascii_lowercase().as_str() {
            "https" => ":443",
            "http" => ":80",
            _ => return self.host,
        };
        self.host.strip_suffix(usual).unwrap_or(self.host)
    }
}

/// The address without a login, fit to be recorded.
pub fn without_login(url: &str) -> String {
    match Location::parse(url) {
        Some(location) => format!("{}://{}{}", location.scheme, location.host, location.path),
        None => url.to_owned(),
    }
}

/// The login in an address, decoded: user and password.
pub(crate) fn login_of(url: &str) -> Option<(String, String)> {
    let login = Location::parse(url)?.login()?;
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    Some((
        coil_fetch::percent_decode(user),
        coil_fetch::percent_decode(password),
    ))
}
