//! The host's journal: each line of output as an entry of its own, in systemd's native protocol.

use crate::spec::JournalSpec;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

/// A way into the journal.
#[derive(Debug)]
pub(super) struct Journal {
    socket: UnixDatagram,
    to: PathBuf,
    /// Fields that every entry has, encoded.
    fields: Vec<u8>,
}

impl Journal {
    pub(super) fn open(spec: &JournalSpec) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        // A journal that is stuck costs its lines, never the container.
        socket.set_nonblocking(true)?;
        let mut fields = Vec::new();
        for (name, value) in &spec.fields {
            field(&mut fields, name, value.as_bytes());
        }
        Ok(Self {
            socket,
            to: spec.socket.clone(),
            fields,
        })
    }

    /// Sends a line, or a part of one that is too long.
    pub(super) fn send(&self, line: &[u8], is_error: bool) {
        let mut entry = self.fields.clone();
        // LOG_ERR and LOG_INFO of syslog(3).
        field(&mut entry, "PRIORITY", if is_error { b"3" } else { b"6" });
        let text = match line.strip_suffix(b"\n") {
            Some(text) => text,
            None => {
                field(&mut entry, "CONTAINER_PARTIAL_MESSAGE", b"true");
                line
            }
        };
        field(&mut entry, "MESSAGE", text);
        let _ = self.socket.send_to(&entry, &self.to);
    }
}

/// A field; a value that holds a newline is told by its length.
fn field(to: &mut Vec<u8>, name: &str, value: &[u8]) {
    to.extend(name.as_bytes());
    if value.contains(&b'\n') {
        to.push(b'\n');
        to.extend((value.len() as u64).to_le_bytes());
    } else {
        to.push(b'=');
    }
    to.extend(value);
    to.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_becomes_an_entry() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        let spec = JournalSpec {
            socket: path,
            fields: [("CONTAINER_NAME".to_owned(), "web\nfront".to_owned())].into(),
        };
        let journal = Journal::open(&spec).expect("a journal");
        journal.send(b"hello\n", false);
        journal.send(b"half", true);
        let mut buffer = [0; 256];
        let name = b"CONTAINER_NAME\n\x09\0\0\0\0\0\0\0web\nfront\n".as_slice();
        let mut entry = || {
            let read = socket.recv(&mut buffer).expect("an entry");
            buffer[..read].to_vec()
        };
        assert_eq!(entry(), [name, b"PRIORITY=6\nMESSAGE=hello\n"].concat());
        assert_eq!(
            entry(),
            [
                name,
                b"PRIORITY=3\nCONTAINER_PARTIAL_MESSAGE=true\nMESSAGE=half\n"
            ]
            .concat()
        );
    }
}
