//! Index pages, JSON (PEP 691) or HTML (PEP 503), whichever the server really sent.

use coil_fetch::{join_url, percent_decode};
use coil_oci::Digest;
use serde::Deserialize;

use super::{FileHash, IndexFile, MetadataFile, html, without_login};

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
    /// PEP 714, and its name before that (PEP 658).
    core_metadata: Option<serde_json::Value>,
    dist_info_metadata: Option<serde_json::Value>,
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
        Some(b'<') | None => parse_html(url, &String::from_utf8_lossy(body)),
        _ if content_type.contains("html") => parse_html(url, &String::from_utf8_lossy(body)),
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
        let (sha256, hashes) = hashes_of(
            file.hashes
                .iter()
                .map(|(name, hex)| (name.as_str(), hex.as_str())),
        );
        let metadata = [file.core_metadata, file.dist_info_metadata];
        Some(IndexFile {
            filename: plain_name(file.filename)?,
            url,
            sha256,
            hashes,
            metadata: metadata.into_iter().flatten().find_map(|value| match value {
                serde_json::Value::Bool(true) => Some(MetadataFile::default()),
                serde_json::Value::Object(hashes) => {
                    let digits = hashes.get("sha256").and_then(serde_json::Value::as_str);
                    Some(MetadataFile {
                        sha256: digits.and_then(sha256_of),
                    })
                }
                _ => None,
            }),
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

fn parse_html(url: &str, text: &str) -> Result<Vec<IndexFile>, String> {
    let mut base = url.to_owned();
    let mut files = Vec::new();
    let tags = html::tags(text);
    let version = tags
        .iter()
        .find(|tag| tag.name == "meta" && tag.attribute("name") == Some("pypi:repository-version"));
    if let Some(version) = version.and_then(|tag| tag.attribute("content"))
        && version.trim().split('.').next() != Some("1")
    {
        return Err(format!("it is of version {version} of the format"));
    }
    let is_form = tags.iter().any(|tag| tag.name == "form");
    for tag in &tags {
        let Some(href) = tag.attribute("href") else {
            continue;
        };
        match tag.name.as_str() {
            "base" => base = join_url(url, href).unwrap_or(base),
            "a" => {
                let Some((url, fragment)) = resolve(&base, href) else {
                    continue;
                };
                let (sha256, hashes) = hashes_of(fragment.split('&').filter_map(|part| part.split_once('=')));
                let metadata = ["data-core-metadata", "data-dist-info-metadata"];
                let metadata = metadata.iter().find_map(|name| tag.attribute(name));
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
                    hashes,
                    metadata: metadata
                        .filter(|value| *value != "false")
                        .map(|value| MetadataFile {
                            sha256: value.strip_prefix("sha256=").and_then(sha256_of),
                        }),
                    size: None,
                    requires_python: requires.filter(|text| !text.trim().is_empty()),
                    yanked: tag.attribute("data-yanked").map(str::to_owned),
                    upload_time: None,
                });
            }
            _ => {}
        }
    }
    let distribution = |file: &IndexFile| {
        [".whl", ".gz", ".zip", ".bz2", ".tgz", ".egg"]
            .iter()
            .any(|ending| file.filename.ends_with(ending))
    };
    // A page without files may be one of an index; with a form it is one for people.
    if is_form && !files.iter().any(distribution) {
        return Err("it is a web page with a form, such as one for a login".to_owned());
    }
    Ok(files)
}

fn sha256_of(hex: &str) -> Option<Digest> {
    Digest::from_hex(&hex.to_ascii_lowercase()).ok()
}

/// The SHA-256 among hashes, and the others, the strongest first.
fn hashes_of<'a>(hashes: impl Iterator<Item = (&'a str, &'a str)>) -> (Option<Digest>, Vec<FileHash>) {
    let (mut sha256, mut others) = (None, Vec::new());
    for (algorithm, hex) in hashes {
        match algorithm {
            "sha256" => sha256 = sha256_of(hex),
            other => others.extend(FileHash::new(other, hex)),
        }
    }
    others.sort();
    (sha256, others)
}

/// A link's address without login and fragment, and the fragment.
fn resolve(base: &str, link: &str) -> Option<(String, String)> {
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
    Some((without_login(url), fragment.to_owned()))
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
    fn other_hashes_and_metadata() {
        let md5 = "900150983cd24fb0d6963f7d28e17f72";
        let body = format!(
            "<base href=\"../../files/\"><a href=\"a-1-py3-none-any.whl#md5={md5}\" data-dist-info-metadata=\"sha256={HEX}\">\
             </a><a href=\"a-2-py3-none-any.whl#egg=a&amp;sha256={HEX}\" data-core-metadata=\"true\" data-gpg-sig=\"true\">\
             </a><a href=\"a-3-py3-none-any.whl\" data-core-metadata=\"false\"></a><a href=\"a-1-py3-none-any.whl.asc\"></a>"
        );
        let files = parse("https://a.example/simple/a/", "text/html", body.as_bytes()).expect("page");
        assert_eq!(files[0].url, "https://a.example/files/a-1-py3-none-any.whl");
        assert_eq!(files[0].hashes[0].to_string(), format!("md5:{md5}"));
        assert_eq!(
            files[0].metadata,
            Some(MetadataFile {
                sha256: Digest::from_hex(HEX).ok()
            })
        );
        assert_eq!(files[1].sha256, Digest::from_hex(HEX).ok());
        assert_eq!(files[1].metadata, Some(MetadataFile::default()));
        assert_eq!((&files[2].metadata, &files[2].sha256), (&None, &None));

        let body = format!(
            r#"{{"files":[{{"filename":"a-1.tar.gz","url":"a-1.tar.gz","hashes":{{"md5":"{md5}","sha512":"{HEX}{HEX}"}},
               "core-metadata":{{"sha256":"{HEX}"}},"dist-info-metadata":true}}]}}"#
        );
        let files = parse("https://a.example/simple/a/", "", body.as_bytes()).expect("page");
        let algorithms: Vec<&str> = files[0].hashes.iter().map(FileHash::algorithm).collect();
        assert_eq!(algorithms, ["sha512", "md5"]);
        assert!(
            files[0]
                .metadata
                .as_ref()
                .is_some_and(|metadata| metadata.sha256.is_some())
        );
    }

    #[test]
    fn pages_for_people_are_refused() {
        let page =
            b"<html><body><form action=/login><input name=user></form><a href=/help>help</a></body></html>";
        let error = parse("https://a.example/simple/a/", "text/html", page).expect_err("no index page");
        assert!(error.contains("login"), "{error}");
        let newer = b"<meta name=\"pypi:repository-version\" content=\"2.0\"><a href=x-1.tar.gz>x</a>";
        assert!(parse("https://a.example/simple/a/", "text/html", newer).is_err());
        assert!(
            parse("https://a.example/simple/a/", "text/html", b"<html></html>")
                .is_ok_and(|files| files.is_empty())
        );
    }

    #[test]
    fn what_is_neither_is_refused() {
        assert!(parse("https://a.example/", "text/plain", b"hello").is_err());
    }
}
