//! What a container has mounted: from flags, other containers and the image to one list, and the volumes made for it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use coil_runtime::spec::{Mount, MountKind};
use coil_store::Image;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::fill::is_empty;
use super::wish::{self, Source, Wish};
use super::{VolumeError, VolumeRecord, VolumeRequest};
use crate::Engine;
use crate::files::FileError;
use crate::lifecycle::ContainerError;
use crate::record::ContainerRecord;
use crate::request::RunRequest;
use crate::run_error::RunError;

/// What a mount shows, in Docker's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PointKind {
    /// A file or folder of the host.
    Bind,
    /// A volume.
    Volume,
    /// A file system in memory.
    Tmpfs,
}

/// A mount of a container, as its record keeps it and `inspect` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountPoint {
    /// What it shows.
    pub kind: PointKind,
    /// The volume's name.
    #[serde(default)]
    pub name: Option<String>,
    /// Where that is on the host; empty for memory.
    #[serde(default)]
    pub source: PathBuf,
    /// Where it is inside.
    pub destination: String,
    /// The options as they were given.
    #[serde(default)]
    pub mode: String,
    /// Whether it can't be written.
    #[serde(default)]
    pub read_only: bool,
    /// How mounts below it spread.
    #[serde(default)]
    pub propagation: String,
    /// Whether it is a volume that nobody gave a name.
    #[serde(default)]
    pub anonymous: bool,
    /// Whether a folder is made where the host has none.
    #[serde(default)]
    pub create: bool,
    /// How `--mount` asked for it, as `inspect` shows that; none where another flag or the image did.
    #[serde(default)]
    pub asked: Option<Value>,
    /// The mount itself.
    pub mount: Mount,
}

/// A volume that a container is given.
pub(crate) struct NewVolume {
    record: VolumeRecord,
    destination: String,
    fill: bool,
}

fn refused(error: VolumeError) -> RunError {
    match error {
        VolumeError::File(error) => RunError::Prepare {
            path: PathBuf::from(error.what),
            source: error.source,
        },
        other => RunError::Refused {
            message: other.to_string(),
            help: other.help(),
            code: 125,
        },
    }
}

impl Engine {
    /// Works out what is mounted in a container that is about to be made; gives the volumes that it needs.
    pub(crate) fn settle_mounts(
        &self,
        request: &RunRequest,
        image: &Image,
        record: &mut ContainerRecord,
    ) -> Result<Vec<NewVolume>, RunError> {
        let mut points: BTreeMap<String, MountPoint> = BTreeMap::new();
        for text in &request.volumes_from {
            for point in self.points_from(text)? {
                points.insert(point.destination.clone(), point);
            }
        }
        let mut wishes: Vec<Wish> = Vec::new();
        let mut asked_by_mount: BTreeMap<String, Value> = BTreeMap::new();
        for (flags, read) in [
            (&request.volumes, wish::bind_flag as fn(&str) -> _),
            (&request.mounts, wish::mount_flag),
            (&request.tmpfs, wish::tmpfs_flag),
        ] {
            for flag in flags {
                let mut wish: Wish = read(flag).map_err(RunError::Mount)?;
                if let Source::Volume { driver, .. } = &mut wish.source
                    && driver.is_none()
                {
                    driver.clone_from(&request.volume_driver);
                }
                if wishes.contains(&wish) {
                    continue;
                }
                if std::ptr::eq(flags, &raw const request.mounts) {
                    asked_by_mount.insert(wish.destination.clone(), asked(&wish));
                }
                if wishes.iter().any(|known| known.destination == wish.destination) {
                    return Err(RunError::Refused {
                        message: format!("Duplicate mount point: {}", wish.destination),
                        help: Some("mount one thing at each path".into()),
                        code: 125,
                    });
                }
                wishes.push(wish);
            }
        }
        let given = wishes.len();
        for path in image.config.config.volumes.keys() {
            let Some(wish) = wish::of_image(path) else {
                continue;
            };
            let taken = wishes.iter().any(|known| known.destination == wish.destination)
                || points.contains_key(&wish.destination);
            if !taken {
                wishes.push(wish);
            }
        }
        let mut volumes = Vec::new();
        for (at, wish) in wishes.into_iter().enumerate() {
            debug_assert!(at < given || matches!(wish.source, Source::Volume { .. }));
            let mut point = self.point(wish, &mut volumes)?;
            point.asked = asked_by_mount.remove(&point.destination);
            points.insert(point.destination.clone(), point);
        }
        record.points = points.into_values().collect();
        record.mounts = record.points.iter().map(|point| point.mount.clone()).collect();
        // Docker lists those alone that name a source.
        record.binds.retain(|bind| bind.contains(':'));
        Ok(volumes)
    }

