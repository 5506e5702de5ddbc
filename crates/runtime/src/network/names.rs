//! The files that resolve names inside a container: `hosts`, `hostname`, `resolv.conf`.

use super::{NameSettings, NetworkSpec, NetworkState};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

/// Servers that answer everybody, for a host whose own can't be reached from a container; the same as Docker's.
const PUBLIC_SERVERS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(8, 8, 8, 8)),
    IpAddr::V4(Ipv4Addr::new(8, 8, 4, 4)),
];

/// The contents of the three files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameFiles {
    /// For `/etc/hosts`.
    pub hosts: String,
    /// For `/etc/hostname`.
    pub hostname: String,
    /// For `/etc/resolv.conf`.
    pub resolv_conf: String,
}

/// Where a container's own name server answers, as Docker's does.
pub const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// Writes the files of a container with a hostname, and its places on bridges where it has any.
pub fn files(spec: &NetworkSpec, hostname: &str, places: &[NetworkState]) -> NameFiles {
    let none = NameSettings::default();
    let names = spec.names().unwrap_or(&none);
    let resolv_conf = match spec {
        NetworkSpec::None | NetworkSpec::Container(_) => String::new(),
        NetworkSpec::Host(_) => resolv_conf(names, true, false),
        // Isolated containers reach no server but keep the host's list: the file is what programs expect to find.
        NetworkSpec::Bridge(_) | NetworkSpec::Isolated(_) => resolv_conf(names, false, has_names(places)),
    };
    NameFiles {
        hosts: hosts(spec, names, hostname, places),
        hostname: format!("{hostname}\n"),
        resolv_conf,
    }
}

/// Whether the container has a name server of its own: where one of its networks resolves names, and in a household, from
/// which the host's servers may be out of reach.
pub(crate) fn has_names(places: &[NetworkState]) -> bool {
    places
        .iter()
        .any(|place| !place.names.is_empty() || place.relay.is_some())
}

fn hosts(spec: &NetworkSpec, names: &NameSettings, hostname: &str, places: &[NetworkState]) -> String {
    let mut text = String::new();
    if matches!(spec, NetworkSpec::Host(_)) && !names.host_hosts.is_empty() {
        text.push_str(&names.host_hosts);
        if !text.ends_with('\n') {
            text.push('\n');
        }
    } else {
        text.push_str(
            "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
             ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
        );
    }
    for (name, ip) in &names.extra_hosts {
        // Writing to a string can't fail.
        let _ = writeln!(text, "{ip}\t{name}");
    }
    let gateway = places.iter().find(|place| place.way_out).or(places.first());
    let gateway = gateway.map_or(Ipv4Addr::LOCALHOST, |place| place.gateway);
    for name in &names.gateway_names {
        let _ = writeln!(text, "{gateway}\t{name}");
    }
    if matches!(spec, NetworkSpec::Host(_)) {
        return text;
    }
    if places.is_empty() {
        own_line(&mut text, Ipv4Addr::LOCALHOST.into(), hostname, &names.aliases);
    }
    for place in places {
        for address in addresses(place) {
            own_line(&mut text, address, hostname, &names.aliases);
        }
    }
    text
}

/// The container's addresses in a network.
fn addresses(place: &NetworkState) -> impl Iterator<Item = IpAddr> {
    std::iter::once(IpAddr::V4(place.address)).chain(place.address6.map(IpAddr::V6))
}

fn own_line(text: &mut String, address: IpAddr, hostname: &str, aliases: &[String]) {
    let short = hostname.split_once('.').map(|(short, _)| short);
    let all = [hostname]
        .into_iter()
        .chain(short)
        .chain(aliases.iter().map(String::as_str));
    let _ = writeln!(text, "{address}\t{}", all.collect::<Vec<_>>().join(" "));
}

