//! The bytecode of a base's standard library, as a layer of its own.

use std::fs;
use std::io;

use coil_oci::Digest;
use coil_oci::tar::Entry;
use coil_wheel::bytecode::{PycMode, SourceFile, compile_files};
use coil_wheel::environment::Environment;

use crate::base::{Base, keep_layer, known_layer};
use crate::error::PackError;
use crate::image_tree::{ImageTree, Node};
use crate::layer_writer::{Layer, LayerWriter};
use crate::request::Packer;

const LIBRARY: &str = "standard-library-v1";
/// Stands in the record of a base that has all of its bytecode.
const NONE: &[u8] = b"none";
/// Folders of the standard library that no application imports.
const LEFT_OUT: [&str; 7] = [
    "test",
    "tests",
    "idle_test",
    "lib2to3",
    "idlelib",
    "turtledemo",
    // pip's own place in a base from elsewhere: packed images have their packages in /opt/venv.
    "site-packages",
];

/// Source files, and the folders that hold them.
#[derive(Default)]
struct Sources {
    files: Vec<SourceFile>,
    folders: Vec<String>,
}

impl Packer<'_> {
    /// The layer, made once for each interpreter; none where the base has the bytecode, or nothing here can make it.
    pub(crate) fn library_bytecode(&self, base: &Base, epoch: u64) -> Result<Option<Layer>, PackError> {
        let Some(compiler) = &base.compiler else {
            return Ok(None);
        };
        let layers: Vec<&str> = base
            .layers
            .iter()
            .map(|layer| layer.layer.diff_id.hex())
            .collect();
        let sources_of = layers.join(" ");
        let key = Digest::of(format!("1 {sources_of} {} {epoch}", compiler.identity).as_bytes());
        if let Some(layer) = known_layer(self.store, LIBRARY, key.hex()) {
            return Ok(Some(layer));
        }
        if self.store.cache_get(LIBRARY, key.hex()).as_deref() == Some(NONE) {
            return Ok(None);
        }
        let tree = ImageTree::new(base.snapshots(self.store)?);
        let environment = base.environment();
        let mut sources = Sources::default();
        for library in &base.python.libraries {
            sources
                .collect(&tree, &environment, library)
                .map_err(PackError::disk("reading the standard library"))?;
        }
        let Sources {
            mut files,
            mut folders,
        } = sources;
        if files.is_empty() {
            self.store
                .cache_put(LIBRARY, key.hex(), NONE)
                .map_err(PackError::disk("keeping a record of a layer"))?;
            return Ok(None);
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        folders.sort();
        folders.dedup();
        self.progress.note("compiling the standard library");
        let compiled = self.with_interpreter(compiler, |interpreter| {
            compile_files(&interpreter()?, &files, PycMode::UncheckedHash, self.threads)
                .map_err(PackError::from)
        })?;
        let mut entries: Vec<(String, Option<Vec<u8>>)> = folders
            .iter()
            .map(|folder| (format!("{folder}/__pycache__"), None))
            .collect();
        for (file, bytes) in files.iter().zip(compiled) {
            let source = file.path.trim_start_matches('/');
            if let (Some(bytes), Some(path)) = (bytes, environment.bytecode_path(source)) {
                entries.push((path, Some(bytes)));
            }
        }
        entries.sort();
        let write = || -> io::Result<Layer> {
            let mut writer = LayerWriter::new(self.store)?;
            for (path, bytes) in entries {
                match bytes {
                    None => writer.entry(&Entry::directory(path, epoch))?,
                    Some(bytes) => {
                        writer.file(&Entry::file(path, bytes.len() as u64, 0o644, epoch), &bytes)?;
                    }
                }
            }
            writer.finish()
        };
        let layer = write().map_err(PackError::disk("writing the standard library's bytecode"))?;
        keep_layer(self.store, LIBRARY, key.hex(), &layer)?;
        Ok(Some(layer))
    }
}

impl Sources {
    /// Adds the files below a folder that have no bytecode yet.
    fn collect(&mut self, tree: &ImageTree, environment: &Environment, folder: &str) -> io::Result<()> {
        let Some(found) = tree.find(folder) else {
            return Ok(());
        };
        let folder = found.path;
        let before = self.files.len();
        for (name, node) in tree.list(&folder)? {
            let path = format!("{folder}/{name}");
            match node {
                Node::Folder(_) if name != "__pycache__" && !LEFT_OUT.contains(&name.as_str()) => {
                    self.collect(tree, environment, &path)?;
                }
                Node::File(place) if name.ends_with(".py") => {
                    let made = environment.bytecode_path(&path);
                    if made.is_some_and(|path| tree.file(&path).is_none()) {
                        self.files.push(SourceFile {
                            source: fs::read(place)?,
                            path,
                        });
                    }
                }
                _ => {}
            }
        }
        let own = self.files[before..]
            .iter()
            .any(|file| file.path.rsplit_once('/').is_some_and(|(at, _)| at == folder));
        if own {
            self.folders.push(folder.trim_start_matches('/').to_owned());
        }
        Ok(())
    }
}