    /// `CONTAINER[:ro|rw]`.
    fn points_from(&self, text: &str) -> Result<Vec<MountPoint>, RunError> {
        let (name, mode) = text.split_once(':').unwrap_or((text, "rw"));
        let read_only = match mode {
            "ro" => true,
            "rw" | "z" | "Z" | "" => false,
            other => {
                return Err(RunError::Refused {
                    message: format!("invalid mode for volumes-from: {other}"),
                    help: Some("give --volumes-from CONTAINER[:ro]".into()),
                    code: 125,
                });
            }
        };
        let container = self.container(name).map_err(|error| RunError::Refused {
            help: Some(error.help().to_owned()),
            message: ContainerError::Find(error).to_string(),
            code: 125,
        })?;
        let mut points = container.record.points;
        points.retain(|point| point.kind != PointKind::Tmpfs);
        for point in &mut points {
            point.read_only |= read_only;
            point.mount.read_only |= read_only;
        }
        Ok(points)
    }

    fn point(&self, wish: Wish, volumes: &mut Vec<NewVolume>) -> Result<MountPoint, RunError> {
        let Wish {
            source,
            destination,
            read_only,
            mut options,
            mode,
        } = wish;
        let mut point = MountPoint {
            kind: PointKind::Bind,
            name: None,
            source: PathBuf::new(),
            destination: destination.clone(),
            mode,
            read_only,
            propagation: String::new(),
            anonymous: false,
            create: false,
            asked: None,
            mount: Mount {
                kind: MountKind::Tmpfs { size: None, mode: 0 },
                destination,
                read_only,
                options: Vec::new(),
            },
        };
        match source {
            Source::Bind { path, create, alone } => {
                if !create && !path.exists() {
                    return Err(RunError::Refused {
                        message: format!(
                            "invalid mount config for type \"bind\": bind source path does not exist: {}",
                            path.display()
                        ),
                        help: Some("make it first, or give -v, which makes a folder".into()),
                        code: 125,
                    });
                }
                point.propagation = options.first().cloned().unwrap_or_else(|| "rprivate".into());
                options.push(if alone { "bind" } else { "rbind" }.to_owned());
                point.create = create;
                point.source.clone_from(&path);
                point.mount.kind = MountKind::Bind { source: path };
            }
            Source::Tmpfs { size, mode } => {
                point.kind = PointKind::Tmpfs;
                point.mount.kind = MountKind::Tmpfs { size, mode };
            }
            Source::Volume {
                name,
                options: volume_options,
                labels,
                driver,
                no_copy,
                subpath,
            } => {
                super::check_driver(driver.as_deref()).map_err(refused)?;
                let asked = VolumeRequest {
                    name,
                    driver: None,
                    labels,
                    options: volume_options,
                };
                let new = self.new_record(&asked).map_err(refused)?;
                // One that is there is as it was made.
                let record = self.volume(&new.name).unwrap_or(new);
                point.kind = PointKind::Volume;
                point.name = Some(record.name.clone());
                point.anonymous = record.anonymous;
                point.source = self.volume_data(&record.name);
                let bound = super::is_bind(&record.options);
                let fill = !no_copy && subpath.is_none() && (record.options.is_empty() || bound);
                point.mount.kind = self.volume_mount(&record, subpath, &mut options)?;
                if let Some(data) = record.options.get("o") {
                    point.mount.read_only |= data.split(',').any(|word| word == "ro");
                }
                volumes.push(NewVolume {
                    destination: point.destination.clone(),
                    record,
                    fill,
                });
            }
        }
        point.mount.options = options;
        Ok(point)
    }

