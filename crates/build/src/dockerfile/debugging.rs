//! A shell where a build stands: in the file system of a step that failed, or at the end of a stage.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use coil_oci::Descriptor;

use super::solving::{Layers, Solver};
use super::stage_state::StageState;
use super::tree::Tree;
use super::{BuildError, BuildRequest, Builder, FailedStep};
use crate::executor::Step;

/// Shells, the best first.
const SHELLS: [&str; 4] = ["bin/bash", "bin/sh", "bin/ash", "busybox/sh"];

impl Step {
    /// The path of a shell in the step's file system.
    pub fn shell(&self) -> Option<String> {
        let all: Vec<PathBuf> = self.lower.iter().chain([&self.upper]).cloned().collect();
        let tree = Tree::layers(all);
        let found = SHELLS.into_iter().find(|path| {
            let item = tree.resolve(path, true).ok().and_then(|(_, item)| item);
            item.is_some_and(|item| item.meta.is_file())
        });
        found.map(|path| format!("/{path}"))
    }
}

/// What a shell beside a step has of its stage.
#[derive(Debug, Clone)]
pub(crate) struct Around {
    env: BTreeMap<String, String>,
    workdir: String,
    user: String,
}

impl Around {
    /// What a stage has by now.
    pub(super) fn of(state: &StageState) -> Around {
        Around {
            env: state.env.iter().cloned().collect(),
            workdir: state.workdir().to_owned(),
            user: state.config.config.user.clone(),
        }
    }
}

impl Solver<'_> {
    /// Lets the user look into the files that a step without a program of its own failed on.
    pub(super) fn look_into(&self, number: usize, name: &str, below: &Layers, error: &BuildError) {
        let (Some(debugger), Some(around)) = (self.builder.debugger, self.around.get(&number)) else {
            return;
        };
        let upper = self
            .scratch("debug")
            .and_then(|upper| fs::create_dir(&upper).map(|()| upper));
        // Where not even that can be had, the error itself says enough.
        let (Ok(upper), Ok(lower)) = (upper, self.snapshots(below)) else {
            return;
        };
        let mut step = Step::new(self.request.arch, lower, upper, Vec::new());
        step.env.extend(around.env.clone());
        step.workdir.clone_from(&around.workdir);
        step.user.clone_from(&around.user);
        self.builder.see_host(&mut step, self.request);
        let failed = FailedStep {
            command: name.to_owned(),
            code: 1,
            out_of_memory: false,
            tail: Vec::new(),
            step: name.to_owned(),
            error: Some(error.to_string()),
        };
        debugger.failed(&step, &failed);
    }
}

impl Builder<'_> {
    /// What a step sees of the host besides its own files.
    fn see_host(&self, step: &mut Step, request: &BuildRequest) {
        for (name, value) in &self.host.env {
            step.env.entry(name.clone()).or_insert_with(|| value.clone());
        }
        step.binds.extend(self.host.binds.iter().cloned());
        step.network = request.network;
        step.hosts.clone_from(&request.hosts);
    }

    /// A step in the file system of a built image, with its environment; what it writes goes to `upper`.
    ///
    /// # Errors
    /// When the image can't be unpacked.
    pub fn inside(
        &self,
        request: &BuildRequest,
        descriptor: &Descriptor,
        upper: PathBuf,
    ) -> Result<Step, BuildError> {
        let image = self.store.image_of(descriptor)?;
        let mut lower = Vec::new();
        for (layer, diff_id) in image.manifest.layers.iter().zip(&image.config.rootfs.diff_ids) {
            lower.push(
                self.store
                    .ensure_snapshot(diff_id, layer, crate::base::ownership())?,
            );
        }
        let config = image.config.config;
        let mut step = Step::new(request.arch, lower, upper, Vec::new());
        for entry in &config.env {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            step.env.insert(name.to_owned(), value.to_owned());
        }
        if !config.working_dir.is_empty() {
            step.workdir = config.working_dir;
        }
        step.user = config.user;
        self.see_host(&mut step, request);
        Ok(step)
    }
}
