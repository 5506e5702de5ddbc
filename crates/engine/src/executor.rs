//! Build steps in containers of the engine's own: the runtime behind the builds' seam.
//!
//! A step is a container with nothing to remember: no name, no log, no record. Its folders stand in the run root's
//! `steps/`, each with a file `owner` that its maker keeps locked. A container ends with the connection to its maker, so
//! a build that is killed takes its step along; what a killed monitor leaves is cleared away before the next step.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use coil_build::executor::{Executor, Step, StepEnd, StepError, StepNetwork, StepPrivileges};
use coil_oci::Arch;
use coil_runtime::capabilities::{self, Capability};
use coil_runtime::cgroup;
use coil_runtime::control::{Client, Message};
use coil_runtime::network::{NameSettings, NetworkSpec};
use coil_runtime::spec::{ContainerSpec, Limits, Mount, MountKind, Rlimit, SeccompPolicy, Writable};
use coil_runtime::{StartError, start, user};

use crate::device_interface::Library;
use crate::mount_points::MountPoints;
use crate::{Engine, lifecycle, words};

/// The folder of the run root that steps stand in.
const STEPS: &str = "steps";
/// How often a step's folder is made anew when another build clears it away.
const ATTEMPTS: u32 = 10;
/// Held locked by who runs the step.
const OWNER: &str = "owner";
/// The host name inside, the same for every build.
const HOSTNAME: &str = "buildkitsandbox";
/// What a Docker build may do besides a container of ours: make nodes, ping, write to the audit log.
const OF_BUILDS: [Capability; 3] = [Capability::Mknod, Capability::NetRaw, Capability::AuditWrite];

/// The folders of one step.
struct Place {
    folder: PathBuf,
    id: String,
    _owner: File,
}

impl Place {
    fn run_dir(&self) -> PathBuf {
        self.folder.join("run")
    }

    fn container_dir(&self) -> PathBuf {
        self.folder.join("box")
    }
}

impl Executor for Engine {
    fn refusal(&self, arch: Arch) -> Option<String> {
        if arch != Arch::host() && !is_emulated(arch) {
            return Some(format!(
                "it is for {arch}, and this machine runs programs for {} alone",
                Arch::host()
            ));
        }
        if self.is_root() {
            return None;
        }
        let settings = fs::read_to_string("/proc/sys/user/max_user_namespaces").unwrap_or_default();
        (settings.trim() == "0").then(|| "user namespaces are switched off".to_owned())
    }

    fn run(&self, step: &Step, output: &mut (dyn FnMut(&[u8]) + Send)) -> Result<StepEnd, StepError> {
        self.in_step(step, |_| {}, &mut |client| read_to_end(client, output))
    }
}

/// Whether the kernel runs programs of another architecture by an emulator that it holds open itself.
fn is_emulated(arch: Arch) -> bool {
    let name = match arch {
        Arch::Amd64 => "qemu-x86_64",
        Arch::Arm64 => "qemu-aarch64",
    };
    let told = fs::read_to_string(format!("/proc/sys/fs/binfmt_misc/{name}")).unwrap_or_default();
    let flags = told.lines().find_map(|line| line.strip_prefix("flags:"));
    // Without `F` the emulator would be looked for inside the step.
    told.starts_with("enabled") && flags.is_some_and(|flags| flags.contains('F'))
}

/// Takes what a step prints, until it ends.
fn read_to_end(client: &Client, output: &mut (dyn FnMut(&[u8]) + Send)) -> Result<StepEnd, StepError> {
    loop {
        match client.next() {
            Ok(Some(Message::Output(bytes) | Message::Errors(bytes))) => output(&bytes),
            Ok(Some(Message::Notice(_))) => {}
            Ok(Some(Message::Exited(exit))) => {
                return Ok(StepEnd {
                    code: exit.code,
                    out_of_memory: exit.oom_killed,
                });
            }
            Ok(None) | Err(_) => return Err(StepError::Lost),
        }
    }
}

/// Stays with a step that somebody types into; gives its end.
type Stay<'a> = dyn FnMut(&Client) -> Result<StepEnd, StepError> + 'a;