    /// What stands in a volume's place by its options.
    fn volume_mount(
        &self,
        record: &VolumeRecord,
        subpath: Option<String>,
        options: &mut Vec<String>,
    ) -> Result<MountKind, RunError> {
        let option = |key: &str| record.options.get(key).cloned().unwrap_or_default();
        let (kind, device, data) = (option("type"), option("device"), option("o"));
        if record.options.is_empty() || super::is_bind(&record.options) {
            options.push("rbind".to_owned());
            let folder = match record.options.is_empty() {
                true => self.volume_data(&record.name),
                false => PathBuf::from(device),
            };
            return Ok(match subpath {
                Some(path) => MountKind::Within { folder, path },
                None => MountKind::Bind { source: folder },
            });
        }
        if subpath.is_some() {
            return Err(RunError::Refused {
                message: format!(
                    "volume-subpath of {}: the volume is a {kind} of its own",
                    record.name
                ),
                help: Some("mount the volume whole".into()),
                code: 125,
            });
        }
        if kind == "tmpfs" {
            let flag = format!("/:{data}");
            // The options are those of --tmpfs; its root is no place for one, so they are read for any other.
            let wish = wish::tmpfs_flag(&flag.replacen("/:", "/x:", 1)).map_err(RunError::Mount)?;
            options.extend(wish.options);
            if let Source::Tmpfs { size, mode } = wish.source {
                return Ok(MountKind::Tmpfs { size, mode });
            }
        }
        Ok(MountKind::FileSystem { kind, device, data })
    }

    /// Makes and fills the volumes of a container whose record is kept already, so that nobody takes them away.
    pub(crate) fn make_volumes(
        &self,
        volumes: &[NewVolume],
        layers: &[PathBuf],
        own_id: &str,
    ) -> Result<(), RunError> {
        for volume in volumes {
            let bound = super::is_bind(&volume.record.options);
            let made = match self.volume(&volume.record.name) {
                Ok(_) => Ok(()),
                Err(_) if bound || !volume.fill => self.make_volume(&volume.record, |_| Ok(())),
                Err(_) => self.make_volume(&volume.record, |data| {
                    self.fill(layers, &volume.destination, data)
                }),
            };
            made.map_err(|error| refused(error.into()))?;
            if volume.fill {
                let data = match volume.record.options.get("device") {
                    Some(device) => PathBuf::from(device),
                    None => self.volume_data(&volume.record.name),
                };
                self.fill_empty(volume, &data, layers, own_id)
                    .map_err(|error| refused(error.into()))?;
            }
        }
        Ok(())
    }

    /// Fills a volume that was there and is empty: beside it and then in its place, unless somebody has it mounted.
    fn fill_empty(
        &self,
        volume: &NewVolume,
        data: &Path,
        layers: &[PathBuf],
        own_id: &str,
    ) -> Result<(), FileError> {
        if !is_empty(data) {
            return Ok(());
        }
        let others = self.volume_users(&volume.record.name);
        let alone = others.iter().all(|id| id == own_id) && volume.record.options.is_empty();
        if !alone {
            return self.fill(layers, &volume.destination, data);
        }
        let temporary = self.store.temp_path().map_err(FileError::at(data))?;
        let filled = super::make_folder(&temporary, 0o755)
            .and_then(|()| self.fill(layers, &volume.destination, &temporary))
            .and_then(|()| match is_empty(&temporary) {
                // Whoever owns the empty one keeps it.
                true => Ok(()),
                false => fs::rename(&temporary, data).map_err(FileError::at(data)),
            });
        let _ = self.store.remove_folder(&temporary);
        filled
    }

    /// Held while a container's volumes are made; none where it has none.
    pub(crate) fn hold_volumes(
        &self,
        volumes: &[NewVolume],
        record: &ContainerRecord,
    ) -> Result<Option<fs::File>, RunError> {
        let any = !volumes.is_empty() || record.points.iter().any(|point| point.name.is_some());
        match any {
            true => self
                .lock_volumes(false)
                .map(Some)
                .map_err(|error| refused(error.into())),
            false => Ok(None),
        }
    }
}

