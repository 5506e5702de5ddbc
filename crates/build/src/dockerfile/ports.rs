//! Ports of `EXPOSE` and signals of `STOPSIGNAL`.

/// Reads one word of `EXPOSE`: `8000`, `53/udp`, `9000-9002`.
pub(crate) fn exposed(word: &str) -> Result<Vec<String>, String> {
    let (range, protocol) = match word.split_once('/') {
        Some((range, protocol)) => (range, protocol.to_ascii_lowercase()),
        None => (word, "tcp".to_owned()),
    };
    // A port of the host may be written before it; only the container's counts.
    let (host, range) = match range.rsplit_once(':') {
        Some((host, range)) => (host, range),
        None => ("", range),
    };
    let (address, host) = host.rsplit_once(':').unwrap_or(("", host));
    let address = address.trim_matches(['[', ']']);
    if !address.is_empty() && address.parse::<std::net::IpAddr>().is_err() {
        return Err(format!("invalid IP address: {address}"));
    }
    if range.is_empty() {
        return Err(format!("no port specified: {word}<empty>"));
    }
    let (first, last) = ends(range).ok_or_else(|| format!("invalid containerPort: {range}"))?;
    if !host.is_empty() {
        let (from, to) = ends(host).ok_or_else(|| format!("invalid hostPort: {host}"))?;
        if last != first && last - first != to - from {
            return Err(format!(
                "invalid ranges specified for container and host Ports: {range} and {host}"
            ));
        }
    }
    let protocol = match protocol.as_str() {
        "" => "tcp".to_owned(),
        _ => protocol,
    };
    if !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
        return Err(format!("invalid proto: {protocol}"));
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

/// The first and the last port of a range.
fn ends(range: &str) -> Option<(u16, u16)> {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}

const SIGNALS: [&str; 35] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "IOT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "POLL", "PWR", "SYS", "UNUSED",
];

/// Whether a text names a signal: by number, or by name with or without `SIG`.
pub(crate) fn is_signal(text: &str) -> bool {
    if let Ok(number) = text.parse::<i32>() {
        return number != 0;
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = name
        .strip_prefix("RTMIN")
        .or_else(|| name.strip_prefix("RTMAX"))
        .is_some_and(|rest| {
            rest.is_empty() || rest[1..].parse::<u8>().is_ok_and(|n| n < 16) && rest.starts_with(['+', '-'])
        });
    real_time || SIGNALS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_signals() {
        for (word, expected) in [
            ("8000", Ok(vec!["8000/tcp"])),
            ("53/UDP", Ok(vec!["53/udp"])),
            ("80/", Ok(vec!["80/tcp"])),
            ("9000-9001", Ok(vec!["9000/tcp", "9001/tcp"])),
            ("80:8080", Ok(vec!["8080/tcp"])),
            ("127.0.0.1:80:8080", Ok(vec!["8080/tcp"])),
            ("1.2:80:8080", Err("invalid IP address: 1.2")),
            ("x:8080", Err("invalid hostPort: x")),
            (
                "1-3:8-9",
                Err("invalid ranges specified for container and host Ports: 8-9 and 1-3"),
            ),
            ("x", Err("invalid containerPort: x")),
            ("80/foo", Err("invalid proto: foo")),
            ("9-8", Err("invalid containerPort: 9-8")),
            ("70000", Err("invalid containerPort: 70000")),
        ] {
            let found = exposed(word);
            let expected: Result<Vec<String>, String> = expected
                .map(|list| list.into_iter().map(str::to_owned).collect())
                .map_err(str::to_owned);
            assert_eq!(found, expected, "{word}");
        }
        for (text, expected) in [
            ("9", true),
            ("SIGTERM", true),
            ("quit", true),
            ("SIGRTMIN+3", true),
            ("foo", false),
            ("-1", true),
            ("0", false),
        ] {
            assert_eq!(is_signal(text), expected, "{text}");
        }
    }
}
