//! A real registry to test against: Debian's `docker-registry` package, on a free port of loopback.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::network::{free_port, http_get};
use crate::waiting::wait_until;

/// A running registry with an empty store; stopped when dropped.
pub struct Registry {
    port: u16,
    child: Child,
    _directory: TempDir,
}

impl Registry {
    /// Starts one, where the package is installed.
    ///
    /// # Panics
    /// When it is installed and doesn't start.
    pub fn start() -> Option<Self> {
        let program = PathBuf::from("/usr/bin/docker-registry");
        if !program.exists() {
            return None;
        }
        let directory = tempfile::tempdir().expect("a temporary directory");
        let port = free_port();
        let settings = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
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
            child,
            _directory: directory,
        };
        wait_until("the registry answers", || {
            http_get(port, "/v2/").is_ok_and(|answer| answer.status == 200)
        });
        Some(registry)
    }

    /// Its address, as the first part of a reference.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended by itself: then there is nothing to kill or reap.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
