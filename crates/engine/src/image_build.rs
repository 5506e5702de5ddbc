//! Building an image from a Dockerfile, naming it, writing it out.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

use coil_build::dockerfile::{Attestations, BuildError, BuildEvents, BuildRequest, Builder, Built};
use coil_build::{ExportError, Output, export};
use coil_oci::{Descriptor, Digest, Index, Reference};
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
    /// Annotations of the index, where there are several platforms.
    pub index_annotations: BTreeMap<String, String>,
    /// What is told of the images, beside them.
    pub attestations: Attestations,
}

/// What came of a build for all its platforms.
#[derive(Debug, Clone)]
pub struct BuiltImages {
    /// The only image's manifest, or the index of several.
    pub descriptor: Descriptor,
    /// The same with what is told of the images: an index, where anything is.
    pub attested: Descriptor,
    /// The images, in the order of their requests.
    pub images: Vec<Built>,
}

/// Steps of one platform, numbered after those of the platforms before.
struct Numbered<'a> {
    events: &'a dyn BuildEvents,
    before: usize,
    most: AtomicUsize,
}

impl Numbered<'_> {
    fn number(&self, step: usize) -> usize {
        let number = self.before + step;
        self.most.fetch_max(number, Ordering::Relaxed);
        number
    }
}

impl BuildEvents for Numbered<'_> {
    fn planned(&self, steps: usize) {
        self.events.planned(self.before + steps);
    }

    fn begin(&self, step: usize, name: &str) {
        self.events.begin(self.number(step), name);
    }

    fn cached(&self, step: usize, name: &str) {
        self.events.cached(self.number(step), name);
    }

    fn output(&self, step: usize, bytes: &[u8]) {
        self.events.output(self.number(step), bytes);
    }

    fn done(&self, step: usize) {
        self.events.done(self.number(step));
    }

    fn failed(&self, step: usize, name: &str, why: &str) {
        self.events.failed(self.number(step), name, why);
    }

    fn note(&self, text: &str) {
        self.events.note(text);
    }
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
    /// Builds an image, or one for each platform and an index of them; it is there to run when this returns.
    ///
    /// # Errors
    /// See [`ImageBuildError`]; names stand for what they did before then.
    pub fn build_images(
        &self,
        builder: &Builder<'_>,
        requests: &[BuildRequest],
        target: &BuildTarget,
    ) -> Result<BuiltImages, ImageBuildError> {
        // Held until the image has its name: a collection in between would take it away.
        let lease = self.store.lease().map_err(crate::store_io("locking the store"));
        let _lease = lease.map_err(ImageBuildError::Store)?;
        let images = self.built(builder, requests, target)?;
        let built = &images;
        for output in &target.outputs {
            let descriptor = match output {
                // Docker's archive has no room for what is told of an image.
                Output::DockerArchive(_) => &built.descriptor,
                Output::Oci(_) | Output::OciArchive(_) => &built.attested,
            };
            export(&self.store, descriptor, &target.names, output)
                .map_err(|error| ImageBuildError::Export(Box::new(error)))?;
        }
        let mut names = target.names.clone();
        if names.is_empty() && target.keep {
            names.extend(unnamed(&built.attested.digest));
        }
        for name in names.iter().filter(|_| target.keep) {
            let known = self.store.get_ref(name).map_err(ImageBuildError::Store)?;
            if known.as_ref() != Some(&built.attested) {
                let now = clock::now().as_secs();
                self.store
                    .set_ref(name, &built.attested, now)
                    .map_err(ImageBuildError::Store)?;
            }
        }
        Ok(images)
    }

    fn built(
        &self,
        builder: &Builder<'_>,
        requests: &[BuildRequest],
        target: &BuildTarget,
    ) -> Result<BuiltImages, ImageBuildError> {
        let failed = |error| ImageBuildError::Build(Box::new(error));
        let mut images = Vec::new();
        let mut steps = 0;
        for request in requests {
            let events = Numbered {
                events: builder.events,
                before: steps,
                most: AtomicUsize::new(steps),
            };
            let numbered = Builder {
                events: &events,
                host: builder.host.clone(),
                git: builder.git.clone(),
                ..*builder
            };
            images.push(numbered.build(request).map_err(failed)?);
            steps = events.most.load(Ordering::Relaxed);
        }
        let entries: Vec<Descriptor> = images.iter().map(|built| built.descriptor.clone()).collect();
        let put = |entries: Vec<Descriptor>| {
            let mut index = Index::new(entries);
            index.annotations.clone_from(&target.index_annotations);
            let written = self.store.put_index(&index);
            let written = written.map_err(crate::store_io("writing the index"));
            written.map_err(ImageBuildError::Store)
        };
        let descriptor = match entries.as_slice() {
            [only] => only.clone(),
            _ => put(entries.clone())?,
        };
        let mut told = Vec::new();
        for (built, request) in images.iter().zip(requests) {
            let statement = builder.attest(built, request, &target.names, &target.attestations);
            told.extend(statement.map_err(failed)?);
        }
        let attested = match told.is_empty() {
            true => descriptor.clone(),
            false => put(entries.into_iter().chain(told).collect())?,
        };
        Ok(BuiltImages {
            descriptor,
            attested,
            images,
        })
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
