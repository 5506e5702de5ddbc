//! A container's ports in one line, as Docker's `ps` lists them: neighbours together.

use std::collections::BTreeMap;

/// A port of a container, and where it is published.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// Inside.
    pub inside: u16,
    /// The address of the host; empty where it isn't published.
    pub ip: String,
    /// Outside.
    pub outside: u16,
    /// `tcp`, `udp`.
    pub protocol: String,
}

/// `80/tcp, 0.0.0.0:9000-9002->9000-9002/tcp, [::]:8080->80/tcp`.
pub fn in_words(mut ports: Vec<Port>) -> String {
    ports.sort();
    ports.dedup();
    let mut texts: Vec<String> = Vec::new();
    let mut moved: Vec<String> = Vec::new();
    let mut order: Vec<(String, String)> = Vec::new();
    let mut open: BTreeMap<(String, String), (u16, u16)> = BTreeMap::new();
    for port in ports {
        if !port.ip.is_empty() && port.outside != port.inside {
            moved.push(format!(
                "{}:{}->{}/{}",
                address(&port.ip),
                port.outside,
                port.inside,
                port.protocol
            ));
            continue;
        }
        let key = (port.ip, port.protocol);
        match open.get_mut(&key) {
            Some((_, last)) if *last + 1 == port.inside => *last = port.inside,
            Some(group) => {
                texts.push(group_in_words(&key, *group));
                *group = (port.inside, port.inside);
            }
            None => {
                order.push(key.clone());
                open.insert(key, (port.inside, port.inside));
            }
        }
    }
    texts.extend(order.iter().map(|key| group_in_words(key, open[key])));
    texts.extend(moved);
    texts.join(", ")
}

fn group_in_words((ip, protocol): &(String, String), (first, last): (u16, u16)) -> String {
    let range = if first == last {
        first.to_string()
    } else {
        format!("{first}-{last}")
    };
    if ip.is_empty() {
        format!("{range}/{protocol}")
    } else {
        format!("{}:{range}->{range}/{protocol}", address(ip))
    }
}

fn address(ip: &str) -> String {
    if ip.contains(':') {
        format!("[{ip}]")
    } else {
        ip.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(inside: u16, ip: &str, outside: u16) -> Port {
        Port {
            inside,
            ip: ip.into(),
            outside,
            protocol: "tcp".into(),
        }
    }

    #[test]
    fn neighbours_stand_together() {
        let mut ports = vec![port(77, "", 0), port(80, "0.0.0.0", 8099), port(80, "::", 8099)];
        for number in [9001, 9000, 9002] {
            ports.extend([port(number, "0.0.0.0", number), port(number, "::", number)]);
        }
        assert_eq!(
            in_words(ports),
            "77/tcp, 0.0.0.0:9000-9002->9000-9002/tcp, [::]:9000-9002->9000-9002/tcp, 0.0.0.0:8099->80/tcp, \
             [::]:8099->80/tcp"
        );
        assert_eq!(
            in_words(vec![port(80, "", 0), port(443, "", 0)]),
            "80/tcp, 443/tcp"
        );
        assert_eq!(in_words(Vec::new()), "");
    }
}
