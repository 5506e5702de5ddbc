//! Where a registry is: its address, its mirrors, and whether it speaks plain HTTP.

use coil_oci::Reference;

/// What the user says about registries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegistrySettings {
    /// Mirrors of Docker Hub, tried in this order before it: `https://mirror.example`, `mirror.example:5000`.
    pub mirrors: Vec<String>,
    /// Registries that may speak plain HTTP besides those on this machine: `registry.local:5000`.
    pub insecure: Vec<String>,
}

/// One server that may have an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// `https://registry-1.docker.io`, without a slash at its end.
    pub(crate) base: String,
    /// The name by which logins for it are known.
    pub(crate) name: String,
    /// The repository there.
    pub(crate) repository: String,
    /// Whether it stands for another server.
    pub(crate) is_mirror: bool,
}

impl Endpoint {
    /// An address below the repository: `manifests/latest`, `blobs/sha256:…`.
    pub(crate) fn url(&self, rest: &str) -> String {
        format!("{}/v2/{}/{rest}", self.base, self.repository)
    }

    pub(crate) fn is_plain(&self) -> bool {
        self.base.starts_with("http://")
    }
}

impl RegistrySettings {
    /// The servers to ask for a reference, in order.
    pub(crate) fn endpoints(&self, reference: &Reference) -> Vec<Endpoint> {
        let registry = reference.registry();
        let repository = reference.repository().to_owned();
        let mut endpoints = Vec::new();
        if registry == "docker.io" {
            for mirror in &self.mirrors {
                let address = mirror.trim_end_matches('/');
                let host = address.split_once("://").map_or(address, |(_, host)| host);
                endpoints.push(Endpoint {
                    base: match address.contains("://") {
                        true => address.to_owned(),
                        false => self.base(host),
                    },
                    name: host.to_owned(),
                    repository: repository.clone(),
                    is_mirror: true,
                });
            }
        }
        let host = match registry {
            "docker.io" => "registry-1.docker.io",
            other => other,
        };
        endpoints.push(Endpoint {
            base: self.base(host),
            name: registry.to_owned(),
            repository,
            is_mirror: false,
        });
        endpoints
    }

    fn base(&self, host: &str) -> String {
        let named = self.insecure.iter().any(|insecure| {
            let insecure = insecure
                .split_once("://")
                .map_or(insecure.as_str(), |(_, host)| host);
            insecure.trim_end_matches('/').eq_ignore_ascii_case(host)
        });
        let scheme = if named || is_this_machine(host) {
            "http"
        } else {
            "https"
        };
        format!("{scheme}://{host}")
    }
}

/// Whether a host, with or without a port, is on loopback: Docker takes plain HTTP there too.
fn is_this_machine(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => (name, Some(port)),
        _ => (host, None),
    };
    port != Some("443")
        && (name == "localhost"
            || name == "[::1]"
            || name
                .parse::<std::net::Ipv4Addr>()
                .is_ok_and(|address| address.is_loopback()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_dockers() {
        let settings = RegistrySettings {
            mirrors: vec!["https://mirror.example/".into(), "127.0.0.1:5001".into()],
            insecure: vec!["registry.local:5000".into()],
        };
        let of = |text: &str| -> Vec<String> {
            let reference = Reference::parse(text).unwrap();
            let endpoints = settings.endpoints(&reference);
            endpoints
                .iter()
                .map(|endpoint| endpoint.url("manifests/x"))
                .collect()
        };
        assert_eq!(
            of("python:3.11"),
            [
                "https://mirror.example/v2/library/python/manifests/x",
                "http://127.0.0.1:5001/v2/library/python/manifests/x",
                "https://registry-1.docker.io/v2/library/python/manifests/x"
            ]
        );
        for (text, base) in [
            ("ghcr.io/a/b", "https://ghcr.io/"),
            ("localhost/a", "http://localhost/"),
            ("127.0.0.1:5000/a", "http://127.0.0.1:5000/"),
            ("localhost:443/a", "https://localhost:443/"),
            ("registry.local:5000/a", "http://registry.local:5000/"),
            ("registry.local/a", "https://registry.local/"),
        ] {
            let urls = of(text);
            assert!(urls.len() == 1 && urls[0].starts_with(base), "{text}: {urls:?}");
        }
    }
}
