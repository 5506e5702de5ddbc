//! Talking to a container's monitor: signals, terminal size, waiting, attaching.

use crate::frame::{self, Kind};
use crate::network::BridgeSpec;
use coil_sys::file;
use coil_sys::socket::peer_process;
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// How a container's program ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit code, as a shell counts it.
    pub code: i32,
    /// Whether the kernel ended a process of it for want of memory.
    pub oom_killed: bool,
}

/// What comes from a monitor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Output of the program (of a terminal: everything).
    Output(Vec<u8>),
    /// Errors of the program.
    Errors(Vec<u8>),
    /// Something that the user should know.
    Notice(String),
    /// The program ended; nothing comes after it.
    Exited(Exit),
}

/// A connection to a monitor.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
}

/// The socket's name in the run directory.
const SOCKET: &str = "control.sock";

/// Through the directory's descriptor, as a socket's path may have 107 bytes at most.
fn through(run_dir: &Path, f: impl FnOnce(&Path) -> io::Result<UnixStream>) -> io::Result<UnixStream> {
    let directory = file::open(run_dir, libc::O_PATH | libc::O_DIRECTORY)?;
    f(Path::new(&format!(
        "/proc/self/fd/{}/{SOCKET}",
        directory.as_raw_fd()
    )))
}

/// Listens in a run directory; what an earlier monitor left there goes.
pub(crate) fn listen(run_dir: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(run_dir.join(SOCKET)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let directory = file::open(run_dir, libc::O_PATH | libc::O_DIRECTORY)?;
    let listener = UnixListener::bind(format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd()))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

impl Client {
    /// Connects to the monitor of a container. `NotFound` or `ConnectionRefused` when none lives.
    pub fn connect(run_dir: &Path) -> io::Result<Self> {
        Ok(Self {
            stream: through(run_dir, |path| UnixStream::connect(path))?,
        })
    }

    /// A connection that is open already.
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self { stream }
    }

    /// Another handle of the same connection, to send from one thread and receive in another.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            stream: self.stream.try_clone()?,
        })
    }

    /// The monitor's process.
    pub(crate) fn monitor(&self) -> io::Result<i32> {
        peer_process(self.stream.as_fd())
    }

    fn send(&self, kind: Kind, body: &[u8]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(body.len() + 8);
        frame::append(&mut bytes, kind, body);
        (&self.stream).write_all(&bytes)
    }

    /// Sends a request on a connection of its own and waits for the answer.
    fn ask(&self, kind: Kind, body: &[u8]) -> io::Result<()> {
        self.send(kind, body)?;
        while let Some((kind, body)) = frame::read(&mut &self.stream)? {
            match kind {
                Kind::Done => return Ok(()),
                Kind::Refused => return Err(io::Error::other(String::from_utf8_lossy(&body).into_owned())),
                _ => {}
            }
        }
        Err(io::ErrorKind::UnexpectedEof.into())
    }

    /// Sends a signal to the container's first process. Only on a connection that isn't attached.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        self.ask(Kind::Signal, &signal.to_be_bytes())
    }

    /// Sends a signal to the container's first process, which is not started again after its end. Only on a connection
    /// that isn't attached.
    pub fn stop(&self, signal: i32) -> io::Result<()> {
        self.ask(Kind::Stop, &signal.to_be_bytes())
    }

    /// Puts the container into one more network. Only on a connection that isn't attached.
    pub fn connect_network(&self, place: &BridgeSpec) -> io::Result<()> {
        self.ask(Kind::Connect, &serde_json::to_vec(place)?)
    }

    /// Takes the container out of a network. Only on a connection that isn't attached.
    pub fn disconnect_network(&self, name: &str) -> io::Result<()> {
        self.ask(Kind::Disconnect, name.as_bytes())
    }

    /// Says that the spec has changed: its limits are set anew. Only on a connection that isn't attached.
    pub fn update(&self) -> io::Result<()> {
        self.ask(Kind::Update, &[])
    }

    /// Freezes the container's processes, or lets them go on. Only on a connection that isn't attached.
    pub fn freeze(&self, frozen: bool) -> io::Result<()> {
        self.ask(Kind::Freeze, &[frozen.into()])
    }

    /// Sends a signal and doesn't wait for the answer; for an attached connection.
    pub fn forward_signal(&self, signal: i32) -> io::Result<()> {
        self.send(Kind::Signal, &signal.to_be_bytes())
    }

    /// Sets the terminal's size.
    pub fn resize(&self, columns: u16, rows: u16) -> io::Result<()> {
        let ([a, b], [c, d]) = (rows.to_be_bytes(), columns.to_be_bytes());
        self.send(Kind::Resize, &[a, b, c, d])
    }

    /// Asks for the output from now on.
    pub fn attach(&self) -> io::Result<()> {
        self.send(Kind::Attach, &[])
    }

    /// Gives the program input.
    pub fn input(&self, bytes: &[u8]) -> io::Result<()> {
        self.send(Kind::Input, bytes)
    }

    /// Says that there is no more input.
    pub fn end_input(&self) -> io::Result<()> {
        self.send(Kind::InputEnd, &[])
    }

    /// Lets go of the connection, in whichever thread it is waited on.
    pub fn close(&self) -> io::Result<()> {
        self.stream.shutdown(std::net::Shutdown::Both)
    }

    /// Waits for the program to end.
    pub fn wait(&self) -> io::Result<Exit> {
        self.send(Kind::Wait, &[])?;
        loop {
            match self.next()? {
                Some(Message::Exited(exit)) => return Ok(exit),
                Some(_) => {}
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }

    /// The next message of an attached connection; none when the monitor is gone.
    pub fn next(&self) -> io::Result<Option<Message>> {
        while let Some((kind, body)) = frame::read(&mut &self.stream)? {
            return Ok(Some(match kind {
                Kind::Output => Message::Output(body),
                Kind::Errors => Message::Errors(body),
                Kind::Notice => Message::Notice(String::from_utf8_lossy(&body).into_owned()),
                Kind::Exited => Message::Exited(serde_json::from_slice(&body)?),
                _ => continue,
            }));
        }
        Ok(None)
    }

    /// Feeds input from a reader till its end; for a thread of its own.
    pub fn feed(&self, mut from: impl Read) -> io::Result<()> {
        let mut buffer = [0; 16 << 10];
        loop {
            match from.read(&mut buffer) {
                Ok(0) => return self.end_input(),
                Ok(read) => self.input(&buffer[..read])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Copies output till the program ends.
    pub fn copy_output(&self, mut output: impl Write, mut errors: impl Write) -> io::Result<Exit> {
        loop {
            match self.next()? {
                Some(Message::Output(bytes)) => output.write_all(&bytes).and_then(|()| output.flush())?,
                Some(Message::Errors(bytes)) => errors.write_all(&bytes).and_then(|()| errors.flush())?,
                Some(Message::Notice(_)) => {}
                Some(Message::Exited(exit)) => return Ok(exit),
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }
}
