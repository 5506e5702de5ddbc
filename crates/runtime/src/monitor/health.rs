//! Health checks: a command run in the container again and again, and what its results mean.

use super::service::{HEALTH, PROBE, Service};
use crate::exec::ExecSpec;
use crate::spec::{ContainerSpec, HealthCheck};
use crate::state::{HEALTH_LOG, HealthResult, HealthState, HealthStatus, Status};
use crate::timestamp;
use coil_sys::event::{Poll, Timer, ready};
use coil_sys::file;
use coil_sys::process::Ended;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How much of a probe's output is kept.
const MOST_OUTPUT: usize = 4096;
/// How many results are kept.
const MOST_RESULTS: usize = 5;

/// A container's health, and the probe at work.
pub(super) struct Health {
    check: HealthCheck,
    started: Instant,
    state: HealthState,
    log: Vec<HealthResult>,
    /// The time till the next probe, or till the one at work has taken too long.
    timer: Timer,
    probe: Option<Probe>,
}

struct Probe {
    child: Child,
    output: Option<OwnedFd>,
    text: Vec<u8>,
    cut: bool,
    began: String,
    /// How long the program had run when it began.
    age: Duration,
    late: bool,
    ended: Option<Ended>,
}

impl Health {
    /// Begins to watch; none where there is nothing to watch by.
    pub(super) fn begin(spec: &ContainerSpec, poll: &Poll) -> Option<Self> {
        let check = spec.health.clone()?;
        let health = Self {
            started: Instant::now(),
            state: HealthState::default(),
            log: Vec::new(),
            timer: Timer::new().ok()?,
            probe: None,
            check,
        };
        poll.add(&health.timer, ready::READ, HEALTH).ok()?;
        let exec = ExecSpec {
            args: health.check.args.clone(),
            env: spec.env.clone(),
            cwd: spec.cwd.clone(),
            user: spec.user.clone(),
            terminal: false,
            tty_size: None,
            detach_keys: Vec::new(),
            capabilities: None,
            privileged: false,
            ends_with_parent: true,
            begun: None,
        };
        // Not in the arguments, which everybody on the host may read.
        let file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(request(spec))
            .ok()?;
        serde_json::to_writer(file, &exec).ok()?;
        let _ = std::fs::write(spec.container_dir.join(HEALTH_LOG), b"[]");
        health.timer.set(Some(health.interval())).ok()?;
        Some(health)
    }

    pub(super) fn state(&self) -> HealthState {
        self.state.clone()
    }

    /// While a program is young and was never well, it is asked more often.
    fn interval(&self) -> Duration {
        let young = self.started.elapsed() < self.check.start_period;
        match young && self.state.status == HealthStatus::Starting {
            true => self.check.start_interval,
            false => self.check.interval,
        }
    }

    /// The program is gone: no more probes.
    pub(super) fn end(self, poll: &Poll) {
        let _ = poll.remove(&self.timer);
        if let Some(mut probe) = self.probe {
            if let Some(output) = &probe.output {
                let _ = poll.remove(output);
            }
            // What it ran in the container ends with it.
            let _ = probe.child.kill();
            let _ = probe.child.wait();
        }
    }

    /// Takes a result; true when the status changed.
    fn note(&mut self, probe: Probe) -> bool {
        let mut output = String::from_utf8_lossy(&probe.text).into_owned();
        if probe.cut {
            output.push_str("...");
        }
        let mut code = match probe.ended {
            Some(ended) => ended.code(),
            None => -1,
        };
        if probe.late {
            code = -1;
            output = format!("Health check exceeded timeout ({})", in_words(self.check.timeout));
        }
        self.log.push(HealthResult {
            start: probe.began,
            end: timestamp::now(),
            exit_code: code,
            output,
        });
        if self.log.len() > MOST_RESULTS {
            self.log.remove(0);
        }
        let before = self.state.status;
        if code == 0 {
            self.state = HealthState {
                status: HealthStatus::Healthy,
                failing_streak: 0,
            };
        } else if before != HealthStatus::Starting || probe.age >= self.check.start_period {
            self.state.failing_streak += 1;
            if self.state.failing_streak >= self.check.retries {
                self.state.status = HealthStatus::Unhealthy;
            }
        }
        before != self.state.status
    }
}

/// A span as Docker's words for it: `30s`, `1m30s`, `500ms`.
fn in_words(span: Duration) -> String {
    let (seconds, millis) = (span.as_secs(), span.subsec_millis());
    match (seconds / 60, seconds % 60, millis) {
        (0, 0, millis) => format!("{millis}ms"),
        (0, seconds, 0) => format!("{seconds}s"),
        (0, seconds, millis) => format!("{seconds}.{millis:03}s"),
        (minutes, seconds, _) => format!("{minutes}m{seconds}s"),
    }
}

fn request(spec: &ContainerSpec) -> PathBuf {
    spec.run_dir.join("health.json")
}

