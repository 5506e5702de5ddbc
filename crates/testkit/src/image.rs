//! Reads an image as any other tool would: from its files alone, with none of coil's own code for it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use coil_oci::{Digest, Hasher};
use flate2::read::MultiGzDecoder;
use serde_json::Value;

/// An OCI image layout in a directory.
pub struct Layout {
    directory: PathBuf,
}

/// One image of a layout.
pub struct Image {
    /// The digest of its manifest.
    pub digest: String,
    /// The manifest.
    pub manifest: Value,
    /// The configuration.
    pub config: Value,
    layers: Vec<PathBuf>,
}

/// One path of an image's file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is: `file`, `dir`, `link → target`, or tar's letter for another kind.
    pub kind: String,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Modification time, seconds since 1970.
    pub modified: u64,
    /// Size in bytes.
    pub size: u64,
    /// Which layer it comes from, the lowest being 0.
    pub layer: usize,
}

impl Layout {
    /// A layout directory.
    ///
    /// # Panics
    /// When its `oci-layout` file is missing or of another version.
    pub fn open(directory: &Path) -> Self {
        let marker = read_json(&directory.join("oci-layout"));
        assert_eq!(marker["imageLayoutVersion"], "1.0.0");
        Self {
            directory: directory.to_owned(),
        }
    }

    /// A layout in a tar archive, unpacked into `directory`.
    pub fn unpack(archive: &Path, directory: &Path) -> Self {
        untar(archive, directory);
        Self::open(directory)
    }

    /// The top index, checked: every descriptor below it names an existing blob of its size and digest.
    pub fn index(&self) -> Value {
        let index = read_json(&self.directory.join("index.json"));
        assert_eq!(index["schemaVersion"], 2);
        index
    }

    /// All images, nested indices included, in order; everything they refer to is checked.
    pub fn images(&self) -> Vec<Image> {
        let mut images = Vec::new();
        self.collect(&self.index(), &mut images);
        assert!(!images.is_empty(), "the layout holds no image");
        images
    }

    /// The only image.
    pub fn image(&self) -> Image {
        let mut images = self.images();
        assert_eq!(images.len(), 1, "one image is expected");
        images.remove(0)
    }

    fn collect(&self, index: &Value, images: &mut Vec<Image>) {
        for descriptor in index["manifests"].as_array().expect("an index has manifests") {
            let value = read_json(&self.blob(descriptor));
            if descriptor["artifactType"].is_string() {
                // It is about an image, and none itself; its documents are checked as blobs.
                assert_eq!(descriptor["artifactType"], value["artifactType"]);
                let layers = value["layers"].as_array().expect("an artifact has documents");
                for blob in layers.iter().chain([&value["config"]]) {
                    self.blob(blob);
                }
                continue;
            }
            assert_eq!(
                descriptor["mediaType"], value["mediaType"],
                "descriptor and content name the same type"
            );
            match descriptor["mediaType"].as_str() {
                Some("application/vnd.oci.image.index.v1+json") => self.collect(&value, images),
                Some("application/vnd.oci.image.manifest.v1+json") => {
                    images.push(self.read(descriptor, value))
                }
                other => panic!("an unknown kind of manifest: {other:?}"),
            }
        }
    }

    fn read(&self, descriptor: &Value, manifest: Value) -> Image {
        let config = read_json(&self.blob(&manifest["config"]));
        let descriptors = manifest["layers"]
            .as_array()
            .expect("a manifest has layers")
            .clone();
        let layers: Vec<_> = descriptors.iter().map(|layer| self.blob(layer)).collect();
        let types: Vec<_> = descriptors
            .iter()
            .map(|layer| layer["mediaType"].as_str().unwrap_or_default())
            .collect();
        check_diff_ids(&config, &layers);
        for (layer, kind) in layers.iter().zip(types) {
            assert_eq!(
                is_gzip(layer),
                kind.ends_with("+gzip"),
                "{kind} is said of {}",
                layer.display()
            );
        }
        if let Some(platform) = descriptor.get("platform") {
            assert_eq!(
                platform["architecture"], config["architecture"],
                "index and configuration agree"
            );
        }
        let digest = descriptor["digest"]
            .as_str()
            .expect("a descriptor has a digest")
            .to_owned();
        Image {
            digest,
            manifest,
            config,
            layers,
        }
    }

    fn blob(&self, descriptor: &Value) -> PathBuf {
        let digest = descriptor["digest"].as_str().expect("a descriptor has a digest");
        let path = self.directory.join("blobs").join(digest.replace(':', "/"));
        let mut file = File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut hasher = Hasher::new();
        let size = std::io::copy(&mut file, &mut hasher).expect("a blob is readable");
        assert_eq!(
            hasher.finish().to_string(),
            digest,
            "the blob has another digest than its name"
        );
        assert_eq!(
            Some(size),
            descriptor["size"].as_u64(),
            "the blob has another size than its descriptor"
        );
        path
    }
}

