//! Changes of a container that is there: its name, its limits, its policy; pausing, and what a boot starts again.

use coil_runtime::restart::RestartPolicy;
use coil_runtime::spec::{ContainerSpec, Limits};
use coil_runtime::state::Status;

use crate::Engine;
use crate::create::is_name;
use crate::lifecycle::ContainerError;
use crate::record::{Container, ContainerRecord};
use crate::request::{StartRequest, Started};
use crate::run_error::RunError;

/// What `coil update` was asked for; what is none stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpdateRequest {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes of memory and swap together, -1 for no limit.
    pub memory_swap: Option<i64>,
    /// Bytes of memory that it keeps when others want some.
    pub memory_reservation: Option<u64>,
    /// Thousandths of a processor.
    pub cpus_milli: Option<u64>,
    /// Share of the processors.
    pub cpu_shares: Option<u64>,
    /// Microseconds of a scheduling period.
    pub cpu_period: Option<u64>,
    /// Microseconds of processor time in each.
    pub cpu_quota: Option<i64>,
    /// Processors.
    pub cpuset_cpus: Option<String>,
    /// Memory nodes.
    pub cpuset_mems: Option<String>,
    /// Processes and threads.
    pub pids: Option<i64>,
    /// The share of every disk.
    pub disk_weight: Option<u16>,
    /// Microseconds of a period in which processes of a real-time class may run.
    pub cpu_rt_period: Option<u64>,
    /// Microseconds in each such period that they get.
    pub cpu_rt_runtime: Option<u64>,
    /// When it is started again.
    pub restart: Option<RestartPolicy>,
}

impl UpdateRequest {
    fn changed(&self, limits: &Limits) -> Limits {
        let mut limits = limits.clone();
        limits.memory = self.memory.or(limits.memory);
        limits.memory_swap = self.memory_swap.or(limits.memory_swap);
        limits.memory_reservation = self.memory_reservation.or(limits.memory_reservation);
        if self.cpus_milli.is_some() {
            (limits.cpus_milli, limits.cpu_quota, limits.cpu_period) = (self.cpus_milli, None, None);
        }
        if self.cpu_quota.is_some() || self.cpu_period.is_some() {
            limits.cpus_milli = None;
        }
        limits.cpu_shares = self.cpu_shares.or(limits.cpu_shares);
        limits.cpu_period = self.cpu_period.or(limits.cpu_period);
        limits.cpu_quota = self.cpu_quota.or(limits.cpu_quota);
        limits.cpuset_cpus = self.cpuset_cpus.clone().unwrap_or(limits.cpuset_cpus);
        limits.cpuset_mems = self.cpuset_mems.clone().unwrap_or(limits.cpuset_mems);
        limits.pids = self.pids.or(limits.pids);
        limits.disk.weight = self.disk_weight.unwrap_or(limits.disk.weight);
        limits.cpu_rt_period = self.cpu_rt_period.or(limits.cpu_rt_period);
        limits.cpu_rt_runtime = self.cpu_rt_runtime.or(limits.cpu_rt_runtime);
        limits
    }
}

fn refused(message: impl Into<String>, help: &str) -> RunError {
    RunError::Refused {
        message: message.into(),
        help: Some(help.to_owned()),
        code: 1,
    }
}

/// Why a name can't be had, in the words for one that is there already.
fn allocating(error: &RunError) -> RunError {
    RunError::Refused {
        message: format!("Error when allocating new name: {error}"),
        help: error
            .help()
            .or_else(|| Some("give a name such as `web-1`".to_owned())),
        code: 1,
    }
}

impl Engine {
    /// Gives a container another name.
    ///
    /// # Errors
    /// When there is no such container, or the name is taken or none.
    pub fn rename(&self, text: &str, name: &str) -> Result<(), RunError> {
        let id = self.container(text).map_err(ContainerError::Find)?.record.id;
        let _guard = self.guard(&id)?;
        let container = self.container(&id).map_err(ContainerError::Find)?;
        let name = name.trim_start_matches('/');
        if name.is_empty() || !is_name(name) {
            return Err(allocating(&RunError::BadName(format!("/{name}"))));
        }
        let old = container.record.name.clone();
        if old == name {
            return Err(refused(
                "Renaming a container with the same name as its current name",
                "give another name",
            ));
        }
        let claimed = self.claim_name(Some(name), &id).map_err(|error| match error {
            RunError::NameTaken { .. } => allocating(&error),
            other => other,
        })?;
        let record = ContainerRecord {
            name: claimed,
            ..container.record.clone()
        };
        let path = self.store.name_path(name);
        let old_path = self.store.name_path(&old);
        self.rewrite(&container, &record, |spec| {
            name.clone_into(&mut spec.name);
            for file in spec.release.iter_mut().filter(|file| **file == old_path) {
                file.clone_from(&path);
            }
        })?;
        self.store.release_name(&old, &id);
        if let Err(error) = self.rename_in_networks(&id, &old, name) {
            return Err(refused(
                error.to_string(),
                "restart the container: it has its new name then",
            ));
        }
        self.event(&record, "rename", &[("oldName", format!("/{old}"))]);
        Ok(())
    }