/// The hosts file of a running container after it joined a network or left it; what others wrote into it stays.
pub(crate) fn hosts_after(
    text: &str,
    hostname: &str,
    aliases: &[String],
    joined: Option<&NetworkState>,
    left: Option<&NetworkState>,
) -> String {
    let gone: Vec<String> = left
        .into_iter()
        .flat_map(addresses)
        .map(|ip| ip.to_string())
        .collect();
    let mut after = String::new();
    for line in text.lines() {
        let address = line.split_ascii_whitespace().next().unwrap_or_default();
        if !gone.iter().any(|ip| ip == address) {
            after.push_str(line);
            after.push('\n');
        }
    }
    for address in joined.into_iter().flat_map(addresses) {
        own_line(&mut after, address, hostname, aliases);
    }
    after
}

/// A server that a container's own name server asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Upstream {
    /// Its address.
    pub(crate) server: IpAddr,
    /// Whether it is asked from inside the container, as one that the user named; else from the host.
    pub(crate) inside: bool,
}

/// The servers that know the names outside, in the order in which they are asked.
pub(crate) fn upstreams(names: &NameSettings) -> Vec<Upstream> {
    if !names.dns.is_empty() {
        let servers = names.dns.iter().map(|server| Upstream {
            server: *server,
            inside: true,
        });
        return servers.collect();
    }
    let mut servers: Vec<IpAddr> = Resolver::parse(&names.host_resolv_conf)
        .servers
        .iter()
        .filter(|server| !server.contains('%'))
        .filter_map(|server| server_address(server))
        .collect();
    if servers.is_empty() {
        servers = PUBLIC_SERVERS.to_vec();
    }
    let outside = servers.into_iter().map(|server| Upstream {
        server,
        inside: false,
    });
    outside.collect()
}

/// What a resolver configuration says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Resolver {
    servers: Vec<String>,
    search: Vec<String>,
    options: Vec<String>,
}

impl Resolver {
    fn parse(text: &str) -> Self {
        let mut resolver = Self::default();
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => resolver.servers.extend(words.next().map(str::to_owned)),
                // The last of these lines counts (resolv.conf(5)).
                Some("search" | "domain") => resolver.search = words.map(str::to_owned).collect(),
                Some("options") => resolver.options.extend(words.map(str::to_owned)),
                _ => {}
            }
        }
        resolver
    }
}

/// The IP address of a server, without a zone such as `%eth0`.
pub(super) fn server_address(text: &str) -> Option<IpAddr> {
    text.split('%').next()?.parse().ok()
}

/// Servers that a container can't reach: the host's loopback, and link-local ones that need the host's interface.
fn is_local(server: &str) -> bool {
    server.contains('%') || server_address(server).is_none_or(|ip| ip.is_loopback())
}

/// The name servers of the host, with the real ones in place of a local stub.
fn host_resolver(names: &NameSettings, same_namespace: bool) -> Resolver {
    let mut resolver = Resolver::parse(&names.host_resolv_conf);
    if same_namespace {
        return resolver;
    }
    if resolver.servers.iter().all(|server| is_local(server))
        && let Some(upstream) = &names.host_resolv_conf_upstream
    {
        let upstream = Resolver::parse(upstream);
        if !upstream.servers.is_empty() {
            resolver.servers = upstream.servers;
            if resolver.search.is_empty() {
                resolver.search = upstream.search;
            }
        }
    }
    resolver.servers.retain(|server| !is_local(server));
    if resolver.servers.is_empty() {
        resolver.servers = PUBLIC_SERVERS.iter().map(ToString::to_string).collect();
    }
    resolver
}

pub(crate) fn resolv_conf(names: &NameSettings, same_namespace: bool, own_server: bool) -> String {
    let host = host_resolver(names, same_namespace);
    let servers = if own_server {
        vec![NAME_SERVER.to_string()]
    } else if names.dns.is_empty() {
        host.servers
    } else {
        names.dns.iter().map(ToString::to_string).collect()
    };
    let search = if names.search.is_empty() {
        &host.search
    } else {
        &names.search
    };
    let mut options = if names.options.is_empty() {
        host.options
    } else {
        names.options.clone()
    };
    if own_server && !options.iter().any(|option| option.starts_with("ndots:")) {
        // A container's plain name is asked for as it is before any domain is tried.
        options.push("ndots:0".to_owned());
    }
    let mut text = String::new();
    for server in servers {
        // Writing to a string can't fail.
        let _ = writeln!(text, "nameserver {server}");
    }
    let search: Vec<&str> = search
        .iter()
        .map(String::as_str)
        .filter(|domain| *domain != ".")
        .collect();
    if !search.is_empty() {
        let _ = writeln!(text, "search {}", search.join(" "));
    }
    if !options.is_empty() {
        let _ = writeln!(text, "options {}", options.join(" "));
    }
    text
}

