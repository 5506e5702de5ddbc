//! Building an image from a Dockerfile, naming it, writing it out.

use std::fmt;

use coil_build::dockerfile::{BuildError, BuildRequest, Builder, Built};
use coil_build::{ExportError, Output, export};
use coil_oci::{Digest, Reference};
use coil_store::StoreError;

use crate::{Engine, clock};

/// What images are called that were built without a name, so that their ids are known.
const UNNAMED: &str = "coil.local/untagged";

/// What happens to a built image.
#[derive(Debug, Clone, Default)]
pub struct BuildTarget {
    /// Its names.
    pub names: Vec<Reference>,
    /// Where it is written as an image besides.
    pub outputs: Vec<Output>,
    /// Whether it stays in the store.
    pub keep: bool,
}

/// Why no image came of a build.
#[derive(Debug)]
pub enum ImageBuildError {
    /// It could not be built.
    Build(Box<BuildError>),
    /// It could not be written out.
    Export(Box<ExportError>),
    /// It could not be named.
    Store(StoreError),
}

impl fmt::Display for ImageBuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImageBuildError::Build(error) => fmt::Display::fmt(error, f),
            ImageBuildError::Export(error) => fmt::Display::fmt(error, f),
            ImageBuildError::Store(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl std::error::Error for ImageBuildError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ImageBuildError::Build(error) => error.source(),
            ImageBuildError::Export(error) => error.source(),
            ImageBuildError::Store(error) => error.source(),
        }
    }
}

impl Engine {
    /// Builds an image; it is there to run when this returns.
    ///
    /// # Errors
    /// See [`ImageBuildError`]; names stand for what they did before then.
    pub fn build_image(
        &self,
        builder: &Builder<'_>,
        request: &BuildRequest,
        target: &BuildTarget,
    ) -> Result<Built, ImageBuildError> {
        // Held until the image has its name: a collection in between would take it away.
        let lease = self.store.lease().map_err(crate::store_io("locking the store"));
        let _lease = lease.map_err(ImageBuildError::Store)?;
        let built = builder
            .build(request)
            .map_err(|error| ImageBuildError::Build(Box::new(error)))?;
        for output in &target.outputs {
            export(&self.store, &built.descriptor, &target.names, output)
                .map_err(|error| ImageBuildError::Export(Box::new(error)))?;
        }
        let mut names = target.names.clone();
        if names.is_empty() && target.keep {
            names.extend(unnamed(&built.descriptor.digest));
        }
        for name in names.iter().filter(|_| target.keep) {
            let known = self.store.get_ref(name).map_err(ImageBuildError::Store)?;
            if known.as_ref() != Some(&built.descriptor) {
                let now = clock::now().as_secs();
                self.store
                    .set_ref(name, &built.descriptor, now)
                    .map_err(ImageBuildError::Store)?;
            }
        }
        Ok(built)
    }

    /// A folder in memory that only coil's user may enter.
    pub fn private_folder(&self) -> std::path::PathBuf {
        self.run_root.join("secrets")
    }
}

/// Whether a name is one that nobody gave: the image has none.
pub fn is_unnamed(reference: &Reference) -> bool {
    reference.tag().is_none() && reference.familiar_name() == UNNAMED
}

pub(crate) fn unnamed(digest: &Digest) -> Option<Reference> {
    Reference::parse(&format!("{UNNAMED}@{digest}")).ok()
}
