//! What build steps see of the host: certificates, proxies, package indices; never a login.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use coil_build::dockerfile::HostView;
use coil_build::executor::StepBind;
use coil_build::package_front::StepIndex;

use crate::apt_settings;
use crate::pip_settings::PipSettings;
use crate::settings::Settings;

/// Where the host's files stand inside a step: in memory, so that nothing of it is left in a layer.
const INSIDE: &str = "/dev/coil";
/// The machine's apt configuration.
const APT: &str = "/etc/apt";
/// Variables by which programs are told of certificates.
const CERTIFICATES: [&str; 7] = [
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "PIP_CERT",
    "NODE_EXTRA_CA_CERTS",
    "GIT_SSL_CAINFO",
    "CARGO_HTTP_CAINFO",
];
const PROXIES: [&str; 8] = [
    "http_proxy",
    "HTTP_PROXY",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
];

/// Gathers it from the environment and the tools' own files.
pub fn host_view(settings: &Settings, private: &Path) -> HostView {
    let environment = settings.environment();
    let mut view = HostView::default();
    let mut set = |name: &str, value: String| view.env.push((name.to_owned(), value));
    let network = settings.network(false);
    let certificates = network.fetch.ca_file.filter(|path| path.is_file());
    if certificates.is_some() {
        for name in CERTIFICATES {
            set(name, format!("{INSIDE}/ca-certificates.crt"));
        }
    }
    for name in PROXIES {
        if let Some(value) = environment.text(name) {
            set(name, without_login(&value));
        }
    }
    let pip = PipSettings::read(environment, &|path| fs::read_to_string(path).ok());
    let is_plain = |url: &str| url.starts_with("http") && without_login(url) == url;
    let (default, extra): (Vec<_>, Vec<_>) = pip.index.indexes.iter().partition(|index| index.default);
    if let Some(index) = default.iter().find(|index| is_plain(&index.url)) {
        set("PIP_INDEX_URL", index.url.clone());
        set("UV_DEFAULT_INDEX", index.url.clone());
    }
    let extra: Vec<&str> = extra
        .iter()
        .map(|index| index.url.as_str())
        .filter(|url| is_plain(url))
        .collect();
    // An index with a login is the step's own business: it gets what `--secret` gives it.
    if default.iter().all(|index| is_plain(&index.url)) && pip.index.no_index != Some(true) {
        view.index = Some(StepIndex::at(default.first().map(|index| index.url.clone())));
    }
    if !extra.is_empty() {
        set("PIP_EXTRA_INDEX_URL", extra.join(" "));
        set("UV_INDEX", extra.join(" "));
    }
    if !pip.index.insecure_hosts.is_empty() {
        set("PIP_TRUSTED_HOST", pip.index.insecure_hosts.join(" "));
    }
    if let Some(timeout) = pip.timeout {
        set("PIP_DEFAULT_TIMEOUT", timeout.to_string());
    }
    for name in ["UV_DEFAULT_INDEX", "UV_INDEX_URL"] {
        if let Some(value) = environment.text(name).filter(|value| is_plain(value)) {
            set(name, value);
        }
    }
    // apt reads no variable for certificates, and its proxies may stand in its own files alone. An image's own settings win.
    let mut apt = String::new();
    for (name, value) in apt_settings::proxies(Path::new(APT)) {
        apt.push_str(&format!("{name} \"{value}\";\n"));
    }
    if let Some(certificates) = certificates {
        view.binds.push(bind(&certificates, "ca-certificates.crt"));
        apt.push_str(&format!(
            "Acquire::https::CaInfo \"{INSIDE}/ca-certificates.crt\";\n"
        ));
    }
    if !apt.is_empty() {
        let place = private.join("apt.conf");
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(private)
            .and_then(|()| match fs::read_to_string(&place) {
                Ok(known) if known == apt => Ok(()),
                _ => fs::write(&place, apt),
            });
        if made.is_ok() {
            view.binds.push(bind(&place, "apt.conf"));
            view.env.push(("APT_CONFIG".into(), format!("{INSIDE}/apt.conf")));
        }
    }
    view
}

fn bind(source: &Path, name: &str) -> StepBind {
    StepBind {
        source: fs::canonicalize(source).unwrap_or_else(|_| source.to_owned()),
        target: format!("{INSIDE}/{name}"),
        read_only: true,
    }
}

/// An address without user and password.
fn without_login(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let end = rest.find('/').unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://{}", &rest[at + 1..]),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_taken_out_of_addresses() {
        assert_eq!(without_login("http://me:pw@proxy:3128/"), "http://proxy:3128/");
        assert_eq!(without_login("http://proxy/a@b"), "http://proxy/a@b");
        assert_eq!(without_login("localhost,.local"), "localhost,.local");
    }
}
