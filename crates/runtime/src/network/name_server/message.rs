//! Messages of the Domain Name System, as far as answers about containers need them (RFC 1035, RFC 6891).
//!
//! What comes in is a container's and may be anything: nothing here trusts a length.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Length of the header, in bytes.
const HEADER: usize = 12;
/// The longest name on the wire, in bytes.
const LONGEST_NAME: usize = 255;
/// What every resolver takes in a datagram, and the most that is sent in one.
const DATAGRAM: (usize, usize) = (512, 1232);
/// Seconds that an answer may be kept: containers come and go.
const LIFETIME: u32 = 5;

/// Kinds of records.
pub(super) mod kind {
    pub(crate) const A: u16 = 1;
    pub(crate) const PTR: u16 = 12;
    pub(crate) const AAAA: u16 = 28;
    pub(crate) const OPT: u16 = 41;
    pub(crate) const ANY: u16 = 255;
}

/// How a question was answered.
pub(super) mod code {
    pub(crate) const FINE: u8 = 0;
    pub(crate) const MALFORMED: u8 = 1;
    pub(crate) const FAILED: u8 = 2;
    pub(crate) const NO_SUCH_NAME: u8 = 3;
    pub(crate) const NOT_IMPLEMENTED: u8 = 4;
    pub(crate) const REFUSED: u8 = 5;
}

/// A question about one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// In small letters, without the last dot; bytes that no host name has are replaced.
    pub(super) name: String,
    pub(super) kind: u16,
    /// Whether it is about the internet (class IN).
    pub(super) internet: bool,
    /// Where the question ends in its message.
    end: usize,
    /// The largest answer that the asker takes in a datagram.
    pub(super) limit: usize,
}

/// A line of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    Address(IpAddr),
    Name(String),
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

/// Where the name at a place ends, and what it is; no name of a question is compressed.
fn name_at(bytes: &[u8], start: usize) -> Option<(String, usize)> {
    let mut name = String::new();
    let mut at = start;
    loop {
        let length = usize::from(*bytes.get(at)?);
        at += 1;
        if length == 0 {
            return Some((name, at));
        }
        if length > 63 || at + length - start > LONGEST_NAME {
            return None;
        }
        if !name.is_empty() {
            name.push('.');
        }
        for byte in bytes.get(at..at + length)? {
            let plain = byte.is_ascii_graphic() && *byte != b'.';
            let letter = char::from(byte.to_ascii_lowercase());
            name.push(if plain {
                letter
            } else {
                char::REPLACEMENT_CHARACTER
            });
        }
        at += length;
    }
}

/// Reads a message with one question.
///
/// # Errors
/// The answer to one that can't be understood; none where no answer is due.
pub(super) fn question(bytes: &[u8]) -> Result<Question, Option<Vec<u8>>> {
    let flags = number(bytes, 2).filter(|_| bytes.len() >= HEADER).ok_or(None)?;
    if flags & 0x8000 != 0 {
        // An answer: to answer it could go on for ever.
        return Err(None);
    }
    if flags >> 11 & 0xf != 0 {
        return Err(Some(refusal(bytes, code::NOT_IMPLEMENTED)));
    }
    let malformed = || Some(refusal(bytes, code::MALFORMED));
    if number(bytes, 4) != Some(1) {
        return Err(malformed());
    }
    let (name, end) = name_at(bytes, HEADER).ok_or_else(malformed)?;
    let kind = number(bytes, end).ok_or_else(malformed)?;
    let class = number(bytes, end + 2).ok_or_else(malformed)?;
    let end = end + 4;
    let mut limit = DATAGRAM.0;
    // The record that says how much the asker takes is the first behind the question, where there is one.
    let bare = number(bytes, 6) == Some(0) && number(bytes, 8) == Some(0);
    if bare && bytes.get(end) == Some(&0) && number(bytes, end + 1) == Some(kind::OPT) {
        let size = number(bytes, end + 3).unwrap_or(0);
        limit = usize::from(size).clamp(DATAGRAM.0, DATAGRAM.1);
    }
    Ok(Question {
        name,
        kind,
        internet: class == 1,
        end,
        limit,
    })
}

