//! `RUN --mount=type=ssh`: a way from a step to an agent that holds keys. No key ever comes into a step.

use std::fs;
use std::io;
use std::net::Shutdown;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use coil_dockerfile::{Fault, Span};

use super::BuildError;
use super::running::{Belongings, StepMount};
use super::solving::Solver;
use crate::executor::{Step, StepBind};

/// Where an agent without a target stands.
const AGENTS: &str = "/run/buildkit/ssh_agent";
/// By which programs find it.
const VARIABLE: &str = "SSH_AUTH_SOCK";

/// A socket whose connections go to an agent, for as long as it lives.
pub(crate) struct Relay {
    place: PathBuf,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    fn start(place: PathBuf, agent: &Path) -> io::Result<Relay> {
        let listener = UnixListener::bind(&place)?;
        let over = Arc::new(AtomicBool::new(false));
        let (seen, agent) = (Arc::clone(&over), agent.to_owned());
        let thread = std::thread::Builder::new().stack_size(128 << 10).spawn(move || {
            for connection in listener.incoming() {
                if seen.load(Ordering::Acquire) {
                    return;
                }
                // An agent that is gone is told by the connection's end.
                if let (Ok(inside), Ok(outside)) = (connection, UnixStream::connect(&agent)) {
                    let _ = join(inside, outside);
                }
            }
        })?;
        Ok(Relay {
            place,
            over,
            thread: Some(thread),
        })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        // Wakes the thread.
        let woken = UnixStream::connect(&self.place);
        let _ = fs::remove_file(&self.place);
        if let (Ok(_), Some(thread)) = (woken, self.thread.take()) {
            let _ = thread.join();
        }
    }
}

/// Carries bytes both ways until both sides are done.
fn join(inside: UnixStream, outside: UnixStream) -> io::Result<()> {
    let back = (outside.try_clone()?, inside.try_clone()?);
    for (mut from, mut to) in [(inside, outside), back] {
        std::thread::Builder::new().stack_size(128 << 10).spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        })?;
    }
    Ok(())
}

impl Solver<'_> {
    /// Mounts an agent's socket into a step.
    pub(super) fn attach_agent(
        &self,
        mount: &StepMount,
        span: Span,
        step: &mut Step,
        belongings: &mut Belongings,
    ) -> Result<(), BuildError> {
        let about = &mount.mount;
        let id = about
            .id
            .as_deref()
            .filter(|id| !id.is_empty())
            .unwrap_or("default");
        let Some(agent) = self.request.agents.get(id) else {
            if !about.required {
                // The variable is there all the same, as every step with such a mount has it.
                let target = mount.target.clone().unwrap_or_else(|| format!("{AGENTS}.0"));
                step.env.entry(VARIABLE.into()).or_insert(target);
                return Ok(());
            }
            return Err(Fault::new(span, format!("unset ssh forward key {id}"))
                .at("type=ssh")
                .help(format!(
                    "give it with --ssh {id}, which passes on the agent of SSH_AUTH_SOCK, or --ssh {id}=SOCKET_OR_KEY"
                ))
                .into());
        };
        let doing = || BuildError::io("passing on an agent");
        let private = self.builder.private;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(private)
            .map_err(doing())?;
        let place = private.join(format!(".agent-{}.{}.part", self.next(), std::process::id()));
        let relay = Relay::start(place.clone(), agent).map_err(doing())?;
        let target = match &mount.target {
            Some(target) => target.clone(),
            None => format!("{AGENTS}.{}", belongings.relays.len()),
        };
        belongings.relays.push(relay);
        let mode = about.mode.unwrap_or(0o600);
        fs::set_permissions(&place, fs::Permissions::from_mode(mode)).map_err(doing())?;
        if rustix::process::geteuid().is_root() {
            let owner = (Some(about.uid.unwrap_or(0)), Some(about.gid.unwrap_or(0)));
            std::os::unix::fs::chown(&place, owner.0, owner.1).map_err(doing())?;
        }
        step.binds.push(StepBind {
            source: place,
            target: target.clone(),
            read_only: false,
        });
        step.env.entry(VARIABLE.into()).or_insert(target);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn what_is_said_goes_both_ways_and_nothing_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let agent = folder.path().join("agent");
        let listener = UnixListener::bind(&agent).unwrap();
        let answering = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = String::new();
            stream.read_to_string(&mut asked).unwrap();
            stream.write_all(format!("heard {asked}").as_bytes()).unwrap();
        });
        let place = folder.path().join("relay");
        let relay = Relay::start(place.clone(), &agent).unwrap();
        let mut stream = UnixStream::connect(&place).unwrap();
        stream.write_all(b"hello").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "heard hello");
        answering.join().unwrap();
        drop(relay);
        assert!(!place.exists());
    }
}
