//! Netlink sockets: messages with attributes, requests with their answers, and the kernel's own words on failure.
#![expect(unsafe_code, reason = "socket calls of libc")]

use crate::socket::{check, check_size, own, set_option};
use std::fmt;
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Length of the header of every message, in bytes.
const HEADER: usize = 16;
/// Marks an attribute that holds attributes.
const NESTED: u16 = 0x8000;

const REQUEST: u16 = libc::NLM_F_REQUEST as u16;
/// Asks for a confirmation.
pub(crate) const ACK: u16 = libc::NLM_F_ACK as u16;
/// Makes what isn't there.
pub(crate) const CREATE: u16 = libc::NLM_F_CREATE as u16;
/// Fails when it is there.
pub(crate) const EXCLUSIVE: u16 = libc::NLM_F_EXCL as u16;
/// Adds at the end of a list.
pub(crate) const APPEND: u16 = libc::NLM_F_APPEND as u16;
const DUMP: u16 = libc::NLM_F_DUMP as u16;

/// A request that the kernel refused.
#[derive(Debug)]
pub struct NetlinkError {
    /// What was asked for, such as `add the bridge coil0`.
    pub operation: String,
    /// The kernel's explanation, where it gave one.
    pub detail: Option<String>,
    /// The kernel's error number.
    pub source: io::Error,
}

impl NetlinkError {
    /// The error number.
    pub fn errno(&self) -> i32 {
        self.source.raw_os_error().unwrap_or(0)
    }
}

