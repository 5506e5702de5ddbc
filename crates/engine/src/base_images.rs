//! Base images made from Debian's packages: they stand in for images of a registry, in a space of their own.

use coil_build::stand_in::{self, StandIn, StandInError, StandInMaker, StandInRequest, UvRecipe, UvStandIn};
use coil_build::{ExportError, Output, export};
use coil_fetch::Fetcher;
use coil_oci::{Descriptor, Reference};
use coil_store::{Image, NamedImage, StoreError};
use coil_wheel::index::IndexClient;

use crate::{Engine, clock};

/// A stand-in that is in the store now, and has its name.
#[derive(Debug)]
pub struct MadeStandIn<T = StandIn> {
    /// What it is.
    pub stand_in: T,
    /// Its name.
    pub name: Reference,
    /// Whether the name stood for the very same image already.
    pub unchanged: bool,
    /// Whether an image of that name is in the store, which is what the name means.
    pub hidden: bool,
}

/// What is said when a stand-in is used; none for any other image.
pub fn notice(named: &NamedImage, image: &Image) -> Option<String> {
    named.stand_in.then(|| stand_in::notice(&named.reference, image))
}

impl Engine {
    /// The stand-in that a name has now.
    ///
    /// # Errors
    /// What the disk gives.
    pub fn stand_in(&self, name: &Reference) -> Result<Option<(NamedImage, Image)>, StoreError> {
        let all = self.store.images()?;
        let Some(named) = all
            .into_iter()
            .find(|named| named.stand_in && named.reference == *name)
        else {
            return Ok(None);
        };
        let image = self.store.image_of(&named.descriptor)?;
        Ok(Some((named, image)))
    }

    /// Writes a stand-in, under its name, to a place.
    ///
    /// # Errors
    /// When there is none of that name, or the place can't be written; nothing half-written stays.
    pub fn export_stand_in(&self, name: &Reference, output: &Output) -> Result<(), ExportError> {
        let missing = || StoreError::NoSuchImage(name.familiar());
        let named = self.store.get_stand_in(name).map_err(ExportError::Store)?;
        let descriptor = named.ok_or_else(missing).map_err(ExportError::Store)?;
        export(&self.store, &descriptor, std::slice::from_ref(name), output)
    }

    /// Makes a stand-in and gives it its name.
    ///
    /// # Errors
    /// See [`StandInError`]; the name stands for what it did before then.
    pub fn make_stand_in(
        &self,
        maker: &StandInMaker<'_>,
        request: &StandInRequest,
    ) -> Result<MadeStandIn, StandInError> {
        // Held until the image has its name: a collection in between would take it away.
        let _lease = self.store.lease().map_err(crate::store_io("locking the store"))?;
        let stand_in = maker.make(request)?;
        let descriptor = stand_in.descriptor.clone();
        self.name_stand_in(&request.name, stand_in, &descriptor)
    }

    /// Makes an image of uv and gives it its name.
    ///
    /// # Errors
    /// See [`StandInError`]; the name stands for what it did before then.
    pub fn make_uv_stand_in(
        &self,
        maker: &StandInMaker<'_>,
        name: &Reference,
        recipe: &UvRecipe,
        index: &IndexClient<'_>,
        fetcher: &Fetcher,
    ) -> Result<MadeStandIn<UvStandIn>, StandInError> {
        let _lease = self.store.lease().map_err(crate::store_io("locking the store"))?;
        let stand_in = maker.make_uv(name, recipe, index, fetcher)?;
        let descriptor = stand_in.descriptor.clone();
        self.name_stand_in(name, stand_in, &descriptor)
    }

    fn name_stand_in<T>(
        &self,
        name: &Reference,
        stand_in: T,
        descriptor: &Descriptor,
    ) -> Result<MadeStandIn<T>, StandInError> {
        let unchanged = self.store.get_stand_in(name)?.as_ref() == Some(descriptor);
        if !unchanged {
            self.store
                .set_stand_in(name, descriptor, clock::now().as_secs())?;
        }
        Ok(MadeStandIn {
            stand_in,
            name: name.clone(),
            unchanged,
            hidden: self.store.get_ref(name)?.is_some(),
        })
    }
}
