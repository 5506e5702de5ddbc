//! A built image's files, without being an image: in a folder, or as one tar.

use std::fs;
use std::io;
use std::path::Path;

use coil_dockerfile::Span;
use coil_dockerfile::ignore::Matcher;
use coil_oci::Descriptor;
use coil_store::Ownership;

use super::copy_plan::{plain_entries, write_planned};
use super::copying::{Named, gather};
use super::tree::Tree;
use super::{BuildError, Builder};

impl Builder<'_> {
    /// Writes an image's files as one tar; with an `epoch` that is the time of all of them.
    ///
    /// # Errors
    /// What the disk gives.
    pub fn write_tar(
        &self,
        descriptor: &Descriptor,
        epoch: Option<u64>,
        out: &mut dyn io::Write,
    ) -> Result<(), BuildError> {
        let doing = || BuildError::io("writing the image's files");
        let image = self.store.image_of(descriptor)?;
        let mut lower = Vec::new();
        for (layer, diff_id) in image.manifest.layers.iter().zip(&image.config.rootfs.diff_ids) {
            lower.push(
                self.store
                    .ensure_snapshot(diff_id, layer, crate::base::ownership())?,
            );
        }
        let tree = Tree::layers(lower);
        let mut entries = match tree.resolve("", true).map_err(doing())?.1 {
            Some(root) => gather(&tree, "", root, &Matcher::default()).map_err(doing())?,
            None => Vec::new(),
        };
        entries.retain(|found| !found.path.is_empty());
        let named = Named {
            name: String::new(),
            parents: Vec::new(),
            entries,
            inline: None,
            is_foreign: false,
            is_unpacked: false,
        };
        let mut planned = plain_entries(&named, "", Span::default())?;
        if let Some(epoch) = epoch {
            planned
                .values_mut()
                .for_each(|planned| planned.entry.mtime = epoch);
        }
        let (digest, _) = write_planned(self.store, &planned).map_err(doing())?;
        io::copy(&mut self.store.open_blob(&digest).map_err(doing())?, out).map_err(doing())?;
        Ok(())
    }

    /// Writes an image's files into a folder, as the user who builds; with an `epoch` that is the time of all of them.
    ///
    /// # Errors
    /// What the disk gives.
    pub fn write_files(
        &self,
        descriptor: &Descriptor,
        epoch: Option<u64>,
        folder: &Path,
    ) -> Result<(), BuildError> {
        let doing = || BuildError::io(format!("writing {}", folder.display()));
        let place = self.store.temp_path().map_err(doing())?;
        let write = || -> Result<(), BuildError> {
            self.write_tar(descriptor, epoch, &mut fs::File::create(&place).map_err(doing())?)?;
            fs::create_dir_all(folder).map_err(doing())?;
            let mut file = fs::File::open(&place).map_err(doing())?;
            coil_store::unpack_archive(&mut file, folder, Ownership::Unpacker)
                .map_err(|error| doing()(io::Error::other(error.to_string())))
        };
        let written = write();
        let _ = fs::remove_file(&place);
        written
    }
}