impl Engine {
    /// Runs a step that somebody types into: with a terminal of this size, or with plain input.
    ///
    /// # Errors
    /// See [`StepError`], and what `stay` gives.
    pub fn open_step(
        &self,
        step: &Step,
        terminal: Option<(u16, u16)>,
        stay: &mut Stay<'_>,
    ) -> Result<StepEnd, StepError> {
        let adjust = |spec: &mut ContainerSpec| {
            spec.stdin_open = true;
            spec.terminal = terminal.is_some();
            spec.init_tty_size = terminal;
        };
        self.in_step(step, adjust, stay)
    }

    fn in_step(
        &self,
        step: &Step,
        adjust: impl FnOnce(&mut ContainerSpec),
        stay: &mut Stay<'_>,
    ) -> Result<StepEnd, StepError> {
        if let Some(reason) = self.refusal(step.arch) {
            return Err(StepError::Refused(reason));
        }
        self.sweep_steps();
        let place = self.step_place()?;
        let mut spec = self.step_spec(step, &place)?;
        adjust(&mut spec);
        let points = MountPoints::before(step);
        let ended = self.run_step(&spec, &place, stay);
        points.clear(&step.upper);
        if let Some(own) = &spec.writable {
            let _ = self.store.remove_folder(&own.work);
        }
        let _ = self.store.remove_folder(&place.folder);
        ended
    }

    fn run_step(
        &self,
        spec: &ContainerSpec,
        place: &Place,
        stay: &mut Stay<'_>,
    ) -> Result<StepEnd, StepError> {
        let started = start(&self.options.program, spec, true).map_err(start_error)?;
        let client = started.client.ok_or(StepError::Lost)?;
        let end = stay(&client);
        drop(client);
        // The monitor tells the end before it clears up; what comes next may use the same folder.
        let until = Instant::now() + Duration::from_secs(10);
        while coil_runtime::state::is_alive(&spec.run_dir) && Instant::now() < until {
            std::thread::sleep(Duration::from_micros(200));
        }
        if end.is_err() {
            let _ = coil_runtime::sweep(&place.container_dir(), &place.run_dir());
        }
        end
    }

