//! Bills of materials that are kept with images.

use std::fmt;

use coil_build::BillFormat;
use coil_oci::{Digest, Platform};
use coil_store::{Image, StoreError};

use crate::Engine;

/// Why there is no bill to show.
#[derive(Debug)]
pub enum BillError {
    /// The image could not be found or read.
    Store(StoreError),
    /// The image has none.
    None {
        /// The image as it was named.
        image: String,
    },
}

impl BillError {
    /// What the user can do next.
    pub fn help(&self) -> Option<String> {
        match self {
            BillError::Store(error) => error.help(),
            BillError::None { .. } => {
                Some("coil keeps one with every image that it packs: pack the project again".into())
            }
        }
    }
}

impl fmt::Display for BillError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BillError::Store(error) => fmt::Display::fmt(error, f),
            BillError::None { image } => write!(f, "no bill of materials is kept with {image}"),
        }
    }
}

impl std::error::Error for BillError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            BillError::Store(error) => std::error::Error::source(error),
            BillError::None { .. } => None,
        }
    }
}

impl From<StoreError> for BillError {
    fn from(error: StoreError) -> Self {
        BillError::Store(error)
    }
}

impl Engine {
    /// The bill of materials of an image, for this machine's platform or another one.
    ///
    /// # Errors
    /// When there is no such image or platform, or no bill is kept with it.
    pub fn bill(
        &self,
        text: &str,
        platform: Option<&Platform>,
        format: BillFormat,
    ) -> Result<Vec<u8>, BillError> {
        let image: Image = match platform {
            Some(platform) => self.store.image(&self.store.find(text)?, platform)?,
            None => self.image(text)?.1,
        };
        self.kept(&image.descriptor.digest, text, format)
    }

    /// The bill of materials of the image with this manifest, named or not.
    ///
    /// # Errors
    /// When no bill is kept with it.
    pub fn bill_of(&self, manifest: &Digest, format: BillFormat) -> Result<Vec<u8>, BillError> {
        self.kept(manifest, &manifest.to_string(), format)
    }

    fn kept(&self, manifest: &Digest, text: &str, format: BillFormat) -> Result<Vec<u8>, BillError> {
        let document = coil_build::bill_of_materials::bill_of(&self.store, manifest, format)?;
        document.ok_or_else(|| BillError::None {
            image: text.to_owned(),
        })
    }
}