/// The IPv4 name servers that a container will be told, which its subnet must not cover.
pub(super) fn ipv4_servers(names: &NameSettings) -> Vec<Ipv4Addr> {
    let host = Resolver::parse(&names.host_resolv_conf).servers;
    let upstream = names
        .host_resolv_conf_upstream
        .as_deref()
        .map(Resolver::parse)
        .unwrap_or_default()
        .servers;
    host.iter()
        .chain(&upstream)
        .filter_map(|server| server_address(server))
        .chain(names.dns.iter().copied())
        .filter_map(|ip| match ip {
            IpAddr::V4(ip) => Some(ip),
            IpAddr::V6(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> NameSettings {
        NameSettings {
            host_resolv_conf: text.to_owned(),
            ..NameSettings::default()
        }
    }

    #[test]
    fn loopback_servers_are_replaced() {
        let mut settings =
            names("# stub\nnameserver 127.0.0.53\noptions edns0\nsearch a.example b.example\n");
        assert_eq!(
            resolv_conf(&settings, false, false),
            "nameserver 8.8.8.8\nnameserver 8.8.4.4\nsearch a.example b.example\noptions edns0\n"
        );
        settings.host_resolv_conf_upstream =
            Some("nameserver 192.0.2.53\nnameserver fe80::1%eth0\n".to_owned());
        assert_eq!(
            resolv_conf(&settings, false, false),
            "nameserver 192.0.2.53\nsearch a.example b.example\noptions edns0\n"
        );
        assert!(resolv_conf(&settings, true, false).starts_with("nameserver 127.0.0.53\n"));
    }

    #[test]
    fn what_is_asked_for_wins() {
        let mut settings = names("nameserver 192.0.2.53\nnameserver 127.0.0.1\nsearch a.example\n");
        assert_eq!(
            resolv_conf(&settings, false, false),
            "nameserver 192.0.2.53\nsearch a.example\n"
        );
        settings.dns = vec!["9.9.9.9".parse().unwrap()];
        settings.search = vec![".".to_owned()];
        assert_eq!(resolv_conf(&settings, false, false), "nameserver 9.9.9.9\n");
    }

    #[test]
    fn a_name_server_of_its_own_stands_in_for_the_hosts() {
        let mut settings = names("nameserver 127.0.0.53\nsearch a.example\noptions edns0\n");
        assert_eq!(
            resolv_conf(&settings, false, true),
            "nameserver 127.0.0.11\nsearch a.example\noptions edns0 ndots:0\n"
        );
        // The host's stub can be asked by the monitor, which stands in the host's network.
        let stub = Upstream {
            server: "127.0.0.53".parse().unwrap(),
            inside: false,
        };
        assert_eq!(upstreams(&settings), [stub]);
        settings.dns = vec!["9.9.9.9".parse().unwrap()];
        settings.options = vec!["ndots:2".to_owned()];
        assert!(upstreams(&settings)[0].inside);
        assert!(resolv_conf(&settings, false, true).ends_with("options ndots:2\n"));
    }

    #[test]
    fn the_hosts_file_names_the_container() {
        let mut settings = names("");
        settings.extra_hosts = vec![("db".to_owned(), "10.0.0.5".parse().unwrap())];
        settings.aliases = vec!["web".to_owned()];
        let files = files(&NetworkSpec::bridge(true, settings), "app.example", &[]);
        let end = "10.0.0.5\tdb\n127.0.0.1\tapp.example app web\n";
        assert!(files.hosts.ends_with(end), "{}", files.hosts);
        assert_eq!(files.hostname, "app.example\n");
    }
}
