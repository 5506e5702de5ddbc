//! How the network is reached: certificates, proxies, logins, and the same for uv.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use coil_fetch::{FetchSettings, parse_netrc};

use crate::environment::Environment;
use crate::pip_settings::PipSettings;

/// Everything that a command needs that may reach the network.
pub struct NetworkSettings {
    /// For the HTTP client.
    pub fetch: FetchSettings,
    /// uv, where it is installed.
    pub uv: Option<PathBuf>,
    /// Environment for uv.
    pub uv_environment: Vec<(OsString, OsString)>,
}

impl NetworkSettings {
    /// Reads the files and variables; only commands that may reach the network do.
    pub fn read(environment: &Environment, offline: bool) -> Self {
        let pip = PipSettings::read(environment, &|path| std::fs::read_to_string(path).ok());
        let ca_file = environment
            .path("SSL_CERT_FILE")
            .or(pip.cert)
            .or_else(|| environment.path("REQUESTS_CA_BUNDLE"))
            .or_else(|| environment.path("CURL_CA_BUNDLE"));
        let ca_dir = environment.path("SSL_CERT_DIR");
        let all = ["all_proxy", "ALL_PROXY"];
        let http_proxy = environment.first(&["http_proxy", "HTTP_PROXY", all[0], all[1]]);
        let https_proxy = environment.first(&["https_proxy", "HTTPS_PROXY", all[0], all[1]]);
        let no_proxy = environment.first(&["no_proxy", "NO_PROXY"]);
        let netrc = environment
            .path("NETRC")
            .or_else(|| environment.home().map(|home| home.join(".netrc")));
        let netrc = netrc.filter(|path| path.is_file());
        let entries = netrc
            .as_deref()
            .and_then(|path| std::fs::read_to_string(path).ok());
        let usual = FetchSettings::default();
        let mut uv_environment: Vec<(OsString, OsString)> = Vec::new();
        let mut pass = |name: &str, value: Option<OsString>| {
            uv_environment.extend(value.map(|value| (OsString::from(name), value)));
        };
        pass("SSL_CERT_FILE", ca_file.clone().map(Into::into));
        pass("SSL_CERT_DIR", ca_dir.clone().map(Into::into));
        pass("HTTP_PROXY", http_proxy.clone().map(Into::into));
        pass("HTTPS_PROXY", https_proxy.clone().map(Into::into));
        pass("NO_PROXY", no_proxy.clone().map(Into::into));
        pass("NETRC", netrc.map(Into::into));
        Self {
            fetch: FetchSettings {
                ca_file,
                ca_dir,
                http_proxy,
                https_proxy,
                no_proxy,
                netrc: entries.map(|text| parse_netrc(&text)).unwrap_or_default(),
                offline,
                // pip's own time-out may make it longer, never shorter: ours is for each piece of an answer.
                timeout: pip.timeout.map_or(usual.timeout, |seconds| {
                    usual.timeout.max(Duration::from_secs(seconds))
                }),
                ..usual
            },
            uv: program("uv", &environment.search_path()),
            uv_environment,
        }
    }
}

/// The first file of this name that may be run.
fn program(name: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    let runs = |path: &Path| {
        std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    folders
        .iter()
        .map(|folder| folder.join(name))
        .find(|path| runs(path))
}