/// An answer without records to a message that may have no question that could be read.
pub(super) fn refusal(query: &[u8], code: u8) -> Vec<u8> {
    let mut bytes = query.get(..2).unwrap_or(&[0, 0]).to_vec();
    let asked = query.get(2).copied().unwrap_or(0);
    // An answer, with the asker's operation and wish for recursion; recursion is available.
    bytes.extend([0x80 | asked & 0x79, 0x80 | code]);
    bytes.resize(HEADER, 0);
    bytes
}

/// An answer to a question; what is more than `limit` is left out and said to be missing.
pub(super) fn answer(
    query: &[u8],
    question: &Question,
    code: u8,
    records: &[Record],
    limit: usize,
) -> Vec<u8> {
    let mut bytes = refusal(query, code);
    bytes[5] = 1;
    bytes.extend(query.get(HEADER..question.end).unwrap_or_default());
    let mut count: u16 = 0;
    for record in records {
        let (kind, data) = match record {
            Record::Address(IpAddr::V4(ip)) => (kind::A, ip.octets().to_vec()),
            Record::Address(IpAddr::V6(ip)) => (kind::AAAA, ip.octets().to_vec()),
            Record::Name(name) => match wire_name(name) {
                Some(data) => (kind::PTR, data),
                None => continue,
            },
        };
        if bytes.len() + 12 + data.len() > limit {
            bytes[2] |= 0x02;
            break;
        }
        // The name is the question's: a pointer to it.
        bytes.extend([0xc0, HEADER as u8]);
        bytes.extend(kind.to_be_bytes());
        bytes.extend(1u16.to_be_bytes());
        bytes.extend(LIFETIME.to_be_bytes());
        bytes.extend((data.len() as u16).to_be_bytes());
        bytes.extend(data);
        count += 1;
    }
    bytes[6..8].copy_from_slice(&count.to_be_bytes());
    bytes
}

