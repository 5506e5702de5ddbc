//! Which hosts are reached without the proxy (the rules of `NO_PROXY`).

use std::net::IpAddr;

use crate::address::Address;

/// Whether the list `no_proxy` names this host.
///
/// Entries are separated by commas or blanks: `*`; a host, with or without a leading dot or `*.`, that stands for itself and all
/// below it; any of them with `:port`; an IP address; an address block such as `10.0.0.0/8`.
pub(crate) fn is_exempt(no_proxy: Option<&str>, address: &Address) -> bool {
    let host = address.host.trim_start_matches('[').trim_end_matches(']');
    let ip: Option<IpAddr> = host.parse().ok();
    no_proxy
        .unwrap_or_default()
        .split([',', ' '])
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
        .any(|entry| {
            if entry == "*" {
                return true;
            }
            if let Some((block, length)) = entry.split_once('/') {
                return match (ip, block.parse(), length.parse()) {
                    (Some(ip), Ok(block), Ok(length)) => in_block(ip, block, length),
                    _ => false,
                };
            }
            if let (Some(ip), Ok(other)) = (ip, entry.trim_matches(['[', ']']).parse::<IpAddr>()) {
                return ip == other;
            }
            let (name, port) = match entry.rsplit_once(':') {
                Some((name, port)) if port.parse::<u16>().is_ok() => (name, port.parse::<u16>().ok()),
                _ => (entry, None),
            };
            if port.is_some_and(|port| port != address.port) {
                return false;
            }
            let name = name
                .trim_start_matches('*')
                .trim_start_matches('.')
                .to_ascii_lowercase();
            host == name
                || host
                    .strip_suffix(&name)
                    .is_some_and(|head| head.ends_with('.') && !name.is_empty())
        })
}

fn in_block(ip: IpAddr, block: IpAddr, length: u32) -> bool {
    let bits = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => (u128::from(u32::from(ip)) << 96, 32),
        IpAddr::V6(ip) => (u128::from(ip), 128),
    };
    let ((ip, width), (block, block_width)) = (bits(ip), bits(block));
    let shift = 128u32.saturating_sub(length);
    width == block_width && length <= width && (length == 0 || ip >> shift == block >> shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_entries() {
        for (list, url, expected) in [
            ("*", "http://x/", true),
            ("localhost,.corp.example", "http://a.corp.example/", true),
            (".corp.example", "http://corp.example/", true),
            ("corp.example", "http://a.corp.example/", true),
            ("*.corp.example", "http://a.corp.example/", true),
            ("corp.example", "http://notcorp.example/", false),
            ("h:8080", "http://h:8080/", true),
            ("h:8080", "http://h/", false),
            ("10.0.0.0/8", "http://10.200.1.1/", true),
            ("10.0.0.0/8", "http://11.0.0.1/", false),
            ("127.0.0.1", "http://127.0.0.1:99/", true),
            ("::1", "http://[::1]/", true),
            ("fd00::/8", "http://[fd00::5]/", true),
            ("", "http://x/", false),
        ] {
            assert_eq!(
                is_exempt(Some(list), &Address::parse(url).unwrap()),
                expected,
                "{list} {url}"
            );
        }
    }
}