    /// A folder of a step's own, ours as long as we live.
    fn step_place(&self) -> Result<Place, StepError> {
        let steps = self.run_root.join(STEPS);
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| StepError::Prepare { path, source }
        };
        let mut private = fs::DirBuilder::new();
        private.recursive(true).mode(0o700);
        private.create(&steps).map_err(at(&steps))?;
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let id = words::new_id().map_err(at(&steps))?;
            let folder = steps.join(&id[..16]);
            let new = steps.join(format!(".{}", &id[..16]));
            let made = || -> io::Result<File> {
                private.create(&new)?;
                let owner = File::create_new(new.join(OWNER))?;
                owner.lock()?;
                fs::rename(&new, &folder)?;
                Ok(owner)
            };
            match made() {
                Ok(owner) => {
                    return Ok(Place {
                        folder,
                        id,
                        _owner: owner,
                    });
                }
                // Another build that cleared up took it for a killed one's before it was locked.
                Err(error) if error.kind() == io::ErrorKind::NotFound => last = Some((folder, error)),
                Err(error) => return Err(at(&folder)(error)),
            }
        }
        let (path, source) = last.expect("an attempt was made");
        Err(StepError::Prepare { path, source })
    }

    /// Clears away what killed builds left, where even the monitor was killed.
    fn sweep_steps(&self) {
        let Ok(entries) = fs::read_dir(self.run_root.join(STEPS)) else {
            return;
        };
        for entry in entries.flatten() {
            let folder = entry.path();
            let Ok(owner) = File::open(folder.join(OWNER)) else {
                continue;
            };
            let run_dir = folder.join("run");
            if owner.try_lock().is_err() || coil_runtime::state::is_alive(&run_dir) {
                continue;
            }
            let _ = coil_runtime::sweep(&folder.join("box"), &run_dir);
            let _ = self.store.remove_folder(&folder);
        }
    }

    fn step_spec(&self, step: &Step, place: &Place) -> Result<ContainerSpec, StepError> {
        let refused = |message: String| StepError::Start { message, help: None };
        let account = user::resolve(&step.lower, Some(&step.upper), &step.user)
            .map_err(|error| refused(error.to_string()))?;
        let mut spec = ContainerSpec::new(
            &place.id,
            place.container_dir(),
            place.run_dir(),
            step.lower.clone(),
            step.argv.clone(),
        );
        let work = self.store.temp_path().map_err(|source| StepError::Prepare {
            path: self.store.temp_dir(),
            source,
        })?;
        spec.writable = Some(Writable {
            upper: step.upper.clone(),
            work,
        });
        spec.log.path = None;
        spec.auto_remove = true;
        spec.ends_with_starter = true;
        spec.hostname = step.hostname.clone().unwrap_or_else(|| HOSTNAME.into());
        spec.env = step
            .env
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        if !step.env.contains_key("HOME") {
            spec.env.push(format!("HOME={}", account.home));
        }
        spec.cwd.clone_from(&step.workdir);
        spec.id_map = self.id_map(account.user.uid, account.user.gid);
        spec.user = account.user;
        // The user's own group counts among the others, as in Docker's steps.
        if self.owns_ids() && !spec.user.groups.contains(&spec.user.gid) {
            spec.user.groups.insert(0, spec.user.gid);
        }
        spec.capabilities = match step.privileges {
            StepPrivileges::Docker => capabilities::DEFAULT.into_iter().chain(OF_BUILDS).collect(),
            StepPrivileges::Nothing => Vec::new(),
            StepPrivileges::Everything => capabilities::ALL
                .iter()
                .map(|(capability, _)| *capability)
                .collect(),
        };
        if step.privileges == StepPrivileges::Everything {
            spec.seccomp = SeccompPolicy::Unconfined;
            spec.masked_paths.clear();
            spec.readonly_paths.clear();
            spec.writable_system = true;
            spec.devices.all = true;
        }
        spec.no_new_privileges = step.privileges == StepPrivileges::Nothing;
        spec.limits = Limits {
            memory: step.limits.memory,
            memory_swap: step.limits.memory_swap,
            cpu_shares: step.limits.cpu_shares,
            cpuset_cpus: step.group.processors.clone(),
            cpuset_mems: step.group.memory_nodes.clone(),
            cpus_milli: step.limits.cpus_milli,
            pids: step.limits.pids.and_then(|pids| i64::try_from(pids).ok()),
            shm_size: step.limits.shared_memory.unwrap_or(Limits::default().shm_size),
            ..Limits::default()
        };
        spec.rlimits = step
            .process_limits
            .iter()
            .map(|(name, soft, hard)| Rlimit {
                name: name.clone(),
                soft: *soft,
                hard: *hard,
            })
            .collect();
        spec.mounts = step
            .binds
            .iter()
            .map(|bind| Mount {
                kind: MountKind::Bind {
                    source: bind.source.clone(),
                },
                destination: bind.target.clone(),
                read_only: bind.read_only,
                options: Vec::new(),
            })
            .collect();
        let in_memory = step.memory_folders.iter().map(|(target, size)| Mount {
            kind: MountKind::Tmpfs {
                size: *size,
                mode: 0o1777,
            },
            destination: target.clone(),
            read_only: false,
            options: vec!["exec".into()],
        });
        spec.mounts.extend(in_memory);
        spec.network = match step.network {
            StepNetwork::None => NetworkSpec::None,
            StepNetwork::Host => NetworkSpec::Host(NameSettings {
                host_resolv_conf: self.options.resolv_conf.clone(),
                host_hosts: self.options.hosts.clone(),
                extra_hosts: step.hosts.clone(),
                ..NameSettings::default()
            }),
        };
        let facts = cgroup::Facts::read()
            .map_err(|error| refused(format!("the machine's control groups cannot be read: {error}")))?;
        spec.cgroup = cgroup::plan_for(&facts, &step.group.parent, &place.id, &spec.limits);
        if !step.devices.is_empty() {
            let library = Library::read(&self.options.device_folders);
            library
                .give_step(&step.devices, &mut spec)
                .map_err(|error| StepError::Start {
                    message: error.to_string(),
                    help: error.help(),
                })?;
        }
        Ok(spec)
    }
}

fn start_error(error: StartError) -> StepError {
    let help = lifecycle::start_help(&error);
    match error {
        StartError::Prepare { path, error } => StepError::Prepare { path, source: error },
        StartError::Monitor(source) => StepError::Start {
            message: format!("coil cannot run itself as a container's monitor: {source}"),
            help,
        },
        StartError::Failed(failure) => StepError::Start {
            message: failure.to_string(),
            help,
        },
        StartError::Lost => StepError::Lost,
    }
}