    /// Changes limits and policy, of a container that runs too.
    ///
    /// # Errors
    /// When there is no such container, or the kernel refuses a limit.
    pub fn update(&self, text: &str, request: &UpdateRequest) -> Result<Vec<String>, RunError> {
        let id = self.container(text).map_err(ContainerError::Find)?.record.id;
        let _guard = self.guard(&id)?;
        let container = self.container(&id).map_err(ContainerError::Find)?;
        let limits = request.changed(&container.record.limits);
        if let (Some(memory), Some(both)) = (request.memory, container.record.limits.both())
            && request.memory_swap.is_none()
            && both >= 0
            && i64::try_from(memory).is_ok_and(|memory| memory > both)
        {
            return Err(refused(
                format!(
                    "Cannot update container {id}: Memory limit should be smaller than already set memoryswap limit, update \
                     the memoryswap at the same time"
                ),
                "give --memory-swap too",
            ));
        }
        if container.record.limits.cpus_milli.is_some() {
            let clash = match (request.cpu_quota, request.cpu_period) {
                (_, Some(1..)) => Some("Period"),
                (Some(quota), _) if quota != 0 => Some("Quota"),
                _ => None,
            };
            if let Some(what) = clash {
                return Err(refused(
                    format!(
                        "Cannot update container {id}: Conflicting options: CPU {what} cannot be updated as NanoCPUs has \
                         already been set"
                    ),
                    "it was made with --cpus: give that another number",
                ));
            }
        }
        let restart = request.restart.unwrap_or(container.record.restart);
        if restart != RestartPolicy::No && container.record.auto_remove {
            return Err(refused(
                format!(
                    "Cannot update container {id}: Restart policy cannot be updated because AutoRemove is enabled for the container"
                ),
                "a container that is removed at its end can't be started again",
            ));
        }
        let record = ContainerRecord {
            limits: limits.clone(),
            restart,
            ..container.record.clone()
        };
        let mut notices = Vec::new();
        let before = self.rewrite(&container, &record, |spec| {
            spec.limits.clone_from(&limits);
            spec.restart = restart;
            // What doesn't run gets its groups at its start, with all that it needs.
            if container.is_running() {
                notices = spec.notices();
            }
        })?;
        if container.is_running() {
            let told = self
                .client(&container, "update")
                .map_err(RunError::from)
                .and_then(|client| {
                    client.update().map_err(|source| {
                        refused(
                            format!("Cannot update container {id}: {source}"),
                            "`coil inspect` shows the limits that it has",
                        )
                    })
                });
            if let Err(error) = told {
                // Nothing of it holds: what is written says what is so.
                let old = container.record.clone();
                if let Some(before) = before {
                    self.rewrite(&container, &old, |spec| *spec = before)?;
                }
                return Err(error);
            }
        }
        self.event(&record, "update", &[]);
        Ok(notices)
    }

    /// Writes a container's record anew, and its spec where it has one; gives the spec as it was.
    fn rewrite(
        &self,
        container: &Container,
        record: &ContainerRecord,
        change: impl FnOnce(&mut ContainerSpec),
    ) -> Result<Option<ContainerSpec>, RunError> {
        let prepare = |source| RunError::Prepare {
            path: container.dir.clone(),
            source,
        };
        record.save(&container.dir).map_err(prepare)?;
        let path = container.dir.join("spec.json");
        let Ok(bytes) = std::fs::read(&path) else {
            return Ok(None);
        };
        let Ok(mut spec) = serde_json::from_slice::<ContainerSpec>(&bytes) else {
            return Ok(None);
        };
        let before = spec.clone();
        change(&mut spec);
        let bytes = serde_json::to_vec(&spec).map_err(|error| prepare(error.into()))?;
        let temporary = container.dir.join("spec.json.new");
        std::fs::write(&temporary, bytes)
            .and_then(|()| std::fs::rename(&temporary, &path))
            .map_err(prepare)?;
        Ok(Some(before))
    }

    /// Stops a container's processes where they are, or lets them go on.
    ///
    /// # Errors
    /// When there is no such container, or it does not run, or is so already.
    pub fn pause(&self, text: &str, paused: bool) -> Result<(), ContainerError> {
        let container = self.container(text)?;
        let id = || container.record.id.clone();
        match (container.state.status, paused) {
            (Status::Paused, true) => return Err(ContainerError::AlreadyPaused(id())),
            (Status::Paused, false) | (Status::Running, true) => {}
            (_, false) => return Err(ContainerError::NotPaused(id())),
            (_, true) => {
                return Err(ContainerError::NotRunning {
                    id: id(),
                    doing: "pause",
                });
            }
        }
        let client = self.client(&container, "pause")?;
        client.freeze(paused).map_err(|source| ContainerError::Io {
            doing: format!("{} the container", if paused { "pausing" } else { "unpausing" }),
            source,
        })
    }

    /// Starts what was running before the machine went down and is to run again; gives each one's name, and what came
    /// of it.
    pub fn boot(&self) -> Vec<(String, Result<Started, RunError>)> {
        let mut containers = self.containers();
        containers.reverse();
        let due = |container: &Container| {
            let state = &container.state;
            !container.is_running()
                && state.started_before
                && container.record.restart.again(state.exit_code, 0, state.stopped)
        };
        containers
            .into_iter()
            .filter(due)
            .map(|container| {
                let started = self.start(&container.record.id, &StartRequest::default());
                (container.record.name, started)
            })
            .collect()
    }
}
