//! Images of what is there: `commit` of a container, `import` of a tar stream, and `export`, its other half.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Read, Write};
use std::path::Path;

use coil_oci::{Arch, Descriptor, Digest, History, ImageConfig, Reference, RootFs, media_type, timestamp};
use coil_store::StoreError;
use serde_json::json;

use crate::copy::CopyError;
use crate::files::{FileError, Root, TarWriter};
use crate::find::FindError;
use crate::image_changes::{self, ChangeError};
use crate::record::{Container, ContainerRecord};
use crate::{Engine, clock};

/// Why no image was made, or nothing exported.
#[derive(Debug)]
pub enum CommitError {
    /// There is no such container.
    Find(FindError),
    /// A `--change` can't be used.
    Change(ChangeError),
    /// The container's files can't be read.
    Copy(Box<CopyError>),
    /// The container can't be held still.
    Pause(crate::ContainerError),
    /// The image can't be kept.
    Store(Box<StoreError>),
}

impl CommitError {
    /// What the user can do next.
    pub fn help(&self) -> Option<String> {
        match self {
            CommitError::Find(error) => Some(error.help().to_owned()),
            CommitError::Change(error) => Some(error.help()),
            CommitError::Copy(error) => error.help(),
            CommitError::Pause(_) => Some("`--pause=false` takes it as it runs".into()),
            CommitError::Store(error) => match **error {
                StoreError::Unpack { .. } => {
                    Some("give a tar archive of a file system, such as `coil export` writes".into())
                }
                _ => error.help(),
            },
        }
    }
}

impl fmt::Display for CommitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommitError::Find(error) => fmt::Display::fmt(error, f),
            CommitError::Change(error) => fmt::Display::fmt(error, f),
            CommitError::Copy(error) => fmt::Display::fmt(error, f),
            CommitError::Pause(error) => fmt::Display::fmt(error, f),
            CommitError::Store(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl std::error::Error for CommitError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            CommitError::Copy(error) => error.source(),
            CommitError::Pause(error) => error.source(),
            CommitError::Store(error) => error.source(),
            _ => None,
        }
    }
}

impl From<FindError> for CommitError {
    fn from(error: FindError) -> Self {
        CommitError::Find(error)
    }
}

impl From<CopyError> for CommitError {
    fn from(error: CopyError) -> Self {
        CommitError::Copy(Box::new(error))
    }
}

impl From<StoreError> for CommitError {
    fn from(error: StoreError) -> Self {
        CommitError::Store(Box::new(error))
    }
}

impl From<ChangeError> for CommitError {
    fn from(error: ChangeError) -> Self {
        CommitError::Change(error)
    }
}

/// What the new image is to be.
#[derive(Debug, Clone, Default)]
pub struct CommitRequest {
    /// Its name; known by its id alone when none is given.
    pub name: Option<Reference>,
    /// Who made it.
    pub author: String,
    /// A remark.
    pub message: String,
    /// Instructions that change its configuration.
    pub changes: Vec<String>,
    /// Whether the container stands still meanwhile.
    pub pause: bool,
}

/// Lets a container go on, however the copy of it ended.
struct Paused<'a> {
    engine: &'a Engine,
    id: Option<String>,
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        if let Some(id) = &self.id {
            // It may have been killed meanwhile.
            let _ = self.engine.pause(id, false);
        }
    }
}

