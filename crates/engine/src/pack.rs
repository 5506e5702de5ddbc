//! Packing a project and naming what came of it.

use coil_build::sharing::{Sharing, sharing};
use coil_build::{Output, PackError, PackRequest, Packed, Packer, export};
use coil_oci::Reference;

use crate::{Engine, clock};

/// What happens to a packed image.
#[derive(Debug, Clone, Default)]
pub struct PackTarget {
    /// Its names; the project's when there is neither a name nor an output.
    pub names: Vec<Reference>,
    /// Where it is written besides.
    pub outputs: Vec<Output>,
    /// Make everything, name and write nothing.
    pub explain: bool,
    /// With `explain`: the image to compare with; the one that shares most when none is named.
    pub against: Option<String>,
}

/// A packed image and the names that it has now.
#[derive(Debug, Clone)]
pub struct PackResult {
    /// The image.
    pub packed: Packed,
    /// Its names.
    pub names: Vec<Reference>,
    /// Whether the first name stood for the very same image already.
    pub unchanged: bool,
    /// With `explain`: what each image shares with another one; none where there is nothing to compare with.
    pub sharing: Vec<Option<Sharing>>,
}

impl Engine {
    /// Packs a project, names the image and writes it out.
    ///
    /// # Errors
    /// See [`PackError`]; the image has no name then.
    pub fn pack(
        &self,
        packer: &Packer<'_>,
        request: &PackRequest,
        target: &PackTarget,
    ) -> Result<PackResult, PackError> {
        // Held until the image has its name: a collection in between would take it away.
        let _lease = self.store.lease().map_err(crate::store_io("locking the store"))?;
        let packed = packer.pack(request)?;
        if target.explain {
            let shared = packed
                .images
                .iter()
                .map(|image| sharing(&self.store, image, target.against.as_deref()))
                .collect::<Result<_, _>>()?;
            return Ok(PackResult {
                packed,
                names: Vec::new(),
                unchanged: false,
                sharing: shared,
            });
        }
        let mut names = target.names.clone();
        if names.is_empty() && target.outputs.is_empty() {
            names.push(packed.default_name.clone());
        }
        for output in &target.outputs {
            export(&self.store, &packed.descriptor, &names, output)
                .map_err(|error| PackError::Export(Box::new(error)))?;
        }
        let mut unchanged = !names.is_empty();
        for name in &names {
            // A name that stands for the image already is left alone, and nothing is written.
            if self.store.get_ref(name)?.as_ref() != Some(&packed.descriptor) {
                unchanged = false;
                self.store
                    .set_ref(name, &packed.descriptor, clock::now().as_secs())?;
            }
        }
        Ok(PackResult {
            packed,
            names,
            unchanged,
            sharing: Vec::new(),
        })
    }
}
