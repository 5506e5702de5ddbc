//! Where the result of a build goes, and what is told of it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use coil_build::dockerfile::{BuildError, Builder};
use coil_engine::image_build::BuiltImages;
use coil_oci::Reference;
use serde_json::json;

use super::Build;
use crate::build_flags::Place;
use crate::build_progress::Form;
use crate::report::Failure;

impl Build {
    /// Writes the result to its places, and tells of it.
    pub(super) fn deliver(
        &self,
        builder: &Builder<'_>,
        built: &BuiltImages,
        places: &[Place],
        names: &[Reference],
        epoch: Option<u64>,
        form: Form,
    ) -> Result<(), Failure> {
        let failed = |error: BuildError| Failure::of(&error).maybe_help(error.help());
        for place in places {
            match place {
                Place::Store | Place::Image(_) | Place::Cache => {}
                Place::Folder(folder) => {
                    for image in &built.images {
                        let platform = image.descriptor.platform.as_ref().map(ToString::to_string);
                        let own = match built.images.len() {
                            1 => folder.clone(),
                            _ => folder.join(platform.unwrap_or_default().replace('/', "_")),
                        };
                        builder
                            .write_files(&image.descriptor, epoch, &own)
                            .map_err(failed)?;
                    }
                }
                Place::Tar(None) => builder
                    .write_tar(&built.descriptor, epoch, &mut io::stdout().lock())
                    .map_err(failed)?,
                Place::Tar(Some(path)) => {
                    let mut file = fs::File::create(path).map_err(|error| {
                        Failure::new(format!("{} cannot be written: {error}", path.display()))
                    })?;
                    builder
                        .write_tar(&built.descriptor, epoch, &mut file)
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
                "containerimage.digest": built.descriptor.digest.to_string(),
                "containerimage.descriptor": built.descriptor,
                "image.name": all.join(","),
            });
            if let [only] = built.images.as_slice() {
                value["containerimage.config.digest"] = only.id.to_string().into();
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