/// The only image of a `docker save` archive, unpacked into `directory`; diff ids are checked.
pub fn docker_archive(archive: &Path, directory: &Path) -> (Image, Vec<String>) {
    untar(archive, directory);
    let list = read_json(&directory.join("manifest.json"));
    let entries = list.as_array().expect("manifest.json is a list");
    assert_eq!(entries.len(), 1, "one image is expected");
    let entry = &entries[0];
    let text = |value: &Value| value.as_str().expect("a path").to_owned();
    let config = read_json(&directory.join(text(&entry["Config"])));
    let layers: Vec<_> = entry["Layers"]
        .as_array()
        .expect("a list of layers")
        .iter()
        .map(|path| directory.join(text(path)))
        .collect();
    check_diff_ids(&config, &layers);
    let names = entry["RepoTags"]
        .as_array()
        .map(|tags| tags.iter().map(text).collect())
        .unwrap_or_default();
    let digest = Digest::of(&fs::read(directory.join(text(&entry["Config"]))).expect("it was read above"));
    (
        Image {
            digest: digest.to_string(),
            manifest: entry.clone(),
            config,
            layers,
        },
        names,
    )
}

impl Image {
    /// The layers' files, lowest first.
    pub fn layers(&self) -> &[PathBuf] {
        &self.layers
    }

    /// What a container of the image would see: every path without a leading slash, upper layers and whiteouts applied.
    pub fn files(&self) -> BTreeMap<String, Entry> {
        let mut files = BTreeMap::new();
        for (number, layer) in self.layers.iter().enumerate() {
            each_entry(layer, |path, entry, _| {
                let (folder, name) = path.rsplit_once('/').unwrap_or(("", &path));
                if let Some(gone) = name.strip_prefix(".wh.") {
                    let gone = if folder.is_empty() {
                        gone.to_owned()
                    } else {
                        format!("{folder}/{gone}")
                    };
                    files.retain(|path: &String, _| *path != gone && !path.starts_with(&format!("{gone}/")));
                } else {
                    files.insert(
                        path,
                        Entry {
                            layer: number,
                            ..entry
                        },
                    );
                }
            });
        }
        files
    }

    /// The bytes of a file, from the uppermost layer that has it.
    pub fn file(&self, wanted: &str) -> Option<Vec<u8>> {
        let mut found = None;
        for layer in &self.layers {
            each_entry(layer, |path, _, content| {
                if path == wanted {
                    let mut bytes = Vec::new();
                    content.read_to_end(&mut bytes).expect("a layer is readable");
                    found = Some(bytes);
                }
            });
        }
        found
    }
}

fn each_entry(layer: &Path, mut visit: impl FnMut(String, Entry, &mut dyn Read)) {
    let mut archive = tar::Archive::new(open(layer));
    for entry in archive.entries().expect("a layer is a tar archive") {
        let mut entry = entry.unwrap_or_else(|error| panic!("{}: {error}", layer.display()));
        let path = entry
            .path()
            .expect("a path")
            .to_string_lossy()
            .trim_start_matches("./")
            .trim_end_matches('/')
            .to_owned();
        let header = entry.header();
        let link = entry
            .link_name()
            .ok()
            .flatten()
            .map(|target| target.to_string_lossy().into_owned());
        let kind = match (header.entry_type(), link) {
            (tar::EntryType::Regular | tar::EntryType::Continuous, _) => "file".to_owned(),
            (tar::EntryType::Directory, _) => "dir".to_owned(),
            (tar::EntryType::Symlink, Some(target)) => format!("link → {target}"),
            (tar::EntryType::Link, Some(target)) => format!("hard link → {target}"),
            (other, _) => char::from(other.as_byte()).to_string(),
        };
        let facts = Entry {
            kind,
            mode: header.mode().expect("a mode"),
            uid: header.uid().expect("an owner"),
            gid: header.gid().expect("a group"),
            modified: header.mtime().expect("a time"),
            size: entry.size(),
            layer: 0,
        };
        visit(path, facts, &mut entry);
    }
}

fn check_diff_ids(config: &Value, layers: &[PathBuf]) {
    let ids = config["rootfs"]["diff_ids"]
        .as_array()
        .expect("a configuration has diff ids");
    assert_eq!(ids.len(), layers.len(), "a diff id for each layer");
    for (id, layer) in ids.iter().zip(layers) {
        let mut hasher = Hasher::new();
        std::io::copy(&mut open(layer), &mut hasher).expect("a layer unpacks");
        assert_eq!(
            Some(hasher.finish().to_string().as_str()),
            id.as_str(),
            "{} has another diff id",
            layer.display()
        );
    }
    let history = config["history"].as_array().map_or(0, |history| {
        history
            .iter()
            .filter(|step| step["empty_layer"] != Value::Bool(true))
            .count()
    });
    assert!(
        history == 0 || history == layers.len(),
        "the history tells of {history} layers, there are {}",
        layers.len()
    );
}

fn is_gzip(path: &Path) -> bool {
    let mut start = [0; 2];
    File::open(path)
        .and_then(|mut file| file.read_exact(&mut start))
        .expect("a layer is no empty file");
    start == [0x1f, 0x8b]
}

fn open(path: &Path) -> Box<dyn Read> {
    let gzip = is_gzip(path);
    let mut file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    file.seek(SeekFrom::Start(0)).expect("a file seeks");
    let file = std::io::BufReader::with_capacity(1 << 16, file);
    if gzip {
        Box::new(MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    }
}

fn untar(archive: &Path, directory: &Path) {
    let file = File::open(archive).unwrap_or_else(|error| panic!("{}: {error}", archive.display()));
    tar::Archive::new(file)
        .unpack(directory)
        .unwrap_or_else(|error| panic!("{}: {error}", archive.display()));
}

fn read_json(path: &Path) -> Value {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
