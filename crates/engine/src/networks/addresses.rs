//! The addresses of a network that is to be made: subnets, gateways, ranges, and what is somebody else's.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use coil_runtime::network::{Subnet, Subnet6};

use super::{CreateNetwork, NetworksError};

/// The addresses of a request, read.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    pub(super) subnet: Option<Subnet>,
    pub(super) subnet6: Option<Subnet6>,
    pub(super) gateway: Option<Ipv4Addr>,
    pub(super) gateway6: Option<Ipv6Addr>,
    pub(super) range: Option<Subnet>,
    pub(super) taken: BTreeMap<String, Ipv4Addr>,
}

impl Addresses {
    /// Reads them.
    ///
    /// # Errors
    /// When one is none, or lies outside what it belongs to.
    pub(super) fn read(request: &CreateNetwork) -> Result<Self, NetworksError> {
        let mut read = Self::default();
        for text in &request.subnets {
            let bad = || NetworksError::Subnet(text.clone());
            if text.contains(':') {
                let subnet6 = text.parse().map_err(|_| bad())?;
                if read.subnet6.replace(subnet6).is_some() {
                    return Err(NetworksError::Twice("subnet of IPv6"));
                }
                continue;
            }
            let subnet: Subnet = text.parse().map_err(|_| bad())?;
            // An address inside it, where the network itself is wanted.
            let given = text.split('/').next().and_then(|ip| ip.parse::<Ipv4Addr>().ok());
            if given.is_some_and(|ip| ip != subnet.base()) {
                return Err(NetworksError::NotItsBase {
                    given: text.clone(),
                    subnet: subnet.to_string(),
                });
            }
            if subnet.prefix() > 30 {
                return Err(NetworksError::Small(text.clone()));
            }
            if read.subnet.replace(subnet).is_some() {
                return Err(NetworksError::Twice("subnet of IPv4"));
            }
        }
        if read.subnet6.is_some_and(|subnet6| subnet6.prefix() > 120) {
            return Err(NetworksError::Small(request.subnets.join(" ")));
        }
        for text in &request.gateways {
            match text.parse() {
                Ok(std::net::IpAddr::V4(ip)) if read.subnet.is_some() => read.gateway = Some(ip),
                Ok(std::net::IpAddr::V6(ip)) if read.subnet6.is_some() => read.gateway6 = Some(ip),
                Ok(_) => {
                    return Err(NetworksError::Alone {
                        flag: "--gateway",
                        value: text.clone(),
                    });
                }
                Err(_) => return Err(NetworksError::Address(text.clone())),
            }
        }
        for text in &request.ranges {
            if read.subnet.is_none() {
                return Err(NetworksError::Alone {
                    flag: "--ip-range",
                    value: text.clone(),
                });
            }
            let range = text.parse().map_err(|_| NetworksError::Subnet(text.clone()))?;
            if read.range.replace(range).is_some() {
                return Err(NetworksError::Twice("range of IPv4 addresses"));
            }
        }
        for (name, text) in &request.taken {
            let address = text.parse::<Ipv4Addr>().ok();
            let address = address.filter(|ip| read.subnet.is_some_and(|subnet| subnet.contains(*ip)));
            let address = address.ok_or_else(|| NetworksError::Alone {
                flag: "--aux-address",
                value: text.clone(),
            })?;
            read.taken.insert(name.clone(), address);
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(subnets: &[&str], gateways: &[&str], ranges: &[&str]) -> Result<Addresses, String> {
        let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let request = CreateNetwork {
            subnets: list(subnets),
            gateways: list(gateways),
            ranges: list(ranges),
            ..CreateNetwork::default()
        };
        Addresses::read(&request).map_err(|error| error.to_string())
    }

    #[test]
    fn addresses_are_read_for_both_families() {
        let read = asked(
            &["10.9.0.0/16", "fd00:9::/64"],
            &["10.9.0.254", "fd00:9::fe"],
            &["10.9.8.0/24"],
        )
        .expect("they are right");
        assert_eq!(read.gateway, Some(Ipv4Addr::new(10, 9, 0, 254)));
        assert_eq!(read.gateway6, Some("fd00:9::fe".parse().expect("an address")));
        assert_eq!(
            read.range.map(|range| range.to_string()),
            Some("10.9.8.0/24".into())
        );
        for (subnets, gateways, ranges, word) in [
            (&["10.9.0.0"][..], &[][..], &[][..], "10.9.0.0"),
            (&["10.9.0.0/33"], &[], &[], "10.9.0.0/33"),
            (&["10.9.0.0/31"], &[], &[], "10.9.0.0/31"),
            (&["10.9.0.0/24", "10.8.0.0/24"], &[], &[], "IPv4"),
            (&[], &["10.9.0.1"], &[], "no matching subnet"),
            (&["10.9.0.0/24"], &["x"], &[], "x"),
            (&[], &[], &["10.9.0.0/25"], "no matching subnet"),
        ] {
            let error = asked(subnets, gateways, ranges).expect_err(word);
            assert!(error.contains(word), "{error}");
        }
    }
}
