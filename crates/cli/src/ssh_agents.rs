//! `--ssh`: agents whose keys a build's steps may use. Key files are given to an agent of the build's own.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::environment::Environment;
use crate::report::Failure;

/// Agents by their ids; those that were started here end with it.
#[derive(Default)]
pub struct SshAgents {
    /// Their sockets.
    pub sockets: BTreeMap<String, PathBuf>,
    own: Vec<Agent>,
}

/// An agent of ours: it ends when the program beside it does, and that with our end of its input.
struct Agent {
    child: Child,
    input: Option<ChildStdin>,
    socket: PathBuf,
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.socket);
    }
}

impl SshAgents {
    /// Finds or starts what `--ssh` names: `default`, `ID`, `ID=SOCKET` or `ID=KEY[,KEY]`.
    ///
    /// # Errors
    /// When there is no such agent or key.
    pub fn start(flags: &[String], environment: &Environment, private: &Path) -> Result<SshAgents, Failure> {
        let mut agents = SshAgents::default();
        for text in flags {
            let (id, paths) = match text.split_once('=') {
                Some((id, paths)) => (id, paths.split(',').map(PathBuf::from).collect()),
                None => (text.as_str(), Vec::new()),
            };
            let bad = |why: String| {
                Failure::new(format!("invalid ssh forward `{text}`: {why}"))
                    .help("give --ssh default, or --ssh ID=SOCKET, or --ssh ID=KEY_FILE")
                    .code(125)
            };
            if id.is_empty() {
                return Err(bad("it has no id".into()));
            }
            let socket = match paths.as_slice() {
                [] => environment.path("SSH_AUTH_SOCK").ok_or_else(|| {
                    Failure::new(format!("invalid ssh forward `{text}`: SSH_AUTH_SOCK is not set"))
                        .help("start an agent with eval $(ssh-agent) && ssh-add, or give --ssh ID=KEY_FILE")
                        .code(125)
                })?,
                [only] if is_socket(only) => only.clone(),
                keys => {
                    let agent = with_keys(keys, environment, private, agents.own.len()).map_err(bad)?;
                    let socket = agent.socket.clone();
                    agents.own.push(agent);
                    socket
                }
            };
            if !is_socket(&socket) {
                return Err(bad(format!("{} is no socket of an agent", socket.display())));
            }
            let socket =
                fs::canonicalize(&socket).map_err(|error| bad(format!("{}: {error}", socket.display())))?;
            agents.sockets.insert(id.to_owned(), socket);
        }
        Ok(agents)
    }
}

fn is_socket(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.file_type().is_socket())
}

/// Starts an agent that holds keys.
fn with_keys(
    keys: &[PathBuf],
    environment: &Environment,
    private: &Path,
    number: usize,
) -> Result<Agent, String> {
    for key in keys {
        fs::File::open(key).map_err(|error| format!("{}: {error}", key.display()))?;
    }
    let program = |name: &str| {
        let found = environment.program(name);
        found.ok_or_else(|| {
            format!("{name} is not installed, which holds the keys of files; pass on an agent instead")
        })
    };
    let (agent, add) = (program("ssh-agent")?, program("ssh-add")?);
    let failed = |error: std::io::Error| format!("ssh-agent cannot be started: {error}");
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(private)
        .map_err(failed)?;
    let socket = private.join(format!(".keys-{number}.{}.part", std::process::id()));
    // It says that it listens, then waits for the end of its input.
    let mut child = Command::new(agent)
        .arg("-a")
        .arg(&socket)
        .args(["sh", "-c", "echo; exec cat >/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let input = child.stdin.take();
    let mut said = [0];
    if let Some(mut out) = child.stdout.take() {
        // Nothing is said where it failed; the socket is looked for anyway.
        let _ = std::io::Read::read(&mut out, &mut said);
    }
    let agent = Agent { child, input, socket };
    for key in keys {
        let added = Command::new(&add)
            .arg("-q")
            .arg("--")
            .arg(key)
            .env("SSH_AUTH_SOCK", &agent.socket)
            // A passphrase is asked of nobody.
            .env("SSH_ASKPASS_REQUIRE", "never")
            .env_remove("DISPLAY")
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("ssh-add cannot be run: {error}"))?;
        if !added.status.success() {
            let said = String::from_utf8_lossy(&added.stderr);
            let said = said.lines().next().unwrap_or("it was refused").to_owned();
            return Err(format!("the key {} cannot be used: {said}", key.display()));
        }
    }
    Ok(agent)
}
