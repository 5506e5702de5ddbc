//! `~/.docker/config.json`: logins by registry, in the file itself or kept by a helper program.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::credentials::{CredentialError, Credentials, Login};

/// Docker Hub's name in the file, whose address is older than the registry's.
const HUB: &str = "https://index.docker.io/v1/";

/// What the file says of logins; all else in it is passed over.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DockerConfig {
    auths: BTreeMap<String, Auth>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "lowercase", default)]
struct Auth {
    /// `user:password` in base64.
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Auth(…)")
    }
}

impl DockerConfig {
    /// Reads the file's text.
    ///
    /// # Errors
    /// When it is no JSON of that form; the message says where.
    pub fn parse(text: &str) -> Result<DockerConfig, CredentialError> {
        serde_json::from_str(text).map_err(|error| CredentialError {
            // serde's own words may quote a value, which may be a secret.
            message: format!(
                "Docker's config.json cannot be read: line {}, column {}",
                error.line(),
                error.column()
            ),
        })
    }

    /// The helper program for a registry: its own, or the one for all.
    fn helper(&self, registry: &str) -> Option<&str> {
        let own = self.cred_helpers.iter().find(|(name, _)| is_same(name, registry));
        own.map(|(_, helper)| helper.as_str())
            .or(self.creds_store.as_deref())
            .filter(|helper| !helper.is_empty())
    }

    /// The login that stands in the file.
    fn stored(&self, registry: &str) -> Result<Option<Login>, CredentialError> {
        let Some((name, auth)) = self.auths.iter().find(|(name, _)| is_same(name, registry)) else {
            return Ok(None);
        };
        let some = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        if let Some(token) = some(&auth.identitytoken) {
            return Ok(Some(Login::IdentityToken(token)));
        }
        if let (Some(user), Some(password)) = (some(&auth.username), some(&auth.password)) {
            return Ok(Some(Login::Password { user, password }));
        }
        let Some(coded) = some(&auth.auth) else {
            return Ok(None);
        };
        let plain = base64_decode(&coded).and_then(|bytes| String::from_utf8(bytes).ok());
        let pair = plain.as_deref().and_then(|plain| plain.split_once(':'));
        let (user, password) = pair.ok_or_else(|| CredentialError {
            message: format!("the login for {name} in Docker's config.json is no `user:password` in base64"),
        })?;
        Ok(Some(Login::Password {
            user: user.to_owned(),
            // Docker pads with NUL bytes at times.
            password: password.trim_end_matches('\0').to_owned(),
        }))
    }
}

/// The logins of a configuration file, with the helper programs that it names.
#[derive(Debug, Clone, Default)]
pub struct DockerCredentials {
    /// The file.
    pub config: DockerConfig,
    /// Where helper programs are looked for.
    pub search_path: Vec<PathBuf>,
    /// What the helper programs get as their environment.
    pub environment: Vec<(std::ffi::OsString, std::ffi::OsString)>,
}