/// Makes what is bound and not there, as Docker does for `-v`.
pub(crate) fn make_sources(record: &ContainerRecord) -> Result<(), (PathBuf, io::Error)> {
    for point in record.points.iter().filter(|point| point.create) {
        if !point.source.exists() {
            fs::create_dir_all(&point.source).map_err(|error| (point.source.clone(), error))?;
        }
    }
    Ok(())
}

/// A wish of `--mount` in Docker's words.
fn asked(wish: &Wish) -> Value {
    let mut object = match &wish.source {
        Source::Bind { path, .. } => json!({ "Type": "bind", "Source": path }),
        Source::Volume { name, .. } => match name {
            Some(name) => json!({ "Type": "volume", "Source": name }),
            None => json!({ "Type": "volume" }),
        },
        Source::Tmpfs { .. } => json!({ "Type": "tmpfs" }),
    };
    object["Target"] = json!(wish.destination);
    if wish.read_only {
        object["ReadOnly"] = json!(true);
    }
    match &wish.source {
        Source::Bind { alone, .. } => {
            let mut options = json!({});
            if let Some(propagation) = wish.options.first() {
                options["Propagation"] = json!(propagation);
            }
            if *alone {
                options["NonRecursive"] = json!(true);
            }
            if options != json!({}) {
                object["BindOptions"] = options;
            }
        }
        Source::Volume {
            labels,
            no_copy,
            options,
            ..
        } => {
            let mut shown = json!({});
            if *no_copy {
                shown["NoCopy"] = json!(true);
            }
            if !labels.is_empty() {
                shown["Labels"] = json!(labels);
            }
            if !options.is_empty() {
                shown["DriverConfig"] = json!({ "Options": options });
            }
            if shown != json!({}) {
                object["VolumeOptions"] = shown;
            }
        }
        Source::Tmpfs { size, mode } => {
            let mut options = json!({});
            if let Some(size) = size {
                options["SizeBytes"] = json!(size);
            }
            if *mode != 0 && *mode != 0o1777 {
                options["Mode"] = json!(mode);
            }
            if options != json!({}) {
                object["TmpfsOptions"] = options;
            }
        }
    }
    object
}

impl MountPoint {
    /// Whether `--tmpfs` made it, which `inspect` shows in a place of its own.
    fn is_plain_memory(&self) -> bool {
        self.kind == PointKind::Tmpfs && self.asked.is_none()
    }
}

/// What of the mounts stands in `HostConfig`, where there is such: `Tmpfs` and `Mounts`.
pub(crate) fn host_config(points: &[MountPoint]) -> (Option<Value>, Option<Value>) {
    let memory: serde_json::Map<String, Value> = points
        .iter()
        .filter(|point| point.is_plain_memory())
        .map(|point| (point.destination.clone(), json!(point.mode)))
        .collect();
    let asked: Vec<&Value> = points.iter().filter_map(|point| point.asked.as_ref()).collect();
    (
        (!memory.is_empty()).then(|| memory.into()),
        (!asked.is_empty()).then(|| json!(asked)),
    )
}

/// A container's mounts as `docker inspect` shows them.
pub(crate) fn inspect(points: &[MountPoint]) -> Value {
    let shown = points
        .iter()
        .filter(|point| !point.is_plain_memory())
        .map(|point| {
            let mut object = json!({ "Type": point.kind });
            if let Some(name) = &point.name {
                object["Name"] = json!(name);
            }
            object["Source"] = json!(point.source);
            object["Destination"] = json!(point.destination);
            if point.name.is_some() {
                object["Driver"] = json!(super::DRIVER);
            }
            // `z` is what Docker makes of a volume's missing mode.
            let plain = point.kind == PointKind::Volume && !point.anonymous && point.asked.is_none();
            object["Mode"] = json!(if plain && point.mode.is_empty() {
                "z"
            } else {
                &point.mode
            });
            object["RW"] = json!(!point.mount.read_only);
            object["Propagation"] = json!(point.propagation);
            object
        });
    shown.collect()
}
