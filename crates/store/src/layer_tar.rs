//! Layers written entry by entry, uncompressed: a layer that is made here is kept as it is hashed.
//!
//! Names in pax records where ustar has no room, extended attributes as `SCHILY.xattr.*` (OCI image specification, "Image
//! Layer Filesystem Changeset").

use std::io::{self, Read, Write};

use coil_oci::Digest;

use crate::blob::BlobWriter;
use crate::{Store, layout};

/// What an entry of a layer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TarKind {
    /// A file of a size in bytes; its content follows.
    File(u64),
    /// A folder.
    Folder,
    /// A symbolic link to a target.
    Link(String),
    /// Another name of an entry that came before.
    HardLink(String),
    /// A character device, major and minor.
    Character(u32, u32),
    /// A block device, major and minor.
    Block(u32, u32),
    /// A named pipe.
    Fifo,
}

/// One entry of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TarEntry {
    /// The path, relative, without a slash at its end.
    pub path: String,
    /// What it is.
    pub kind: TarKind,
    /// Permission bits.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Seconds since 1970.
    pub mtime: u64,
    /// Extended attributes, by name.
    pub xattrs: Vec<(String, Vec<u8>)>,
}

/// A layer in the making; dropped before [`LayerTar::finish`], it leaves nothing.
pub struct LayerTar {
    out: io::BufWriter<BlobWriter>,
    buffer: Vec<u8>,
}

impl Store {
    /// An empty layer.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn layer_tar(&self) -> io::Result<LayerTar> {
        Ok(LayerTar {
            out: io::BufWriter::with_capacity(256 * 1024, self.blob_writer()?),
            buffer: vec![0; 128 * 1024],
        })
    }

    /// The folder that holds the caches of build steps: one folder for each, and a file that its users lock.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn step_caches_dir(&self) -> io::Result<std::path::PathBuf> {
        let folder = self.root().join(layout::STEP_CACHES);
        layout::make_folder(&folder)?;
        Ok(folder)
    }
}

impl LayerTar {
    /// An entry; a file's content is read from `content`, which must be as long as the entry says.
    ///
    /// # Errors
    /// When the store cannot be written, or the content is too short.
    pub fn entry(&mut self, entry: &TarEntry, content: Option<&mut dyn Read>) -> io::Result<()> {
        self.header(entry)?;
        let (TarKind::File(size), Some(content)) = (&entry.kind, content) else {
            return Ok(());
        };
        let mut left = *size;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            let read = content.read(&mut self.buffer[..most])?;
            if read == 0 {
                let text = format!("{} became shorter while it was read", entry.path);
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
            }
            self.out.write_all(&self.buffer[..read])?;
            left -= read as u64;
        }
        let padding = (512 - size % 512) % 512;
        self.out.write_all(&[0; 512][..padding as usize])
    }

    /// The mark that a name of lower layers is gone.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn whiteout(&mut self, folder: &str, name: &str) -> io::Result<()> {
        let path = match folder {
            "" => format!(".wh.{name}"),
            folder => format!("{folder}/.wh.{name}"),
        };
        self.entry(
            &TarEntry {
                path,
                kind: TarKind::File(0),
                mode: 0,
                uid: 0,
                gid: 0,
                mtime: 0,
                xattrs: Vec::new(),
            },
            None,
        )
    }

    /// Names the layer: its digest, which is its diff id too, and its size in bytes.
    ///
    /// # Errors
    /// When the store cannot be written; nothing is left then.
    pub fn finish(mut self) -> io::Result<(Digest, u64)> {
        self.out.write_all(&[0; 1024])?;
        self.out
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?
            .finish()
    }

    fn header(&mut self, entry: &TarEntry) -> io::Result<()> {
        let (kind, size, target) = match &entry.kind {
            TarKind::File(size) => (tar::EntryType::Regular, *size, None),
            TarKind::Folder => (tar::EntryType::Directory, 0, None),
            TarKind::Link(target) => (tar::EntryType::Symlink, 0, Some(target)),
            TarKind::HardLink(target) => (tar::EntryType::Link, 0, Some(target)),
            TarKind::Character(..) => (tar::EntryType::Char, 0, None),
            TarKind::Block(..) => (tar::EntryType::Block, 0, None),
            TarKind::Fifo => (tar::EntryType::Fifo, 0, None),
        };
        let mut path = entry.path.clone();
        if kind == tar::EntryType::Directory {
            path.push('/');
        }
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(entry.mode & 0o7777);
        header.set_uid(u64::from(entry.uid));
        header.set_gid(u64::from(entry.gid));
        header.set_mtime(entry.mtime);
        header.set_size(size);
        if let TarKind::Character(major, minor) | TarKind::Block(major, minor) = entry.kind {
            header.set_device_major(major)?;
            header.set_device_minor(minor)?;
        }
        let mut records = Vec::new();
        if !put(&mut header.as_old_mut().name, &path) {
            record(&mut records, "path", path.as_bytes());
        }
        if let Some(target) = target
            && !put(&mut header.as_old_mut().linkname, target)
        {
            record(&mut records, "linkpath", target.as_bytes());
        }
        for (name, value) in &entry.xattrs {
            record(&mut records, &format!("SCHILY.xattr.{name}"), value);
        }
        if !records.is_empty() {
            let mut before = tar::Header::new_ustar();
            before.set_entry_type(tar::EntryType::XHeader);
            before.set_mode(0o644);
            before.set_size(records.len() as u64);
            put(&mut before.as_old_mut().name, "PaxHeaders.0/entry");
            before.set_cksum();
            self.out.write_all(before.as_bytes())?;
            records.resize(records.len().next_multiple_of(512), 0);
            self.out.write_all(&records)?;
        }
        header.set_cksum();
        self.out.write_all(header.as_bytes())
    }
}

/// Puts a text into a field, cut if it doesn't fit; false when a record must say it.
fn put(field: &mut [u8; 100], text: &str) -> bool {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text.as_bytes()[..length]);
    text.len() <= field.len() && text.is_ascii()
}

/// `LENGTH KEY=VALUE\n`, the length counting itself.
fn record(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    out.extend_from_slice(format!("{length} {key}=").as_bytes());
    out.extend_from_slice(value);
    out.push(b'\n');
}
