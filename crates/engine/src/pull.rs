//! Pulling an image from a registry and naming it.

use std::fmt;

use coil_fetch::Progress;
use coil_oci::Digest;
use coil_registry::{PullError, PullEvents, PullRequest, Registries};
use coil_store::StoreError;

use crate::{Engine, clock};

/// What came of a pull.
#[derive(Debug, Clone)]
pub struct PullOutcome {
    /// The digest of what the name stands for.
    pub digest: Digest,
    /// Whether the image, or the name for it, is new here.
    pub is_new: bool,
}

/// Why an image was not pulled.
#[derive(Debug)]
pub enum PullFailure {
    /// It could not be had.
    Pull(Box<PullError>),
    /// It could not be named.
    Store(StoreError),
}

impl PullFailure {
    /// What the user can do next.
    pub fn help(&self) -> Option<String> {
        match self {
            PullFailure::Pull(error) => error.help(),
            PullFailure::Store(error) => error.help(),
        }
    }
}

impl fmt::Display for PullFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PullFailure::Pull(error) => fmt::Display::fmt(error, f),
            PullFailure::Store(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl std::error::Error for PullFailure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            PullFailure::Pull(error) => error.source(),
            PullFailure::Store(error) => error.source(),
        }
    }
}

impl Engine {
    /// Brings an image into the store under its name.
    ///
    /// # Errors
    /// See [`PullFailure`]; the name stands for what it stood for then.
    pub fn pull(
        &self,
        registries: &Registries<'_>,
        request: &PullRequest,
        progress: &dyn Progress,
        events: &dyn PullEvents,
    ) -> Result<PullOutcome, PullFailure> {
        let _lease = self
            .store
            .lease()
            .map_err(crate::store_io("locking the store"))
            .map_err(PullFailure::Store)?;
        let pulled = registries
            .pull(&self.store, request, progress, events)
            .map_err(|error| PullFailure::Pull(Box::new(error)))?;
        let before = self
            .store
            .get_ref(&request.reference)
            .map_err(PullFailure::Store)?;
        let renamed = before.is_none_or(|before| before.digest != pulled.descriptor.digest);
        if renamed {
            self.store
                .set_ref(&request.reference, &pulled.descriptor, clock::now().as_secs())
                .map_err(PullFailure::Store)?;
        }
        Ok(PullOutcome {
            digest: pulled.descriptor.digest,
            is_new: renamed || pulled.is_new,
        })
    }
}