impl fmt::Display for NetlinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the kernel refused to {}", self.operation)?;
        match &self.detail {
            Some(detail) => write!(f, " ({detail})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for NetlinkError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// A message under construction.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// A request of a kind, with its fixed part.
    pub(crate) fn new(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&(REQUEST | flags).to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(fixed);
        pad(&mut bytes);
        Self { bytes }
    }

    pub(crate) fn attribute(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        put_attribute(&mut self.bytes, kind, value);
        self
    }

    pub(crate) fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        put_text(&mut self.bytes, kind, value);
        self
    }

    pub(crate) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        fill(self);
        let length = (self.bytes.len() - start) as u16;
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.bytes[start + 2..start + 4].copy_from_slice(&(kind | NESTED).to_ne_bytes());
        self
    }

    /// Bytes with no attribute around them: the fixed part of a nested message.
    pub(crate) fn raw(&mut self, value: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(value);
        pad(&mut self.bytes);
        self
    }

    /// The whole message with a sequence number.
    pub(crate) fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = self.bytes.len() as u32;
        self.bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.bytes
    }
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// Appends an attribute to any buffer.
pub(crate) fn put_attribute(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    bytes.extend_from_slice(&((4 + value.len()) as u16).to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(value);
    pad(bytes);
}

/// Appends a text with its closing zero.
pub(crate) fn put_text(bytes: &mut Vec<u8>, kind: u16, value: &str) {
    let mut text = value.as_bytes().to_vec();
    text.push(0);
    put_attribute(bytes, kind, &text);
}

/// Appends an attribute that holds attributes.
pub(crate) fn put_nest(bytes: &mut Vec<u8>, kind: u16, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    fill(&mut inner);
    put_attribute(bytes, kind | NESTED, &inner);
}

/// The attributes in a buffer, in order: kind (without its marks) and value.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let header = bytes.get(..4)?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & 0x3fff;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The text of an attribute, without its closing zero.
pub(crate) fn text_of(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

/// One answer: a message without its header, or a confirmation.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) kind: u16,
    pub(crate) sequence: u32,
    pub(crate) body: Vec<u8>,
}

/// A socket of one netlink family.
#[derive(Debug)]
pub(crate) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Netlink {
    pub(crate) fn open(protocol: i32) -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // SAFETY: no pointers are passed.
        let socket = own(unsafe { libc::socket(libc::AF_NETLINK, kind, protocol) })?;
        // Better messages; old kernels go without.
        let _ = set_option(socket.as_fd(), libc::SOL_NETLINK, libc::NETLINK_EXT_ACK, 1);
        let _ = set_option(socket.as_fd(), libc::SOL_NETLINK, libc::NETLINK_CAP_ACK, 1);
        let limit = libc::timeval {
            tv_sec: 10,
            tv_usec: 0,
        };
        // SAFETY: pointer and length describe the local struct. Without the limit a lost answer would be waited for.
        check(unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_RCVTIMEO,
                (&raw const limit).cast(),
                size_of::<libc::timeval>() as libc::socklen_t,
            )
        })?;
        Ok(Self { socket, sequence: 0 })
    }

    pub(crate) fn next_sequence(&mut self) -> u32 {
        self.sequence += 1;
        self.sequence
    }

    pub(crate) fn send(&self, bytes: &[u8]) -> io::Result<()> {
        // SAFETY: all zeroes is a valid sockaddr_nl: the kernel.
        let mut address: libc::sockaddr_nl = unsafe { zeroed() };
        address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
        // SAFETY: pointers and lengths describe the buffer and the local struct.
        check_size(unsafe {
            libc::sendto(
                self.socket.as_raw_fd(),
                bytes.as_ptr().cast(),
                bytes.len(),
                0,
                (&raw const address).cast(),
                size_of::<libc::sockaddr_nl>() as libc::socklen_t,
            )
        })
        .map(drop)
    }

    /// The messages of the next datagram.
    pub(crate) fn receive(&self) -> io::Result<Vec<Answer>> {
        let mut buffer = vec![0u8; 65536];
        // SAFETY: pointer and length describe the buffer.
        let received = check_size(unsafe {
            libc::recv(
                self.socket.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                0,
            )
        });
        let length = match received {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(Vec::new()),
            other => other?,
        };
        let mut rest = &buffer[..length];
        let mut answers = Vec::new();
        while rest.len() >= HEADER {
            let word = |at: usize| u32::from_ne_bytes([rest[at], rest[at + 1], rest[at + 2], rest[at + 3]]);
            let size = word(0) as usize;
            let Some(body) = rest.get(HEADER..size) else { break };
            answers.push(Answer {
                kind: u16::from_ne_bytes([rest[4], rest[5]]),
                sequence: word(8),
                body: body.to_vec(),
            });
            rest = rest.get(size.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(answers)
    }

    /// Sends a request and waits for its confirmation.
    pub(crate) fn request(
        &mut self,
        message: Message,
        operation: impl FnOnce() -> String,
    ) -> Result<(), NetlinkError> {
        self.exchange(message, ACK, operation).map(drop)
    }

    /// Sends a request for a list and collects it.
    pub(crate) fn dump(
        &mut self,
        message: Message,
        operation: impl FnOnce() -> String,
    ) -> Result<Vec<Answer>, NetlinkError> {
        self.exchange(message, DUMP, operation)
    }

    /// Sends a request for one thing: the answers that come before the confirmation.
    pub(crate) fn get(
        &mut self,
        message: Message,
        operation: impl FnOnce() -> String,
    ) -> Result<Vec<Answer>, NetlinkError> {
        self.exchange(message, ACK, operation)
    }

    fn exchange(
        &mut self,
        mut message: Message,
        flags: u16,
        operation: impl FnOnce() -> String,
    ) -> Result<Vec<Answer>, NetlinkError> {
        let present = u16::from_ne_bytes([message.bytes[6], message.bytes[7]]);
        message.bytes[6..8].copy_from_slice(&(present | flags).to_ne_bytes());
        let sequence = self.next_sequence();
        self.collect(&message.finish(sequence), sequence)
            .map_err(|(source, detail)| NetlinkError {
                operation: operation(),
                detail,
                source,
            })
    }

    fn collect(&self, bytes: &[u8], sequence: u32) -> Result<Vec<Answer>, (io::Error, Option<String>)> {
        self.send(bytes).map_err(|error| (error, None))?;
        let mut list = Vec::new();
        loop {
            for answer in self.receive().map_err(|error| (error, None))? {
                if answer.sequence != sequence {
                    continue;
                }
                match i32::from(answer.kind) {
                    libc::NLMSG_ERROR => {
                        return match outcome(&answer.body) {
                            None => Ok(list),
                            Some(failure) => Err(failure),
                        };
                    }
                    libc::NLMSG_DONE => return Ok(list),
                    _ => list.push(answer),
                }
            }
        }
    }
}

/// What a confirmation says: nothing, or the error with the kernel's explanation.
pub(crate) fn outcome(body: &[u8]) -> Option<(io::Error, Option<String>)> {
    let code = i32::from_ne_bytes(body.get(..4)?.try_into().ok()?);
    if code == 0 {
        return None;
    }
    // With NETLINK_CAP_ACK only the header of the request follows the code, then attributes (NLMSGERR_ATTR_MSG is 1).
    let detail = body
        .get(4 + HEADER..)
        .and_then(|rest| {
            attributes(rest)
                .find(|(kind, _)| *kind == 1)
                .map(|(_, value)| text_of(value))
        })
        .filter(|text| !text.is_empty());
    Some((io::Error::from_raw_os_error(-code), detail))
}

/// Does something in another network namespace, on this thread, and comes back.
///
/// # Errors
/// When the namespace can't be joined. A thread that can't return would act on the wrong network: that ends the
/// process.
pub fn within_network<T>(net: BorrowedFd<'_>, act: impl FnOnce() -> T) -> io::Result<T> {
    let home = std::fs::File::open("/proc/thread-self/ns/net")?;
    // SAFETY: no pointers are passed.
    check(unsafe { libc::setns(net.as_raw_fd(), libc::CLONE_NEWNET) })?;
    let result = act();
    // SAFETY: as above.
    check(unsafe { libc::setns(home.as_raw_fd(), libc::CLONE_NEWNET) })
        .expect("the network namespace that this thread came from takes it back");
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_as_written() {
        let mut message = Message::new(16, 0, &[1, 2, 3, 4]);
        message.text(3, "eth0").nest(18, |m| {
            m.attribute(1, &[9]).raw(&[]);
        });
        let bytes = message.finish(7);
        assert_eq!(bytes.len() % 4, 0);
        let read: Vec<_> = attributes(&bytes[HEADER + 4..]).collect();
        assert_eq!(read[0], (3, &b"eth0\0"[..]));
        assert_eq!(read[1].0, 18);
        assert_eq!(attributes(read[1].1).next(), Some((1, &[9][..])));
    }

    #[test]
    fn hostile_lengths_end_the_list() {
        assert_eq!(attributes(&[255, 255, 0, 0, 1]).count(), 0);
        assert_eq!(attributes(&[0, 0, 0, 0, 0, 0, 0, 0]).count(), 0);
        assert_eq!(attributes(&[3, 0, 1, 0]).count(), 0);
    }
}
