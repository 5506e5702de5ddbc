//! Networks of IPv4 and IPv6, as addresses and prefix lengths.

use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, Ipv6Addr};

/// An IPv4 network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet {
    base: u32,
    prefix: u8,
}

impl Subnet {
    /// The network of a prefix length that an address is in; none when the prefix is above 32.
    pub fn new(address: Ipv4Addr, prefix: u8) -> Option<Self> {
        (prefix <= 32).then(|| Self {
            base: u32::from(address) & mask(prefix),
            prefix,
        })
    }

    /// The network's first address.
    pub fn base(self) -> Ipv4Addr {
        Ipv4Addr::from(self.base)
    }

    /// The length of the network's prefix in bits.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// The network's address of a number; none when there are not so many.
    pub fn nth(self, number: u32) -> Option<Ipv4Addr> {
        let size = 1u64 << (32 - u32::from(self.prefix));
        (u64::from(number) < size).then(|| Ipv4Addr::from(self.base + number))
    }

    /// The last address: the one for broadcasts.
    pub fn last(self) -> Ipv4Addr {
        Ipv4Addr::from(self.base | !mask(self.prefix))
    }

    /// Whether an address is in it.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & mask(self.prefix) == self.base
    }

    /// Whether the two have an address in common.
    pub fn overlaps(self, other: Subnet) -> bool {
        self.contains(other.base()) || other.contains(self.base())
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

impl std::fmt::Display for Subnet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.base(), self.prefix)
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> Self {
        subnet.to_string()
    }
}

impl std::str::FromStr for Subnet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not an IPv4 network such as 10.9.0.0/24");
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address = address.parse().map_err(|_| wrong())?;
        let prefix = prefix.parse().map_err(|_| wrong())?;
        Self::new(address, prefix).ok_or_else(wrong)
    }
}

impl TryFrom<String> for Subnet {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// An IPv6 network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet6 {
    base: u128,
    prefix: u8,
}

impl Subnet6 {
    /// The network of a prefix length that an address is in; none when the prefix is above 128.
    pub fn new(address: Ipv6Addr, prefix: u8) -> Option<Self> {
        (prefix <= 128).then(|| Self {
            base: u128::from(address) & mask6(prefix),
            prefix,
        })
    }

    /// The network's first address.
    pub fn base(self) -> Ipv6Addr {
        Ipv6Addr::from(self.base)
    }

    /// The length of the network's prefix in bits.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// The network's address of a number; none when there are not so many.
    pub fn nth(self, number: u32) -> Option<Ipv6Addr> {
        let address = Ipv6Addr::from(self.base.checked_add(number.into())?);
        self.contains(address).then_some(address)
    }

    /// Whether an address is in it.
    pub fn contains(self, address: Ipv6Addr) -> bool {
        u128::from(address) & mask6(self.prefix) == self.base
    }

    /// Whether the two have an address in common.
    pub fn overlaps(self, other: Subnet6) -> bool {
        self.contains(other.base()) || other.contains(self.base())
    }
}

fn mask6(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)
}

impl std::fmt::Display for Subnet6 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.base(), self.prefix)
    }
}

impl From<Subnet6> for String {
    fn from(subnet: Subnet6) -> Self {
        subnet.to_string()
    }
}

impl std::str::FromStr for Subnet6 {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not an IPv6 network such as fd00:9::/64");
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address = address.parse().map_err(|_| wrong())?;
        let prefix = prefix.parse().map_err(|_| wrong())?;
        Self::new(address, prefix).ok_or_else(wrong)
    }
}

impl TryFrom<String> for Subnet6 {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets() {
        let net: Subnet = "10.9.8.7/24".parse().unwrap();
        assert_eq!(net.to_string(), "10.9.8.0/24");
        assert_eq!(net.nth(1), Some(Ipv4Addr::new(10, 9, 8, 1)));
        assert_eq!(net.nth(256), None);
        assert_eq!(net.last(), Ipv4Addr::new(10, 9, 8, 255));
        assert!(net.overlaps("10.0.0.0/8".parse().unwrap()));
        assert!(!net.overlaps("10.9.9.0/24".parse().unwrap()));
        assert!(
            "0.0.0.0/0"
                .parse::<Subnet>()
                .unwrap()
                .contains(Ipv4Addr::LOCALHOST)
        );
        assert!("10.9.8.0/33".parse::<Subnet>().is_err());
    }

    #[test]
    fn subnets_of_ipv6() {
        let net: Subnet6 = "fd00:9::77/64".parse().unwrap();
        assert_eq!(net.to_string(), "fd00:9::/64");
        assert_eq!(net.nth(2), Some("fd00:9::2".parse().unwrap()));
        assert!(net.overlaps("fd00::/8".parse().unwrap()));
        assert!(!net.overlaps("fd00:9:0:1::/64".parse().unwrap()));
        assert_eq!("fd00::1/128".parse::<Subnet6>().unwrap().nth(1), None);
        assert!("fd00::/129".parse::<Subnet6>().is_err());
    }
}
