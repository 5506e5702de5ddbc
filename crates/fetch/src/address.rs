//! URLs as this crate needs them: split, joined, and shown without secrets.

/// A user name and a password; its debug text hides both.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) user: String,
    pub(crate) password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(…)")
    }
}

impl Credentials {
    /// The value of an `Authorization` header (RFC 7617).
    pub(crate) fn basic(&self) -> String {
        format!(
            "Basic {}",
            base64(format!("{}:{}", self.user, self.password).as_bytes())
        )
    }
}

/// An `http` or `https` URL in parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) https: bool,
    /// Lower case; an IPv6 address keeps its brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Begins with `/`; has the query, not the fragment.
    pub(crate) path: String,
    pub(crate) credentials: Option<Credentials>,
}

impl Address {
    /// Splits a URL; `None` for what is no http(s) URL.
    pub(crate) fn parse(url: &str) -> Option<Address> {
        let (scheme, rest) = url.trim().split_once("://")?;
        let https = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (login, host_port) = match authority.rsplit_once('@') {
            Some((login, host)) => (Some(login), host),
            None => (None, authority),
        };
        let (host, port) = split_port(host_port)?;
        if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\') {
            return None;
        }
        let credentials = login.map(|login| {
            let (user, password) = login.split_once(':').unwrap_or((login, ""));
            Credentials {
                user: percent_decode(user),
                password: percent_decode(password),
            }
        });
        let path = if path.starts_with('/') {
            encode_odd(path)
        } else {
            format!("/{}", encode_odd(path))
        };
        Some(Address {
            https,
            host: host.to_ascii_lowercase(),
            port: port.unwrap_or(if https { 443 } else { 80 }),
            path,
            credentials: credentials.filter(|c| !c.user.is_empty() || !c.password.is_empty()),
        })
    }

    /// Scheme, host and port, without a login.
    pub(crate) fn origin(&self) -> String {
        let (scheme, usual) = if self.https { ("https", 443) } else { ("http", 80) };
        if self.port == usual {
            format!("{scheme}://{}", self.host)
        } else {
            format!("{scheme}://{}:{}", self.host, self.port)
        }
    }

    /// The URL without a login.
    pub(crate) fn bare(&self) -> String {
        format!("{}{}", self.origin(), self.path)
    }

    /// Where a `Location` header leads from here.
    pub(crate) fn join(&self, reference: &str) -> Option<Address> {
        Address::parse(&join_url(&self.bare(), reference)?)
    }

    /// Whether a credential for this address may go to `other`: the same host and port, or https in place of http.
    pub(crate) fn shares_credentials_with(&self, other: &Address) -> bool {
        let upgraded = !self.https && self.port == 80 && other.https && other.port == 443;
        self.host == other.host && ((self.https == other.https && self.port == other.port) || upgraded)
    }
}

/// Splits `host:port`; the outer `None` is a port that is no number.
fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    let after_bracket = text.rfind(']').map_or(0, |at| at + 1);
    match text[after_bracket..].rfind(':') {
        None => Some((text, None)),
        Some(at) => {
            let (host, port) = text.split_at(after_bracket + at);
            match &port[1..] {
                "" => Some((host, None)),
                port => Some((host, Some(port.parse().ok()?))),
            }
        }
    }
}

/// Encodes bytes that may not stand in a request line; everything else stays as it was written.
fn encode_odd(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte <= b' '
            || byte >= 0x7f
            || matches!(
                byte,
                b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}'
            )
        {
            out.push_str(&format!("%{byte:02X}"));
        } else {
            out.push(char::from(byte));
        }
    }
    out
}

/// Resolves `%XX` in a part of a URL (RFC 3986 section 2.1); a broken escape stays as it is.
pub fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let pair = bytes.get(at + 1..at + 3).and_then(|pair| {
            let high = char::from(pair[0]).to_digit(16)?;
            let low = char::from(pair[1]).to_digit(16)?;
            u8::try_from(high * 16 + low).ok()
        });
        match (bytes[at], pair) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Resolves a reference against a base URL (RFC 3986 section 5.2); `None` where there is no host.