fn start(spec: &ContainerSpec, age: Duration) -> io::Result<Probe> {
    let (output, theirs) = file::pipe(0)?;
    file::set_nonblocking(&output, true)?;
    let errors = theirs.try_clone()?;
    // In a user namespace this process is inside already, unless the container has one inside it.
    let inside = (!spec.id_map.is_identity() && spec.inner_map().is_none()).then_some("--inside");
    let child = Command::new("/proc/self/exe")
        .args(["internal", "exec"])
        .arg(&spec.container_dir)
        .arg(request(spec))
        .args(inside)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(theirs)
        .stderr(errors)
        .spawn()?;
    Ok(Probe {
        child,
        output: Some(output),
        text: Vec::new(),
        cut: false,
        began: timestamp::now(),
        age,
        late: false,
        ended: None,
    })
}

impl Service {
    /// The next probe begins, or the one at work has taken too long.
    pub(super) fn health_timer(&mut self) {
        let Some(health) = &mut self.health else { return };
        health.timer.acknowledge();
        if let Some(probe) = &mut health.probe {
            probe.late = true;
            let _ = probe.child.kill();
            return;
        }
        if self.state.status == Status::Paused {
            let _ = health.timer.set(Some(health.interval()));
            return;
        }
        match start(&self.spec, health.started.elapsed()) {
            Ok(probe) => {
                if let Some(output) = &probe.output {
                    let _ = self.poll.add(output, ready::READ, PROBE);
                }
                let _ = health.timer.set(Some(health.check.timeout));
                health.probe = Some(probe);
            }
            // No memory, no process: the next time may be better.
            Err(_) => {
                let _ = health.timer.set(Some(health.interval()));
            }
        }
    }

    /// Reads what a probe printed.
    pub(super) fn probe_output(&mut self) {
        let Some(probe) = self.health.as_mut().and_then(|health| health.probe.as_mut()) else {
            return;
        };
        let Some(output) = &probe.output else { return };
        let mut buffer = [0; 4096];
        loop {
            match file::read(output, &mut buffer) {
                Ok(read @ 1..) => {
                    let room = MOST_OUTPUT - probe.text.len();
                    probe.text.extend(&buffer[..read.min(room)]);
                    probe.cut |= read > room;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                _ => {
                    let _ = self.poll.remove(output);
                    probe.output = None;
                    return;
                }
            }
        }
    }

    /// Takes the result of a probe whose process was reaped.
    pub(super) fn probe_ended(&mut self, pid: i32, ended: Ended) {
        self.probe_output();
        let Some(health) = &mut self.health else { return };
        let ours = |probe: &Probe| i64::from(probe.child.id()) == i64::from(pid);
        if !health.probe.as_ref().is_some_and(ours) {
            return;
        }
        let Some(mut probe) = health.probe.take() else {
            return;
        };
        if let Some(output) = &probe.output {
            let _ = self.poll.remove(output);
        }
        probe.ended = Some(ended);
        // What went wrong before the command itself ran stands in a file beside the request.
        let failed = request(&self.spec).with_extension("failed");
        if let Ok(bytes) = std::fs::read(&failed) {
            let _ = std::fs::remove_file(&failed);
            if let Ok(failure) = serde_json::from_slice::<crate::Failure>(&bytes) {
                probe.text = failure.message.into_bytes();
                probe.text.truncate(MOST_OUTPUT);
            }
        }
        let changed = health.note(probe);
        let path = self.spec.container_dir.join(HEALTH_LOG);
        let written = serde_json::to_vec(&health.log)
            .map_err(io::Error::from)
            .and_then(|bytes| {
                let temporary = path.with_extension("new");
                std::fs::write(&temporary, bytes)?;
                std::fs::rename(temporary, &path)
            });
        // A full disk costs the log of results, not the container.
        drop(written);
        let _ = health.timer.set(Some(health.interval()));
        let state = health.state();
        if self.state.health.as_ref() != Some(&state) {
            self.state.health = Some(state);
            self.save();
        }
        if changed && let Some(state) = &self.state.health {
            self.spec
                .event(&format!("health_status: {}", state.status.name()), &[]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(start_period: u64) -> Health {
        Health {
            check: HealthCheck {
                args: vec!["true".into()],
                interval: Duration::from_secs(1),
                timeout: Duration::from_secs(1),
                start_period: Duration::from_secs(start_period),
                start_interval: Duration::from_millis(10),
                retries: 2,
            },
            started: Instant::now(),
            state: HealthState::default(),
            log: Vec::new(),
            timer: Timer::new().expect("a timer"),
            probe: None,
        }
    }

    fn probe(code: i32, age: u64) -> Probe {
        let child = Command::new("/bin/true").spawn().expect("true");
        Probe {
            child,
            output: None,
            text: b"said".to_vec(),
            cut: false,
            began: String::new(),
            age: Duration::from_secs(age),
            late: false,
            ended: Some(Ended::Exited(code)),
        }
    }

    #[test]
    fn early_failures_count_only_after_the_start_period() {
        let mut health = health(5);
        assert_eq!(health.interval(), Duration::from_millis(10));
        for _ in 0..4 {
            assert!(!health.note(probe(1, 1)));
        }
        assert_eq!(
            (health.state.status, health.state.failing_streak),
            (HealthStatus::Starting, 0)
        );
        assert!(health.note(probe(0, 2)));
        assert_eq!(health.interval(), Duration::from_secs(1));
        // Once it was well, every failure counts.
        assert!(!health.note(probe(1, 3)));
        assert!(health.note(probe(1, 3)));
        assert_eq!(health.state.status, HealthStatus::Unhealthy);
        assert_eq!(health.log.len(), MOST_RESULTS);
    }
}
