//! How each kind of address is reached: with TLS or without, through a proxy or not.

use std::sync::OnceLock;

use ureq::Agent;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::transport::DefaultConnector;

use crate::address::{Address, Credentials, redact_url};
use crate::client::{Fetcher, Inner};
use crate::error::FetchError;
use crate::names::Names;
use crate::{forward, proxy, tls};

/// The connections, each kind made when it is first wanted.
#[derive(Default)]
pub(crate) struct Agents {
    pub(crate) names: Names,
    plain: OnceLock<Agent>,
    plain_proxied: OnceLock<Result<Agent, String>>,
    tls: OnceLock<Result<Agent, String>>,
    tls_proxied: OnceLock<Result<Agent, String>>,
}

impl Fetcher {
    /// The proxy by which an address is reached.
    pub(crate) fn proxy_for(&self, address: &Address) -> Option<&str> {
        let settings = &self.inner.settings;
        let proxy = if address.https {
            &settings.https_proxy
        } else {
            &settings.http_proxy
        };
        let proxy = proxy.as_deref().filter(|text| !text.is_empty());
        proxy.filter(|_| !proxy::is_exempt(settings.no_proxy.as_deref(), address))
    }

    pub(crate) fn agent(&self, address: &Address, url: &str) -> Result<&Agent, FetchError> {
        let (inner, names) = (&*self.inner, &self.inner.agents.names);
        let proxy = self.proxy_for(address);
        let made = match (address.https, proxy) {
            (false, None) => {
                let made = || with_names(config(inner).build(), names);
                return Ok(self.inner.agents.plain.get_or_init(made));
            }
            (false, Some(proxy)) => self
                .inner
                .agents
                .plain_proxied
                .get_or_init(|| plain_proxied(inner, names, proxy)),
            (true, None) => self.inner.agents.tls.get_or_init(|| secure(inner, names, None)),
            (true, Some(proxy)) => self
                .inner
                .agents
                .tls_proxied
                .get_or_init(|| secure(inner, names, Some(proxy))),
        };
        made.as_ref().map_err(|reason| FetchError::Tls {
            url: redact_url(url),
            reason: reason.clone(),
        })
    }
}

fn config(inner: &Inner) -> ureq::config::ConfigBuilder<ureq::typestate::AgentScope> {
    let timeout = inner.settings.timeout;
    Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .user_agent(concat!("coil/", env!("CARGO_PKG_VERSION")))
        .accept_encoding("")
        // Else the system says how long it looks.
        .timeout_resolve(inner.patience)
        .timeout_connect(Some(timeout))
        .timeout_per_read(Some(timeout))
        .timeout_per_write(Some(timeout))
        .max_idle_connections_per_host(8)
}

fn with_names(config: Config, names: &Names) -> Agent {
    Agent::with_parts(config, DefaultConnector::default(), names.clone())
}

fn plain_proxied(inner: &Inner, names: &Names, proxy: &str) -> Result<Agent, String> {
    if proxy.starts_with("https://") || proxy.starts_with("socks") {
        return tunnel(proxy).map(|proxy| with_names(config(inner).proxy(Some(proxy)).build(), names));
    }
    let text = if proxy.contains("://") {
        proxy.to_string()
    } else {
        format!("http://{proxy}")
    };
    let address = Address::parse(&text).ok_or_else(|| "the http proxy's address is not a URL".to_string())?;
    let uri: Uri = address
        .bare()
        .parse()
        .map_err(|_| "the http proxy's address is not a URL".to_string())?;
    let authorization = address.credentials.as_ref().map(Credentials::basic);
    Ok(forward::agent(
        config(inner).build(),
        names.clone(),
        uri,
        authorization,
    ))
}

fn secure(inner: &Inner, names: &Names, proxy: Option<&str>) -> Result<Agent, String> {
    let settings = &inner.settings;
    let tls = tls::config(settings.ca_file.as_deref(), settings.ca_dir.as_deref())?;
    let proxy = proxy.map(tunnel).transpose()?;
    Ok(with_names(
        config(inner).tls_config(tls).proxy(proxy).build(),
        names,
    ))
}

fn tunnel(proxy: &str) -> Result<ureq::Proxy, String> {
    if proxy.starts_with("socks") {
        return Err("a SOCKS proxy is not supported: name an http proxy".to_string());
    }
    ureq::Proxy::new(proxy).map_err(|_| "the https proxy's address is not a URL".to_string())
}
