//! Frames on the control socket: Docker's eight-byte header, which is a kind, three zeros and a length.

use std::io::{self, Read};

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// To the monitor: bytes for the program's input.
    Input = 0,
    /// From the monitor: output.
    Output = 1,
    /// From the monitor: errors.
    Errors = 2,
    /// To the monitor: the input ends.
    InputEnd = 3,
    /// To the monitor: send a signal (32 bits, big-endian).
    Signal = 4,
    /// To the monitor: rows and columns (16 bits each, big-endian).
    Resize = 5,
    /// To the monitor: say when the program ends.
    Wait = 6,
    /// To the monitor: send the output from now on.
    Attach = 7,
    /// From the monitor: the program runs (its process number, 32 bits).
    Ready = 8,
    /// From the monitor: it did not start (a [`crate::failure::Failure`] as JSON).
    Failed = 9,
    /// From the monitor: it ended (an [`crate::control::Exit`] as JSON).
    Exited = 10,
    /// From the monitor: a request was carried out.
    Done = 11,
    /// From the monitor: a request was not carried out (the reason as text).
    Refused = 12,
    /// To the monitor: freeze (1) or thaw (0) the program.
    Freeze = 13,
    /// From the monitor: something that the user should know (text).
    Notice = 14,
    /// To the monitor: send a signal (32 bits, big-endian) and start the program no more when it ends.
    Stop = 15,
    /// To the monitor: the spec has changed, set its limits.
    Update = 16,
    /// To the monitor: put the container into a network (a [`crate::network::BridgeSpec`] as JSON).
    Connect = 17,
    /// To the monitor: take the container out of a network (its name).
    Disconnect = 18,
}

const KINDS: [Kind; 19] = [
    Kind::Input,
    Kind::Output,
    Kind::Errors,
    Kind::InputEnd,
    Kind::Signal,
    Kind::Resize,
    Kind::Wait,
    Kind::Attach,
    Kind::Ready,
    Kind::Failed,
    Kind::Exited,
    Kind::Done,
    Kind::Refused,
    Kind::Freeze,
    Kind::Notice,
    Kind::Stop,
    Kind::Update,
    Kind::Connect,
    Kind::Disconnect,
];

/// Most bytes of a frame's body.
pub const MOST: usize = 64 << 10;

const HEADER: usize = 8;

/// Appends a frame; a body above [`MOST`] becomes several.
pub fn append(to: &mut Vec<u8>, kind: Kind, body: &[u8]) {
    let mut parts = body.chunks(MOST);
    let mut part = parts.next().unwrap_or_default();
    loop {
        to.extend([kind as u8, 0, 0, 0]);
        to.extend((part.len() as u32).to_be_bytes());
        to.extend(part);
        match parts.next() {
            Some(next) => part = next,
            None => return,
        }
    }
}

fn header(bytes: &[u8]) -> io::Result<(Kind, usize)> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, "not a frame");
    let kind = *KINDS.get(usize::from(bytes[0])).ok_or_else(invalid)?;
    let length = u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) as usize;
    if length > MOST {
        Err(invalid())
    } else {
        Ok((kind, length))
    }
}

/// Takes the first frame off a buffer; none while it isn't whole.
pub fn take(buffer: &mut Vec<u8>) -> io::Result<Option<(Kind, Vec<u8>)>> {
    if buffer.len() < HEADER {
        return Ok(None);
    }
    let (kind, length) = header(buffer)?;
    if buffer.len() < HEADER + length {
        return Ok(None);
    }
    let body = buffer[HEADER..HEADER + length].to_vec();
    buffer.drain(..HEADER + length);
    Ok(Some((kind, body)))
}

/// Waits for a frame; none at the end of the stream.
pub fn read(from: &mut impl Read) -> io::Result<Option<(Kind, Vec<u8>)>> {
    let mut bytes = [0; HEADER];
    match from.read(&mut bytes[..1])? {
        0 => return Ok(None),
        _ => from.read_exact(&mut bytes[1..])?,
    }
    let (kind, length) = header(&bytes)?;
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    Ok(Some((kind, body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_whole_however_they_are_cut() {
        let mut bytes = Vec::new();
        append(&mut bytes, Kind::Output, b"hello");
        append(&mut bytes, Kind::Wait, b"");
        append(&mut bytes, Kind::Errors, &vec![7; MOST + 1]);
        let mut buffer = Vec::new();
        let mut found = Vec::new();
        for byte in &bytes {
            buffer.push(*byte);
            while let Some((kind, body)) = take(&mut buffer).expect("frames") {
                found.push((kind, body.len()));
            }
        }
        assert_eq!(
            found,
            [
                (Kind::Output, 5),
                (Kind::Wait, 0),
                (Kind::Errors, MOST),
                (Kind::Errors, 1)
            ]
        );
        assert!(buffer.is_empty());
        let (kind, body) = read(&mut bytes.as_slice()).expect("a frame").expect("a frame");
        assert_eq!((kind, body.as_slice()), (Kind::Output, b"hello".as_slice()));
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(take(&mut vec![99, 0, 0, 0, 0, 0, 0, 0]).is_err());
        assert!(take(&mut vec![1, 0, 0, 0, 0xff, 0, 0, 0]).is_err());
    }
}