///
/// A login in the base goes over to a relative reference, as it names the same server.
pub fn join_url(base: &str, reference: &str) -> Option<String> {
    let reference = reference.trim();
    if let Some((scheme, rest)) = reference.split_once(':') {
        let is_scheme = scheme.chars().next().is_some_and(|c| c.is_ascii_alphabetic())
            && scheme
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
        if is_scheme && rest.starts_with("//") {
            return Some(reference.to_string());
        }
    }
    let base = base.split('#').next().unwrap_or_default();
    let scheme_end = base.find("://")? + 3;
    let authority_end = base[scheme_end..]
        .find(['/', '?'])
        .map_or(base.len(), |at| scheme_end + at);
    let (root, path) = base.split_at(authority_end);
    if let Some(rest) = reference.strip_prefix("//") {
        return Some(format!("{}//{rest}", &base[..scheme_end - 2]));
    }
    let base_path = path.split('?').next().unwrap_or_default();
    if reference.is_empty() || reference.starts_with('#') {
        return Some(format!("{root}{path}{reference}"));
    }
    if reference.starts_with('?') {
        return Some(format!("{root}{base_path}{reference}"));
    }
    let cut = reference.find(['?', '#']).unwrap_or(reference.len());
    let (target, tail) = reference.split_at(cut);
    let merged = if target.starts_with('/') {
        target.to_string()
    } else {
        let folder = base_path.rfind('/').map_or("/", |at| &base_path[..=at]);
        format!("{folder}{target}")
    };
    Some(format!("{root}{}{tail}", without_dots(&merged)))
}

/// Removes `.` and `..` (RFC 3986 section 5.2.4).
fn without_dots(path: &str) -> String {
    let mut out: Vec<&str> = Vec::new();
    let mut open = false;
    for segment in path.split('/').skip(1) {
        open = matches!(segment, "." | "..");
        match segment {
            "." => {}
            ".." => {
                out.pop();
            }
            segment => out.push(segment),
        }
    }
    let end = if open { "/" } else { "" };
    if out.is_empty() {
        "/".to_string()
    } else {
        format!("/{}{end}", out.join("/"))
    }
}

/// A URL for the eyes of users: no login and no query, either may hold a secret.
pub fn redact_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_string();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let path = path.split('#').next().unwrap_or_default();
    match path.split_once('?') {
        Some((path, _)) => format!("{scheme}://{host}{path}?…"),
        None => format!("{scheme}://{host}{path}"),
    }
}

/// Standard base64 with padding (RFC 4648 section 4).
pub fn base64(bytes: &[u8]) -> String {
    const TABLE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let value =
            chunk.iter().fold(0u32, |sum, byte| sum << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for position in 0..4 {
            if position <= chunk.len() {
                out.push(char::from(TABLE[(value >> (18 - 6 * position) & 63) as usize]));
            } else {
                out.push('=');
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_and_hides_logins() {
        let address = Address::parse("https://joe:p%40ss@Host.Example:8443/simple/?q=1#x").unwrap();
        assert_eq!(
            (address.host.as_str(), address.port, address.path.as_str()),
            ("host.example", 8443, "/simple/?q=1")
        );
        let login = address.credentials.clone().unwrap();
        assert_eq!((login.user.as_str(), login.password.as_str()), ("joe", "p@ss"));
        assert_eq!(address.bare(), "https://host.example:8443/simple/?q=1");
        assert!(!format!("{address:?}").contains("p@ss"));
        assert_eq!(redact_url("https://joe:p@host/a?token=1#f"), "https://host/a?…");
        assert_eq!(Address::parse("http://[::1]:80").unwrap().host, "[::1]");
        assert_eq!(Address::parse("http://h/a b").unwrap().path, "/a%20b");
        for bad in ["ftp://x/", "http:///x", "http://h:99999/", "x", "http://a b/"] {
            assert!(Address::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn joins_as_the_rfc_says() {
        // RFC 3986 section 5.4, those that have a host.
        let base = "http://a/b/c/d;p?q";
        for (reference, expected) in [
            ("g", "http://a/b/c/g"),
            ("./g", "http://a/b/c/g"),
            ("g/", "http://a/b/c/g/"),
            ("/g", "http://a/g"),
            ("//g", "http://g"),
            ("?y", "http://a/b/c/d;p?y"),
            ("g?y", "http://a/b/c/g?y"),
            ("#s", "http://a/b/c/d;p?q#s"),
            ("", "http://a/b/c/d;p?q"),
            (".", "http://a/b/c/"),
            ("..", "http://a/b/"),
            ("../..", "http://a/"),
            ("../../../g", "http://a/g"),
            ("https://x/y", "https://x/y"),
        ] {
            assert_eq!(
                join_url(base, reference).as_deref(),
                Some(expected),
                "{reference}"
            );
        }
        assert_eq!(
            join_url("https://u:p@h/simple/six/", "../../files/six.whl#sha256=1").as_deref(),
            Some("https://u:p@h/files/six.whl#sha256=1")
        );
    }

    #[test]
    fn base64_of_all_lengths() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
        ] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn credentials_stay_with_their_host() {
        let from = Address::parse("http://h/").unwrap();
        let to = |url| Address::parse(url).unwrap();
        assert!(from.shares_credentials_with(&to("https://h/x")));
        assert!(from.shares_credentials_with(&to("http://h/x")));
        assert!(!from.shares_credentials_with(&to("http://h:81/x")));
        assert!(!from.shares_credentials_with(&to("http://h.evil/x")));
        assert!(!to("https://h/").shares_credentials_with(&from));
    }
}
