//! Starting a container that was made: from what is kept of it to a program that runs.

use std::fs::File;
use std::path::PathBuf;

use coil_runtime::cgroup;
use coil_runtime::spec::ContainerSpec;
use coil_runtime::state::Status;
use coil_runtime::{start, user};

use crate::lifecycle::ContainerError;
use crate::record::ContainerRecord;
use crate::request::{StartRequest, Started};
use crate::run_error::RunError;
use crate::volumes::make_sources;
use crate::{Engine, create, health};

/// Held while a container is changed: nobody else starts, removes or changes it meanwhile.
#[derive(Debug)]
pub(crate) struct Guard {
    _lock: File,
}

impl Engine {
    /// Waits until nobody else changes a container.
    pub(crate) fn guard(&self, id: &str) -> Result<Guard, RunError> {
        let path = self.store.container_dir(id);
        let locked = File::open(&path).and_then(|lock| lock.lock().map(|()| lock));
        match locked {
            Ok(lock) => Ok(Guard { _lock: lock }),
            Err(source) => Err(RunError::Prepare { path, source }),
        }
    }

    /// Starts a container that was made, or that has ended; one that runs already is left as it is, and gives no
    /// connection.
    ///
    /// # Errors
    /// When there is no such container, or it does not start.
    pub fn start(&self, text: &str, request: &StartRequest) -> Result<Started, RunError> {
        let id = self.container(text).map_err(ContainerError::Find)?.record.id;
        let guard = self.guard(&id)?;
        let container = self.container(&id).map_err(ContainerError::Find)?;
        let record = container.record;
        match container.state.status {
            Status::Created | Status::Exited => {}
            Status::Paused => return Err(ContainerError::Paused(record.id).into()),
            Status::Running | Status::Restarting => {
                return Ok(Started {
                    id: record.id,
                    name: record.name,
                    notices: Vec::new(),
                    client: None,
                });
            }
        }
        let lease = self.store.lease().map_err(crate::store_io("locking the store"))?;
        let layers = self.layers(&record)?;
        drop(lease);
        if request.attach {
            self.event(&record, "attach", &[]);
        }
        let started = self.launch(&record, layers, request);
        drop(guard);
        started
    }

    /// The folders of a container's layers, unpacked again where a boot spoiled them.
    pub(crate) fn layers(&self, record: &ContainerRecord) -> Result<Vec<PathBuf>, RunError> {
        let layer = |(at, diff_id)| -> Result<PathBuf, RunError> {
            match record.blobs.get(at) {
                Some(blob) => Ok(self.store.ensure_snapshot(diff_id, blob, self.ownership())?),
                None => Ok(self.store.snapshot_tree(diff_id)),
            }
        };
        record.diff_ids.iter().enumerate().map(layer).collect()
    }

    /// Starts what a record says, over these layers.
    pub(crate) fn launch(
        &self,
        record: &ContainerRecord,
        layers: Vec<PathBuf>,
        request: &StartRequest,
    ) -> Result<Started, RunError> {
        let mut spec = self.spec(record, layers)?;
        spec.init_tty_size = request.terminal_size;
        make_sources(record).map_err(|(path, source)| RunError::Prepare { path, source })?;
        let started = start(&self.options.program, &spec, request.attach).map_err(RunError::Start)?;
        Ok(Started {
            id: record.id.clone(),
            name: record.name.clone(),
            notices: started.notices,
            client: started.client,
        })
    }

    /// What the monitor is told, worked out from the record for this machine as it is now.
    fn spec(&self, record: &ContainerRecord, layers: Vec<PathBuf>) -> Result<ContainerSpec, RunError> {
        let (dir, run_dir) = (self.store.container_dir(&record.id), self.run_dir(&record.id));
        let upper = dir.join("upper");
        let account = user::resolve(
            &layers,
            Some(&upper).filter(|upper| upper.is_dir()).map(|p| &**p),
            &record.user,
        )
        .map_err(RunError::User)?;
        let mut spec = ContainerSpec::new(&record.id, dir, run_dir, layers, record.args.clone());
        let facts = cgroup::Facts::read().map_err(RunError::Cgroups)?;
        spec.id_map = self.id_map(account.user.uid, account.user.gid);
        if !spec.id_map.has_uid(account.user.uid) || !spec.id_map.has_gid(account.user.gid) {
            return Err(RunError::Refused {
                message: format!(
                    "the user {}:{} is none of those that this user's containers have: {}",
                    account.user.uid, account.user.gid, spec.id_map
                ),
                help: Some("give a lower number, or longer ranges in /etc/subuid and /etc/subgid".to_owned()),
                code: 125,
            });
        }
        let parent = &record.options.cgroup_parent;
        spec.cgroup = cgroup::plan_for(&facts, parent, &record.id, &record.limits);
        spec.name.clone_from(&record.name);
        spec.image.clone_from(&record.image);
        spec.hostname.clone_from(&record.hostname);
        spec.read_only = record.read_only;
        spec.env = create::variables(record, record.terminal);
        if !spec.env.iter().any(|entry| entry.starts_with("HOME=")) {
            spec.env.push(format!("HOME={}", account.home));
        }
        spec.cwd.clone_from(&record.cwd);
        spec.user = account.user;
        spec.mounts.clone_from(&record.mounts);
        spec.own_volumes = self.own_volumes(record);
        spec.terminal = record.terminal;
        spec.stdin_open = record.stdin_open;
        spec.limits.clone_from(&record.limits);
        spec.network = self.network_spec(record)?;
        spec.ports.clone_from(&record.ports);
        spec.auto_remove = record.auto_remove;
        spec.restart = record.restart;
        spec.stop_signal = record.stop_signal;
        spec.labels.clone_from(&record.labels);
        spec.health = health::resolved(record.health.as_ref(), &record.shell);
        spec.release.push(self.store.name_path(&record.name));
        self.apply(record, &mut spec)?;
        Ok(spec)
    }
}