fn wire_name(name: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(name.len() + 2);
    for label in name.split('.') {
        if label.is_empty() || label.len() > 63 {
            return None;
        }
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    (bytes.len() <= LONGEST_NAME).then_some(bytes)
}

/// The address that a name of the reverse tree stands for.
pub(super) fn reversed(name: &str) -> Option<IpAddr> {
    if let Some(rest) = name.strip_suffix(".in-addr.arpa") {
        let mut octets = [0; 4];
        let mut labels = rest.split('.');
        for octet in octets.iter_mut().rev() {
            *octet = labels.next()?.parse().ok()?;
        }
        return labels.next().is_none().then(|| Ipv4Addr::from(octets).into());
    }
    let rest = name.strip_suffix(".ip6.arpa")?;
    let mut value: u128 = 0;
    let mut count = 0;
    for label in rest.split('.').collect::<Vec<_>>().into_iter().rev() {
        let digit = u8::from_str_radix(label, 16).ok().filter(|_| label.len() == 1)?;
        value = value.checked_shl(4)? | u128::from(digit);
        count += 1;
        if count > 32 {
            return None;
        }
    }
    (count == 32).then(|| Ipv6Addr::from(value).into())
}

/// Whether a message is an answer to the question of another, under a number.
pub(super) fn is_answer(reply: &[u8], id: u16, query: &[u8], question: &Question) -> bool {
    let same = |at: std::ops::Range<usize>| match (reply.get(at.clone()), query.get(at)) {
        (Some(reply), Some(query)) => reply.eq_ignore_ascii_case(query),
        _ => false,
    };
    number(reply, 0) == Some(id)
        && reply.get(2).is_some_and(|flags| flags & 0x80 != 0)
        && number(reply, 4) == Some(1)
        && same(HEADER..question.end)
}

/// Whether another server may know better.
pub(super) fn is_failure(reply: &[u8]) -> bool {
    reply
        .get(3)
        .is_none_or(|flags| [code::FAILED, code::NOT_IMPLEMENTED, code::REFUSED].contains(&(flags & 0xf)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(name: &str, kind: u16) -> Vec<u8> {
        let mut bytes = vec![0x12, 0x34, 0x01, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        bytes.extend(wire_name(name).expect("a name"));
        bytes.extend(kind.to_be_bytes());
        bytes.extend([0, 1]);
        bytes
    }

    #[test]
    fn a_question_is_read_and_answered() {
        let query = ask("Web", kind::A);
        let question = question(&query).expect("a question");
        assert_eq!(
            (
                question.name.as_str(),
                question.kind,
                question.internet,
                question.limit
            ),
            ("web", kind::A, true, 512)
        );
        let records = [Record::Address("10.0.0.2".parse().unwrap())];
        let reply = answer(&query, &question, code::FINE, &records, 512);
        assert_eq!(reply[..4], [0x12, 0x34, 0x81, 0x80]);
        assert_eq!(reply[6..8], [0, 1]);
        assert_eq!(
            reply[query.len()..],
            [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 10, 0, 0, 2]
        );
        assert!(is_answer(&reply, 0x1234, &query, &question));
        assert!(!is_answer(&reply, 0x1235, &query, &question));
        assert!(!is_answer(&query, 0x1234, &query, &question));
        assert!(!is_failure(&reply));
        assert!(is_failure(&refusal(&query, code::FAILED)));
    }

    #[test]
    fn what_does_not_fit_is_said_to_be_missing() {
        let mut query = ask("web", kind::AAAA);
        let records = vec![Record::Address("fd00::1".parse().unwrap()); 40];
        let small = question(&query).unwrap();
        let reply = answer(&query, &small, code::FINE, &records, small.limit);
        assert!(reply.len() <= 512 && reply[2] & 2 != 0);
        // The asker takes more.
        query[11] = 1;
        query.extend([0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 0]);
        let large = question(&query).unwrap();
        assert_eq!(large.limit, 1232);
        let reply = answer(&query, &large, code::FINE, &records, usize::from(u16::MAX));
        assert_eq!((reply[2] & 2, reply[7]), (0, 40));
    }

    #[test]
    fn addresses_have_names_of_their_own() {
        assert_eq!(
            reversed("2.0.213.10.in-addr.arpa"),
            Some("10.213.0.2".parse().unwrap())
        );
        let six = format!("1.{}d.f.ip6.arpa", "0.".repeat(29));
        assert_eq!(reversed(&six), Some("fd00::1".parse().unwrap()));
        for name in [
            "1.2.3.in-addr.arpa",
            "1.2.3.4.5.in-addr.arpa",
            "300.2.3.4.in-addr.arpa",
            "x.ip6.arpa",
            "web",
        ] {
            assert_eq!(reversed(name), None, "{name}");
        }
        let query = ask("2.0.213.10.in-addr.arpa", kind::PTR);
        let asked = question(&query).unwrap();
        let reply = answer(
            &query,
            &asked,
            code::FINE,
            &[Record::Name("web.net".to_owned())],
            512,
        );
        assert!(reply.ends_with(b"\x03web\x03net\0"));
    }

    #[test]
    fn hostile_messages_end_in_a_refusal_or_in_nothing() {
        let query = ask("web", kind::A);
        for length in 0..query.len() {
            match question(&query[..length]) {
                Err(None) => assert!(length < HEADER),
                Err(Some(reply)) => assert_eq!(reply[3] & 0xf, code::MALFORMED),
                Ok(_) => panic!("{length} bytes are no question"),
            }
        }
        let mut pointer = query.clone();
        pointer[12] = 0xc0;
        assert!(question(&pointer).is_err());
        let mut reply = query.clone();
        reply[2] |= 0x80;
        assert_eq!(question(&reply), Err(None));
        let mut status = query.clone();
        status[2] |= 0x10;
        assert_eq!(
            question(&status).unwrap_err().unwrap()[3] & 0xf,
            code::NOT_IMPLEMENTED
        );
        let mut endless = query[..12].to_vec();
        endless.extend([1, b'a'].repeat(300));
        assert!(question(&endless).is_err());
        let mut odd = ask("w.b", kind::A);
        odd[13] = b'.';
        assert_eq!(question(&odd).unwrap().name, "\u{fffd}.b");
    }
}
