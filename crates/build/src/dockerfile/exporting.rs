//! A built image's files, without being an image: in a folder, or as one tar.

use std::fs;
use std::io;
use std::path::Path;

use coil_dockerfile::Span;
use coil_dockerfile::ignore::Matcher;
use coil_oci::{Descriptor, Digest, Hasher};
use coil_store::Ownership;

use super::copy_plan::{Planned, plain_entries, write_planned};
use super::copying::{Found, Named, gather};
use super::tree::Tree;
use super::{BuildError, Builder};

impl Builder<'_> {
    /// Everything in an image but its root.
    fn all_of(&self, descriptor: &Descriptor) -> Result<Vec<Found>, BuildError> {
        let doing = || BuildError::io("reading the image's files");
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
        Ok(entries)
    }

    /// Every file of an image by its path, with its digest.
    pub(super) fn file_digests(&self, descriptor: &Descriptor) -> Result<Vec<(String, Digest)>, BuildError> {
        let mut all = Vec::new();
        for found in self.all_of(descriptor)? {
            if found.item.meta.is_file() {
                let mut hasher = Hasher::new();
                fs::File::open(&found.item.place)
                    .and_then(|mut file| io::copy(&mut file, &mut hasher))
                    .map_err(BuildError::io("reading the image's files"))?;
                all.push((found.path, hasher.finish()));
            }
        }
        Ok(all)
    }

    /// Writes an image's files as one tar, and `beside` them what is told of them; with an `epoch` that is the time of all.
    ///
    /// # Errors
    /// What the disk gives.
    pub fn write_tar(
        &self,
        descriptor: &Descriptor,
        epoch: Option<u64>,
        beside: &[(&'static str, Vec<u8>)],
        out: &mut dyn io::Write,
    ) -> Result<(), BuildError> {
        let doing = || BuildError::io("writing the image's files");
        let entries = self.all_of(descriptor)?;
        let named = Named {
            name: String::new(),
            parents: Vec::new(),
            entries,
            inline: None,
            is_foreign: false,
            is_unpacked: false,
        };
        let mut planned = plain_entries(&named, "", Span::default())?;
        for (name, bytes) in beside {
            planned.insert((*name).to_owned(), Planned::file(name, bytes, self.now.as_secs()));
        }
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
        beside: &[(&'static str, Vec<u8>)],
        folder: &Path,
    ) -> Result<(), BuildError> {
        let doing = || BuildError::io(format!("writing {}", folder.display()));
        let place = self.store.temp_path().map_err(doing())?;
        let write = || -> Result<(), BuildError> {
            self.write_tar(
                descriptor,
                epoch,
                beside,
                &mut fs::File::create(&place).map_err(doing())?,
            )?;
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
