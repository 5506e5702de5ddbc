//! A shell where a build stands: in the file system of a step that failed, or at the end of a stage.

use std::path::PathBuf;

use coil_oci::Descriptor;

use super::tree::Tree;
use super::{BuildError, BuildRequest, Builder};
use crate::executor::{Step, StepNetwork};

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

impl Builder<'_> {
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
        for (name, value) in &self.host.env {
            step.env.entry(name.clone()).or_insert_with(|| value.clone());
        }
        step.binds.extend(self.host.binds.iter().cloned());
        if !config.working_dir.is_empty() {
            step.workdir = config.working_dir;
        }
        step.user = config.user;
        step.network = match request.network {
            StepNetwork::None => StepNetwork::None,
            StepNetwork::Host => StepNetwork::Host,
        };
        step.hosts.clone_from(&request.hosts);
        Ok(step)
    }
}
