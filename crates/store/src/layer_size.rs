//! How large a layer is: the bytes of the files in it, whatever form its blob is in.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use coil_oci::{Descriptor, Digest, media_type};

use crate::image::Image;
use crate::unpack::open_stream;
use crate::{Store, snapshot};

/// Records of sizes, by diff id.
const SIZES: &str = "layer-size-v1";

impl Store {
    /// The bytes of the files in a layer, as Docker counts its size.
    ///
    /// Exact once the layer is unpacked. Before that it is what was noted when the layer was made, or what its gzip stream says at its
    /// end, which are the bytes of the tar; only where there is neither is the blob read. A blob that is missing counts as its descriptor says.
    pub fn layer_size(&self, diff_id: &Digest, blob: &Descriptor) -> u64 {
        let tree = self.snapshot_tree(diff_id);
        if let Some(snapshot) = tree.parent().filter(|folder| folder.join("mark").exists()) {
            return snapshot::size(snapshot);
        }
        let noted = self.cache_get(SIZES, diff_id.hex());
        if let Some(noted) = noted.and_then(|text| String::from_utf8(text).ok()?.parse().ok()) {
            return noted;
        }
        self.size_of_blob(diff_id, blob).unwrap_or(blob.size)
    }

    /// Notes the size of a layer that was made and isn't unpacked, in bytes.
    ///
    /// # Errors
    /// What the disk gives.
    pub fn note_layer_size(&self, diff_id: &Digest, bytes: u64) -> io::Result<()> {
        match self.cache_get(SIZES, diff_id.hex()) {
            Some(_) => Ok(()),
            None => self.cache_put(SIZES, diff_id.hex(), bytes.to_string().as_bytes()),
        }
    }

    /// The bytes of the files in all layers of an image.
    pub fn image_size(&self, image: &Image) -> u64 {
        let layers = image.config.rootfs.diff_ids.iter().zip(&image.manifest.layers);
        layers.map(|(diff_id, blob)| self.layer_size(diff_id, blob)).sum()
    }

    fn size_of_blob(&self, diff_id: &Digest, blob: &Descriptor) -> io::Result<u64> {
        let mut file = self.open_blob(&blob.digest)?;
        if blob.media_type == media_type::LAYER_GZIP || blob.media_type.ends_with(".tar.gzip") {
            let said = last_size(&mut file)?;
            // Less than the blob has itself is the last of several members, or of more than 4 GiB.
            if said > blob.size {
                return Ok(said);
            }
            file.rewind()?;
        }
        let stream = open_stream(file, &blob.media_type).map_err(io::Error::other)?;
        let mut archive = tar::Archive::new(stream);
        let mut bytes = 0;
        for entry in archive.entries()? {
            let entry = entry?;
            if entry.header().entry_type().is_file() {
                bytes += entry.size();
            }
        }
        self.note_layer_size(diff_id, bytes)?;
        Ok(bytes)
    }
}

/// The size that a gzip member has unpacked, modulo 4 GiB, as its last four bytes say (RFC 1952, section 2.3.1).
fn last_size(file: &mut File) -> io::Result<u64> {
    let mut size = [0; 4];
    file.seek(SeekFrom::End(-4))?;
    file.read_exact(&mut size)?;
    Ok(u32::from_le_bytes(size).into())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use coil_oci::{Descriptor, Digest, media_type};
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use crate::{Ownership, Store, StoreOptions};

    const CONTENT: usize = 100_000;

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(StoreOptions {
            root: folder.path().to_owned(),
            downloads: None,
            boot_id: "boot".into(),
        });
        (folder, store)
    }

    fn tar() -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(CONTENT as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_cksum();
        builder
            .append_data(&mut header, "file", &vec![7; CONTENT][..])
            .unwrap();
        builder.into_inner().unwrap()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut writer = GzEncoder::new(Vec::new(), Compression::default());
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    fn put(store: &Store, kind: &str, blob: &[u8]) -> Descriptor {
        Descriptor::new(kind, store.put_blob(blob).unwrap(), blob.len() as u64)
    }

    #[test]
    fn a_size_is_that_of_the_content_whatever_the_blob_is() {
        let (_folder, store) = store();
        let tar = tar();
        let diff_id = Digest::of(&tar);
        let content = CONTENT as u64;

        let plain = put(&store, media_type::LAYER_TAR, &tar);
        assert_eq!(store.layer_size(&diff_id, &plain), content);

        // One member says the size of the tar; several don't, and are read.
        let other = Digest::of(b"one member");
        let whole = put(&store, media_type::LAYER_GZIP, &gzip(&tar));
        assert_eq!(store.layer_size(&other, &whole), tar.len() as u64);
        let (first, second) = tar.split_at(tar.len() - 100);
        let members = [gzip(first), gzip(second)].concat();
        let several = put(&store, media_type::LAYER_GZIP, &members);
        assert_eq!(store.layer_size(&Digest::of(b"members"), &several), content);

        let noted = Digest::of(b"noted");
        store.note_layer_size(&noted, 12).unwrap();
        assert_eq!(store.layer_size(&noted, &whole), 12);

        store
            .ensure_snapshot(&diff_id, &whole, Ownership::Unpacker)
            .unwrap();
        assert_eq!(store.layer_size(&diff_id, &whole), content);

        let missing = Descriptor::new(media_type::LAYER_GZIP, Digest::of(b"not there"), 99);
        assert_eq!(store.layer_size(&Digest::of(b"missing"), &missing), 99);
    }
}
