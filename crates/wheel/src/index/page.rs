//! Index pages, JSON (PEP 691) or HTML (PEP 503), whichever the server really sent.

use coil_fetch::{join_url, percent_decode};
use coil_oci::Digest;
use serde::Deserialize;

use super::{IndexFile, html, without_login};

#[derive(Deserialize)]
struct JsonPage {
    meta: Option<JsonMeta>,
    files: Vec<JsonFile>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct JsonMeta {
    api_version: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct JsonFile {
    filename: String,
    url: String,
    #[serde(default)]
    hashes: std::collections::BTreeMap<String, String>,
    requires_python: Option<String>,
    size: Option<u64>,
    upload_time: Option<String>,
    yanked: Option<serde_json::Value>,
}

/// Reads a page that was found at `url`.
///
/// Some indices send HTML whatever they are asked for, and some label JSON as text, so the body decides.
pub fn parse(url: &str, content_type: &str, body: &[u8]) -> Result<Vec<IndexFile>, String> {
    let first = body
        .iter()
        .copied()
        .find(|byte| !byte.is_ascii_whitespace() && !matches!(byte, 0xef | 0xbb | 0xbf));
    match first {
        Some(b'{') => parse_json(url, body),
        Some(b'<') | None => Ok(parse_html(url, &String::from_utf8_lossy(body))),
        _ if content_type.contains("html") => Ok(parse_html(url, &String::from_utf8_lossy(body))),
        _ => Err(format!("it is neither JSON nor HTML ({content_type})")),
    }
}

fn parse_json(base: &str, body: &[u8]) -> Result<Vec<IndexFile>, String> {
    let page: JsonPage = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let version = page
        .meta
        .and_then(|meta| meta.api_version)
        .unwrap_or_else(|| "1.0".to_owned());
    if version.split('.').next() != Some("1") {
        return Err(format!("it is of version {version} of the format"));
    }
    let files = page.files.into_iter().filter_map(|file| {
        let (url, _) = resolve(base, &file.url)?;
        Some(IndexFile {
            filename: plain_name(file.filename)?,
            url,
            sha256: file
                .hashes
                .get("sha256")
                .and_then(|hex| Digest::from_hex(&hex.to_ascii_lowercase()).ok()),
            size: file.size,
            requires_python: file.requires_python.filter(|text| !text.trim().is_empty()),
            yanked: match file.yanked {
                Some(serde_json::Value::Bool(true)) => Some(String::new()),
                Some(serde_json::Value::String(reason)) => Some(reason),
                _ => None,
            },
            upload_time: file.upload_time,
        })
    });
    Ok(files.collect())
}

fn parse_html(url: &str, text: &str) -> Vec<IndexFile> {
    let mut base = url.to_owned();
    let mut files = Vec::new();
    for tag in html::tags(text) {
        let Some(href) = tag.attribute("href") else {
            continue;
        };
        match tag.name.as_str() {
            "base" => base = join_url(url, href).unwrap_or(base),
            "a" => {
                let Some((url, sha256)) = resolve(&base, href) else {
                    continue;
                };
                let path = url.split('?').next().unwrap_or_default();
                let Some(filename) = plain_name(percent_decode(path.rsplit('/').next().unwrap_or_default()))
                else {
                    continue;
                };
                let requires = tag.attribute("data-requires-python").map(str::to_owned);
                files.push(IndexFile {
                    filename,
                    url,
                    sha256,
                    size: None,
                    requires_python: requires.filter(|text| !text.trim().is_empty()),
                    yanked: tag.attribute("data-yanked").map(str::to_owned),
                    upload_time: None,
                });
            }
            _ => {}
        }
    }
    files
}

/// A link's address without login and fragment, and the digest that its fragment tells.
fn resolve(base: &str, link: &str) -> Option<(String, Option<Digest>)> {
    let url = match base.strip_prefix("file://") {
        Some(page) if !link.contains("://") => {
            let folder = page.rsplit_once('/').map_or("", |(folder, _)| folder);
            match link.starts_with('/') {
                true => link.to_owned(),
                false => format!("{folder}/{link}"),
            }
        }
        _ => join_url(base, link)?,
    };
    let (url, fragment) = url.split_once('#').unwrap_or((&url, ""));
    let sha256 = fragment.split('&').find_map(|part| part.strip_prefix("sha256="));
    let sha256 = sha256.and_then(|hex| Digest::from_hex(&hex.to_ascii_lowercase()).ok());
    Some((without_login(url), sha256))
}

/// A file name that is nothing but one.
fn plain_name(name: String) -> Option<String> {
    let sound = !name.is_empty() && !name.contains(['/', '\\', '\0']) && !matches!(name.as_str(), "." | "..");
    sound.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn json_pages() {
        let body = format!(
            r#"{{"meta":{{"api-version":"1.3"}},"name":"x","files":[
            {{"filename":"x-1-py3-none-any.whl","url":"../../f/x-1-py3-none-any.whl","hashes":{{"sha256":"{HEX}"}},
              "size":12,"requires-python":">=3.8","yanked":"broken"}},
            {{"filename":"x-2.tar.gz","url":"https://u:p@other.example/x-2.tar.gz","hashes":{{}},"yanked":false}},
            {{"filename":"../evil.whl","url":"https://other.example/evil.whl","hashes":{{}}}}]}}"#
        );
        let files = parse("https://a.example/simple/x/", "text/plain", body.as_bytes()).expect("page");
        assert_eq!(files.len(), 2);
        assert_eq!(files[0].url, "https://a.example/f/x-1-py3-none-any.whl");
        assert_eq!(
            (files[0].size, files[0].yanked.as_deref()),
            (Some(12), Some("broken"))
        );
        assert_eq!(files[0].sha256, Digest::from_hex(HEX).ok());
        assert_eq!(
            (files[1].url.as_str(), &files[1].sha256),
            ("https://other.example/x-2.tar.gz", &None)
        );
        assert!(
            parse(
                "https://a.example/",
                "application/json",
                br#"{"meta":{"api-version":"2.0"},"files":[]}"#
            )
            .is_err()
        );
    }

    #[test]
    fn html_pages_even_when_called_json() {
        let body = format!(
            "\n<!DOCTYPE html><html><body><a href=\"../../f/x-1%2Bcpu-py3-none-any.whl#sha256={HEX}\" \
             data-requires-python=\"&gt;=3.8\">x</a><a href=\"/y/x-2.tar.gz#md5=abc\" data-yanked=\"\">y</a></body>"
        );
        let files = parse("https://a.example/simple/x/", "application/json", body.as_bytes()).expect("page");
        assert_eq!(files[0].filename, "x-1+cpu-py3-none-any.whl");
        assert_eq!(files[0].url, "https://a.example/f/x-1%2Bcpu-py3-none-any.whl");
        assert_eq!(files[0].sha256, Digest::from_hex(HEX).ok());
        assert_eq!(files[0].requires_python.as_deref(), Some(">=3.8"));
        assert_eq!(
            (files[1].url.as_str(), files[1].yanked.as_deref()),
            ("https://a.example/y/x-2.tar.gz", Some(""))
        );
    }

    #[test]
    fn what_is_neither_is_refused() {
        assert!(parse("https://a.example/", "text/plain", b"hello").is_err());
    }
}
