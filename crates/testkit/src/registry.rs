//! A real registry to test against: Debian's `docker-registry` package, on a free port of loopback.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::network::{free_port, http_get};
use crate::waiting::wait_until;

/// `me` and `s3cret` as htpasswd writes them: the only form that the registry takes is bcrypt.
const LOGIN: &str = "me:$2b$05$abcdefghijklmnopqrstuuLK7U1u6pVRmL7L1BBM2aS35PSZnDXlK";
/// The same for a request.
const AUTHORIZATION: &str = "Authorization: Basic bWU6czNjcmV0\r\n";

/// A running registry with an empty store; stopped when dropped.
pub struct Registry {
    port: u16,
    protected: bool,
    child: Child,
    _directory: TempDir,
}

impl Registry {
    /// Starts one, where the package is installed.
    ///
    /// # Panics
    /// When it is installed and doesn't start.
    pub fn start() -> Option<Self> {
        Self::start_as(false)
    }

    /// Starts one that lets only `me` with the password `s3cret` in.
    ///
    /// # Panics
    /// When it is installed and doesn't start.
    pub fn start_protected() -> Option<Self> {
        Self::start_as(true)
    }

    fn start_as(protected: bool) -> Option<Self> {
        let program = PathBuf::from("/usr/bin/docker-registry");
        if !program.exists() {
            return None;
        }
        let directory = tempfile::tempdir().expect("a temporary directory");
        let port = free_port();
        let logins = directory.path().join("htpasswd");
        fs::write(&logins, LOGIN).expect("our own directory");
        let auth = match protected {
            true => format!(
                "auth: {{htpasswd: {{realm: test, path: {}}}}}\n",
                logins.display()
            ),
            false => String::new(),
        };
        let settings = format!(
            "{auth}version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n\
             http: {{addr: 127.0.0.1:{port}}}\n",
            directory.path().display()
        );
        let file = directory.path().join("registry.yml");
        fs::write(&file, settings).expect("our own directory");
        let mut command = Command::new(program);
        command
            .arg("serve")
            .arg(file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn().expect("the registry starts");
        let registry = Self {
            port,
            protected,
            child,
            _directory: directory,
        };
        wait_until("the registry answers", || {
            http_get(port, "/v2/").is_ok_and(|answer| matches!(answer.status, 200 | 401))
        });
        Some(registry)
    }

    /// Its address, as the first part of a reference.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Puts a blob into a repository.
    ///
    /// # Panics
    /// When the registry doesn't take it.
    pub fn put_blob(&self, repository: &str, bytes: &[u8]) {
        let digest = coil_oci::Digest::of(bytes);
        let (status, place) = self.send("POST", &format!("/v2/{repository}/blobs/uploads/"), "", b"");
        assert_eq!(status, 202, "an upload begins");
        let place = place.expect("the registry says where to");
        let path = place
            .strip_prefix(&format!("http://{}", self.address()))
            .unwrap_or(&place);
        let sign = if path.contains('?') { '&' } else { '?' };
        let (status, _) = self.send(
            "PUT",
            &format!("{path}{sign}digest={digest}"),
            "application/octet-stream",
            bytes,
        );
        assert_eq!(status, 201, "a blob is taken");
    }

    /// Puts a manifest into a repository, under a tag or its own digest; its blobs must be there.
    ///
    /// # Panics
    /// When the registry doesn't take it.
    pub fn put_manifest(&self, repository: &str, name: &str, media_type: &str, bytes: &[u8]) {
        let (status, _) = self.send(
            "PUT",
            &format!("/v2/{repository}/manifests/{name}"),
            media_type,
            bytes,
        );
        assert_eq!(status, 201, "a manifest is taken");
    }

    /// Sends a request; gives the status and the `Location`.
    fn send(&self, method: &str, path: &str, media_type: &str, body: &[u8]) -> (u16, Option<String>) {
        let login = if self.protected { AUTHORIZATION } else { "" };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{login}Content-Type: {media_type}\r\n\
             Content-Length: {}\r\n\r\n",
            self.address(),
            body.len()
        );
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the registry listens");
        stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(body))
            .expect("the registry reads");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("the registry answers");
        let text = String::from_utf8_lossy(&answer).into_owned();
        let status = text
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .expect("a status");
        let location = text.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("location")
                .then(|| value.trim().to_owned())
        });
        (status, location)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended by itself: then there is nothing to kill or reap.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