impl Engine {
    fn hold_still(&self, container: &Container, wanted: bool) -> Result<Paused<'_>, CommitError> {
        let runs = container.state.status == coil_runtime::state::Status::Running;
        if !(runs && wanted) {
            return Ok(Paused {
                engine: self,
                id: None,
            });
        }
        self.pause(&container.record.id, true)
            .map_err(CommitError::Pause)?;
        Ok(Paused {
            engine: self,
            id: Some(container.record.id.clone()),
        })
    }

    /// Makes an image of a container: its image's layers and one of what it wrote. Gives the image's id.
    ///
    /// # Errors
    /// See [`CommitError`]; no name stands for anything new then.
    pub fn commit(&self, text: &str, request: &CommitRequest) -> Result<Digest, CommitError> {
        let container = self.container(text)?;
        let record = &container.record;
        let _lease = self.store.lease().map_err(crate::store_io("locking the store"))?;
        let bytes = self
            .store
            .read_blob(&record.image_id)
            .map_err(|source| match source.kind() {
                io::ErrorKind::NotFound => StoreError::MissingBlob(record.image_id.clone()),
                _ => crate::store_io("reading the image's configuration")(source),
            })?;
        let mut image: ImageConfig =
            serde_json::from_slice(&bytes).map_err(|source| StoreError::Malformed {
                digest: record.image_id.clone(),
                source,
            })?;
        settings_of(record, &mut image);
        // Before any work: a wrong word is told at once.
        image_changes::apply(&mut image, &request.changes)?;
        let upper = container.dir.join("upper");
        std::fs::create_dir_all(&upper).map_err(crate::store_io("the container's folder"))?;
        let still = self.hold_still(&container, request.pause)?;
        let skipped = self.writes(&container)?.mount_places();
        let (diff_id, size) = self.store.layer_of_writes(&upper, &skipped)?;
        drop(still);
        let now = timestamp::nanoseconds(clock::now());
        image.created = Some(now.clone());
        image.author = Some(request.author.clone()).filter(|author| !author.is_empty());
        image.rootfs.diff_ids.push(diff_id.clone());
        image.history.push(History {
            created: Some(now),
            created_by: Some(record.command.join(" ")),
            comment: Some(request.message.clone()).filter(|text| !text.is_empty()),
            empty_layer: false,
        });
        let mut layers = record.blobs.clone();
        layers.push(Descriptor::new(media_type::LAYER_TAR, diff_id, size));
        let id = self.keep_image(&image, layers, request.name.as_ref())?;
        self.event(record, "commit", &[("imageID", id.to_string())]);
        self.image_event(&id.to_string(), &id.to_string(), "create");
        if let Some(name) = &request.name {
            self.image_event(&id.to_string(), &name.familiar(), "tag");
        }
        Ok(id)
    }

    /// Keeps an image whose layers are there, under a name or by its id alone.
    pub(crate) fn keep_image(
        &self,
        config: &ImageConfig,
        layers: Vec<Descriptor>,
        name: Option<&Reference>,
    ) -> Result<Digest, StoreError> {
        let (mut descriptor, manifest) = self
            .store
            .put_image(config, layers, Default::default())
            .map_err(crate::store_io("keeping an image"))?;
        descriptor.platform = None;
        self.name_image(&descriptor, name)?;
        Ok(manifest.config.digest)
    }

    /// Gives an image a name, or the one by which those without a name are kept.
    pub(crate) fn name_image(
        &self,
        descriptor: &Descriptor,
        name: Option<&Reference>,
    ) -> Result<(), StoreError> {
        let unnamed = crate::image_build::unnamed(&descriptor.digest);
        match (name, unnamed) {
            (Some(name), _) => self.store.set_ref(name, descriptor, clock::now().as_secs()),
            (None, Some(name)) => self.store.set_ref(&name, descriptor, clock::now().as_secs()),
            (None, None) => Ok(()),
        }
    }

    /// Makes an image of one layer of a tar stream, compressed or not. Gives its id.
    ///
    /// # Errors
    /// See [`CommitError`]; nothing is kept then.
    pub fn import(
        &self,
        stream: impl Read + Send + 'static,
        architecture: Option<String>,
        request: &CommitRequest,
    ) -> Result<Digest, CommitError> {
        let now = timestamp::nanoseconds(clock::now());
        let mut image = ImageConfig {
            created: Some(now.clone()),
            author: None,
            architecture: architecture.unwrap_or_else(|| Arch::host().name().to_owned()),
            variant: None,
            os: "linux".into(),
            config: Default::default(),
            rootfs: RootFs {
                kind: "layers".into(),
                diff_ids: Vec::new(),
            },
            history: vec![History {
                created: Some(now),
                created_by: None,
                // What comes in is a stream, whatever file it stood in.
                comment: Some(match request.message.as_str() {
                    "" => "Imported from -".to_owned(),
                    message => message.to_owned(),
                }),
                empty_layer: false,
            }],
            other: Default::default(),
        };
        image_changes::apply(&mut image, &request.changes)?;
        let _lease = self.store.lease().map_err(crate::store_io("locking the store"))?;
        let failed = || crate::store_io("reading the archive");
        let mut stream = coil_store::decompressed(Box::new(stream)).map_err(failed())?;
        let mut blob = self.store.blob_writer().map_err(failed())?;
        io::copy(&mut stream, &mut blob).map_err(failed())?;
        let (diff_id, size) = blob.finish().map_err(failed())?;
        let layer = Descriptor::new(media_type::LAYER_TAR, diff_id.clone(), size);
        // Unpacked at once: what is no tar, or leads out of it, is refused before it has a name.
        let unpacked = self.store.ensure_snapshot(&diff_id, &layer, self.ownership());
        if let Err(error) = unpacked {
            let _ = self.store.collect(false);
            return Err(error.into());
        }
        image.rootfs.diff_ids.push(diff_id);
        Ok(self.keep_image(&image, vec![layer], request.name.as_ref())?)
    }

    /// Writes a container's file system as a tar stream, without what is mounted in it.
    ///
    /// # Errors
    /// When there is no such container, or the stream can't be written.
    pub fn export_files(&self, text: &str, out: &mut dyn Write) -> Result<(), CopyError> {
        let container = self.container(text)?;
        let shown = self.show(&container, false)?;
        let root = Root::of_container(std::os::fd::AsFd::as_fd(&shown.view));
        let folder = root
            .folder(Path::new(""))
            .map_err(FileError::at(Path::new("/")))?;
        let mut tar = TarWriter::new(out);
        tar.one_mount = true;
        tar.content(&folder, Path::new(""))?;
        tar.finish()
            .and_then(|out| out.flush())
            .map_err(FileError::at(Path::new("the tar stream")))?;
        self.event(&container.record, "export", &[]);
        Ok(())
    }
}

/// What a container was made with becomes its image's.
fn settings_of(record: &ContainerRecord, image: &mut ImageConfig) {
    let config = &mut image.config;
    let before: BTreeSet<String> = config.env.iter().cloned().collect();
    let own_name = format!("HOSTNAME={}", record.hostname);
    let of_ours = |entry: &String| *entry == own_name || (record.terminal && entry == "TERM=xterm");
    config.env = record
        .env
        .iter()
        .filter(|entry| before.contains(*entry) || !of_ours(entry))
        .cloned()
        .collect();
    config.entrypoint.clone_from(&record.entrypoint);
    config.cmd.clone_from(&record.command);
    config.user.clone_from(&record.user);
    if record.cwd != "/" || !config.working_dir.is_empty() {
        config.working_dir.clone_from(&record.cwd);
    }
    config.labels.clone_from(&record.labels);
    for port in &record.exposed {
        config.exposed_ports.insert(port.clone(), json!({}));
    }
    for point in record.points.iter().filter(|point| point.anonymous) {
        config.volumes.insert(point.destination.clone(), json!({}));
    }
}
