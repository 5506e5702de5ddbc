//! Where the result of a build goes, and what is told of it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use coil_build::dockerfile::{BuildError, BuildRequest, Builder, Built, ProvenanceMode};
use coil_engine::image_build::{BuildTarget, BuiltImages};
use coil_oci::Reference;
use serde_json::json;

use super::Build;
use crate::build_flags::Place;
use crate::build_progress::Form;
use crate::report::Failure;

/// What was asked of a build that is done.
pub(super) struct Delivery<'a> {
    pub(super) builder: &'a Builder<'a>,
    pub(super) requests: &'a [BuildRequest],
    pub(super) target: &'a BuildTarget,
    /// How much of the image's provenance the file with what came of it has.
    pub(super) told_of_metadata: Option<ProvenanceMode>,
}

impl Delivery<'_> {
    fn epoch(&self) -> Option<u64> {
        self.requests.first().and_then(|request| request.epoch)
    }

    /// What stands beside an image's files where they are written out.
    fn beside(&self, image: &Built, request: &BuildRequest) -> Result<Vec<(&'static str, Vec<u8>)>, Failure> {
        self.builder
            .attest_files(image, request, &self.target.names, &self.target.attestations)
            .map_err(|error| Failure::of(&error).maybe_help(error.help()))
    }
}

impl Build {
    /// Writes the result to its places, and tells of it.
    pub(super) fn deliver(
        &self,
        delivery: &Delivery<'_>,
        built: &BuiltImages,
        places: &[Place],
        form: Form,
    ) -> Result<(), Failure> {
        let (builder, epoch) = (delivery.builder, delivery.epoch());
        let names = &delivery.target.names;
        let failed = |error: BuildError| Failure::of(&error).maybe_help(error.help());
        // A tar has one platform alone.
        let beside = |built: &BuiltImages| match (built.images.as_slice(), delivery.requests) {
            ([image], [request]) => delivery.beside(image, request),
            _ => Ok(Vec::new()),
        };
        for place in places {
            match place {
                Place::Store | Place::Image(_) | Place::Cache => {}
                Place::Folder(folder) => {
                    for (image, request) in built.images.iter().zip(delivery.requests) {
                        let platform = image.descriptor.platform.as_ref().map(ToString::to_string);
                        let own = match built.images.len() {
                            1 => folder.clone(),
                            _ => folder.join(platform.unwrap_or_default().replace('/', "_")),
                        };
                        builder
                            .write_files(&image.descriptor, epoch, &delivery.beside(image, request)?, &own)
                            .map_err(failed)?;
                    }
                }
                Place::Tar(None) => builder
                    .write_tar(
                        &built.descriptor,
                        epoch,
                        &beside(built)?,
                        &mut io::stdout().lock(),
                    )
                    .map_err(failed)?,
                Place::Tar(Some(path)) => {
                    let mut file = fs::File::create(path).map_err(|error| {
                        Failure::new(format!("{} cannot be written: {error}", path.display()))
                    })?;
                    builder
                        .write_tar(&built.descriptor, epoch, &beside(built)?, &mut file)
                        .map_err(failed)?;
                }
            }
        }
        let write = |path: &Path, text: String| {
            fs::write(path, text)
                .map_err(|error| Failure::new(format!("{} cannot be written: {error}", path.display())))
        };
        if let Some(path) = &self.iidfile {
            write(path, id(built))?;
        }
        if let Some(path) = &self.metadata_file {
            let all: Vec<String> = names.iter().map(Reference::canonical).collect();
            let mut value = json!({
                "containerimage.digest": built.attested.digest.to_string(),
                "containerimage.descriptor": built.attested,
                "image.name": all.join(","),
            });
            if let [only] = built.images.as_slice() {
                value["containerimage.config.digest"] = only.id.to_string().into();
            }
            if let Some(mode) = delivery.told_of_metadata {
                for (image, request) in built.images.iter().zip(delivery.requests) {
                    let key = match built.images.len() {
                        1 => "buildx.build.provenance".to_owned(),
                        _ => format!("buildx.build.provenance/linux/{}", request.arch),
                    };
                    value[key] = image.provenance.for_metadata(mode, request.arch);
                }
            }
            write(path, format!("{value:#}\n"))?;
        }
        if matches!(form, Form::Plain | Form::Live { .. }) {
            let notes = built.images.iter().flat_map(|image| &image.notes);
            notes
                .collect::<BTreeSet<_>>()
                .into_iter()
                .for_each(|note| builder.events.note(note));
        }
        if form == Form::Plain {
            let mut err = io::stderr().lock();
            let number = built.images.iter().map(|image| image.steps.0).sum::<usize>() + 1;
            let _ = writeln!(err, "#{number} writing image {}", id(built));
            for name in names {
                let _ = writeln!(err, "#{number} naming to {}", name.canonical());
            }
            let _ = writeln!(err, "#{number} DONE 0.0s");
        }
        Ok(())
    }
}

/// What an image is known by: its configuration, or the index of several.
pub(super) fn id(built: &BuiltImages) -> String {
    match built.images.as_slice() {
        [only] => only.id.to_string(),
        _ => built.descriptor.digest.to_string(),
    }
}
