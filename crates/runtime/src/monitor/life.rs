//! A container's life: from its program's first breath to its last, each start after the first, and the clearing up.

use super::clients::Clients;
use super::health::Health;
use super::launch::{self, Running};
use super::networking::{Home, Networking};
use super::service::{PORTS, Service, Turn};
use crate::control::Exit;
use crate::failure::Failure;
use crate::restart;
use crate::spec::ContainerSpec;
use crate::state::{self, State, Status};
use crate::timestamp;
use coil_sys::event::ready;
use coil_sys::process::{self, Ended};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Serves a program that runs until its last end, and clears up.
pub(super) fn live(
    mut service: Service,
    running: Running,
    mut networking: Networking,
    home: &Home,
    lock: OwnedFd,
    starter: UnixStream,
    attach: bool,
) {
    service.begin(running, &mut networking);
    // A connection that can't be served is closed; its other end sees that.
    let _ = service.greet(starter, attach);
    let mut pause = None;
    let (exit, mounts) = loop {
        let began = Instant::now();
        let ended = service.until_end(&mut networking);
        let (exit, mounts) = service.note_end(ended);
        if !service.goes_on(&exit) {
            break (exit, mounts);
        }
        networking.forwarder = None;
        service.tell_of_restart(&exit);
        drop(mounts);
        let _ = service.spec().cgroup.remove();
        networking.detach();
        networking = Networking::nothing();
        let wait = restart::pause(pause, began.elapsed());
        pause = Some(wait);
        if !service.rest(wait, &mut networking) {
            break (exit, None);
        }
        let mut kept = None;
        match launch::start(service.spec(), home, &mut kept) {
            Ok(running) => {
                networking = kept.unwrap_or_else(Networking::nothing);
                service.state.restarts += 1;
                service.begin(running, &mut networking);
            }
            Err(failure) => {
                networking = kept.unwrap_or_else(Networking::nothing);
                service.state.error.clone_from(&failure.message);
                let code = failure.exit_code;
                break (Exit { code, ..exit }, None);
            }
        }
    };
    service.end(&exit, mounts, networking, lock);
}

impl Service {
    /// Takes note of a program that runs now, and listens to it.
    fn begin(&mut self, running: Running, networking: &mut Networking) {
        let notices: Vec<String> = self
            .spec
            .notices()
            .into_iter()
            .chain(networking.notices())
            .collect();
        self.spec.event("start", &[]);
        self.health = Health::begin(&self.spec, &self.poll);
        self.state = State {
            status: Status::Running,
            pid: running.pid,
            started_at: timestamp::now(),
            started_before: true,
            restarts: self.state.restarts,
            stopped: self.state.stopped,
            ports: networking.ports(&self.spec),
            networks: networking.state(),
            health: self.health.as_ref().map(Health::state),
            notices,
            ..State::default()
        };
        self.save();
        self.running = Some(running);
        (self.input_ends, self.held, self.paused) = (false, false, false);
        self.input.clear();
        // An output that can't be waited for is lost; the program goes on.
        for (fd, token) in self.outputs() {
            let _ = self.poll.add(fd, ready::READ, token);
        }
        if let Some(forwarder) = &networking.forwarder {
            let _ = self.poll.add(forwarder, ready::READ, PORTS);
        }
        networking.listen(&self.poll);
    }

    fn until_end(&mut self, networking: &mut Networking) -> Ended {
        match self.turn(networking) {
            Ok(Turn::Ended(ended)) => ended,
            // Without a poll loop nothing can be served: end the program rather than leave it alone.
            _ => {
                self.last = true;
                let Some(running) = &self.running else {
                    return Ended::Signaled(libc::SIGKILL);
                };
                let _ = process::pidfd_send_signal(&running.pidfd, libc::SIGKILL);
                process::wait(running.pid).unwrap_or(Ended::Signaled(libc::SIGKILL))
            }
        }
    }

    /// Takes note of the program's end. Its mounts are kept a while longer: taking them down takes time.
    fn note_end(&mut self, ended: Ended) -> (Exit, Option<OwnedFd>) {
        let exit = Exit {
            code: ended.code(),
            oom_killed: self.spec.cgroup.out_of_memory(),
        };
        let _ = self.timer.set(None);
        if let Some(health) = self.health.take() {
            health.end(&self.poll);
        }
        let mounts = self.running.take().and_then(|running| running.mounts);
        self.state.pid = 0;
        self.state.exit_code = exit.code;
        self.state.oom_killed = exit.oom_killed;
        self.state.finished_at = timestamp::now();
        if exit.oom_killed {
            self.spec.event("oom", &[]);
        }
        // Its name or policy may have changed since the start.
        if !self.spec.ends_with_starter {
            let _ = self.update();
        }
        self.spec.event("die", &[("exitCode", exit.code.to_string())]);
        (exit, mounts)
    }

    /// Whether the program is started again.
    fn goes_on(&self, exit: &Exit) -> bool {
        let policy = self.spec.restart;
        !self.last && policy.again(exit.code, self.state.restarts, self.state.stopped)
    }

    /// Tells everybody who waits of an end that isn't the last.
    fn tell_of_restart(&mut self, exit: &Exit) {
        self.state.status = Status::Restarting;
        self.save();
        self.clients.tell_end(&self.poll, exit);
    }

    /// Waits before the next start; false when there will be none.
    fn rest(&mut self, wait: Duration, networking: &mut Networking) -> bool {
        let armed = self.timer.set(Some(wait));
        armed.is_ok() && matches!(self.turn(networking), Ok(Turn::Again))
    }

    /// Tells the last end and clears up.
    fn end(mut self, exit: &Exit, mounts: Option<OwnedFd>, mut networking: Networking, lock: OwnedFd) {
        self.state.notices.extend(networking.notices());
        self.state.status = Status::Exited;
        self.state.exit_code = exit.code;
        // The end is told before the clearing up, which takes a while: by now nobody may take the container for one that
        // runs, and its ports and names are free for the next. The lock stays until everything is gone.
        self.save();
        networking.forwarder = None;
        if self.spec.auto_remove {
            state::release(&self.spec);
        }
        let (clients, spec) = self.tell_end(exit);
        drop(mounts);
        let _ = spec.cgroup.remove();
        networking.detach();
        leave(&spec);
        drop(lock);
        clients.finish();
    }

    /// Tells everybody who waits, with those who came at the last moment; who can't take it at once is kept.
    fn tell_end(mut self, exit: &Exit) -> (Clients, ContainerSpec) {
        self.accept();
        for token in self.clients.tokens() {
            for request in self.clients.dispatch(&self.poll, token, ready::READ) {
                self.on_request(request);
            }
        }
        self.clients.tell_end(&self.poll, exit);
        (self.clients, self.spec)
    }

    /// Clears up after a first start that failed.
    pub(super) fn did_not_start(self, failure: &Failure) {
        let spec = &self.spec;
        let _ = spec.cgroup.remove();
        let before = State::load(&spec.container_dir).unwrap_or_default();
        let state = State {
            // As Docker says it: what never ran is not ended but made.
            status: match before.started_before {
                true => Status::Exited,
                false => Status::Created,
            },
            exit_code: failure.exit_code,
            error: failure.message.clone(),
            ..before
        };
        let _ = state.save(&spec.container_dir);
        leave(spec);
    }
}

/// Removes what the container had while it ran, and all of it when it was asked for.
fn leave(spec: &ContainerSpec) {
    if spec.auto_remove {
        let _: io::Result<()> = state::remove_container(spec);
        spec.event("destroy", &[]);
    }
    state::remove_run_dir(&spec.run_dir);
}