impl Credentials for DockerCredentials {
    fn login(&self, registry: &str) -> Result<Option<Login>, CredentialError> {
        match self.config.helper(registry) {
            Some(helper) => self.ask(helper, registry),
            None => self.config.stored(registry),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Told {
    username: String,
    secret: String,
}

impl DockerCredentials {
    /// Asks a helper program (the protocol of docker-credential-helpers: the registry on its input, JSON on its output).
    fn ask(&self, helper: &str, registry: &str) -> Result<Option<Login>, CredentialError> {
        let name = format!("docker-credential-{helper}");
        let failed = |what: String| CredentialError {
            message: format!("the credential helper {name} {what}"),
        };
        if !helper
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        {
            return Err(failed("has a name that no program has".into()));
        }
        let program = self
            .search_path
            .iter()
            .map(|folder| folder.join(&name))
            .find(|path| path.is_file())
            .ok_or_else(|| failed("is named by Docker's config.json and is not installed".into()))?;
        let asked = if registry == "docker.io" { HUB } else { registry };
        let output = run(&program, asked, &self.environment)
            .map_err(|error| failed(format!("cannot be run: {error}")))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            if said.contains("credentials not found") {
                return Ok(None);
            }
            let line = said.lines().next().unwrap_or_default();
            return Err(failed(
                format!("failed: {line}").trim_end_matches(": ").to_owned(),
            ));
        }
        let told: Told = serde_json::from_slice(&output.stdout)
            .map_err(|_| failed("gave no answer that can be understood".into()))?;
        Ok(Some(match told.username.as_str() {
            "<token>" => Login::IdentityToken(told.secret),
            _ => Login::Password {
                user: told.username,
                password: told.secret,
            },
        }))
    }
}

fn run(
    program: &Path,
    registry: &str,
    environment: &[(std::ffi::OsString, std::ffi::OsString)],
) -> io::Result<std::process::Output> {
    let mut child = Command::new(program)
        .arg("get")
        .env_clear()
        .envs(environment.iter().cloned())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        // A helper that doesn't read its input says what is wrong by its end.
        let _ = writeln!(input, "{registry}");
    }
    child.wait_with_output()
}

/// Whether a key of the file means a registry: `https://index.docker.io/v1/`, `ghcr.io`, `https://host:5000/v2/`.
fn is_same(key: &str, registry: &str) -> bool {
    let host = key.split_once("://").map_or(key, |(_, rest)| rest);
    let host = host.split('/').next().unwrap_or(host);
    let host = match host {
        "index.docker.io" | "registry-1.docker.io" | "docker.io" => "docker.io",
        other => other,
    };
    host.eq_ignore_ascii_case(registry)
}

/// Standard base64, with or without its padding.
fn base64_decode(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0u32, 0);
    for byte in text.trim().trim_end_matches('=').bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn password(user: &str, password: &str) -> Option<Login> {
        Some(Login::Password {
            user: user.into(),
            password: password.into(),
        })
    }

    #[test]
    fn logins_of_the_file() {
        let text = r#"{"HttpHeaders":{},"auths":{
            "https://index.docker.io/v1/":{"auth":"bWU6czNj"},
            "ghcr.io":{"identitytoken":"tok"},
            "https://host:5000/v2/":{"username":"a","password":"b:c"},
            "empty.example":{}, "bad.example":{"auth":"!"}}}"#;
        let credentials = DockerCredentials {
            config: DockerConfig::parse(text).unwrap(),
            ..DockerCredentials::default()
        };
        assert_eq!(credentials.login("docker.io").unwrap(), password("me", "s3c"));
        assert_eq!(
            credentials.login("ghcr.io").unwrap(),
            Some(Login::IdentityToken("tok".into()))
        );
        assert_eq!(credentials.login("host:5000").unwrap(), password("a", "b:c"));
        assert_eq!(credentials.login("empty.example").unwrap(), None);
        assert_eq!(credentials.login("other.example").unwrap(), None);
        let error = credentials.login("bad.example").unwrap_err().to_string();
        assert!(error.contains("bad.example") && !error.contains('!'), "{error}");
        let error = DockerConfig::parse("{\"auths\": {\"a\": \"s3cret\"}}").unwrap_err();
        assert!(!error.to_string().contains("s3cret"), "{error}");
        assert!(!format!("{credentials:?}").contains("b:c"));
    }

    #[test]
    fn helpers_are_asked() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("docker-credential-test");
        let script = "#!/bin/sh\nread host\ncase $host in\n\
            https://index.docker.io/v1/) echo '{\"ServerURL\":\"x\",\"Username\":\"me\",\"Secret\":\"s3c\"}';;\n\
            token.example) echo '{\"Username\":\"<token>\",\"Secret\":\"tok\"}';;\n\
            none.example) echo 'credentials not found in native keychain'; exit 1;;\n\
            *) echo 'the vault is locked'; exit 1;;\nesac\n";
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let text = r#"{"credsStore":"test","credHelpers":{"gone.example":"missing"}}"#;
        let credentials = DockerCredentials {
            config: DockerConfig::parse(text).unwrap(),
            search_path: vec![folder.path().into()],
            environment: vec![("PATH".into(), "/usr/bin:/bin".into())],
        };
        assert_eq!(credentials.login("docker.io").unwrap(), password("me", "s3c"));
        let token = credentials.login("token.example").unwrap();
        assert_eq!(token, Some(Login::IdentityToken("tok".into())));
        assert_eq!(credentials.login("none.example").unwrap(), None);
        let error = credentials.login("locked.example").unwrap_err().to_string();
        assert!(error.contains("the vault is locked"), "{error}");
        let error = credentials.login("gone.example").unwrap_err().to_string();
        assert!(error.contains("docker-credential-missing"), "{error}");
    }
}
