//! Volumes: folders that outlive containers, by name; `volumes-v1/NAME` in the data root.
//!
//! A volume appears whole, with what it was filled with, by one rename. Who uses it stands in the containers' records
//! alone: a kill leaves no count behind that would be wrong. Whoever gives a volume to a container, or takes one away,
//! holds the folder's lock.

mod fill;
mod settle;
mod wish;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use coil_oci::timestamp;
use coil_runtime::events::Subject;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::files::FileError;
use crate::record::ContainerRecord;
use crate::{Engine, clock, words};

pub use settle::{MountPoint, PointKind};
pub(crate) use settle::{host_config, inspect, make_sources};
pub use wish::WishError as MountWishError;

const FOLDER: &str = "volumes-v1";
const RECORD: &str = "volume.json";
const DATA: &str = "_data";
/// How long a container that has ended may take to leave.
const LEAVING: Duration = Duration::from_secs(5);
/// Docker's only driver, and ours.
pub const DRIVER: &str = "local";

/// What is known of a volume; `volume.json` in its folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VolumeRecord {
    /// The name; 64 hexadecimal digits where nobody gave one.
    pub name: String,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// `type`, `device` and `o`: what is mounted in its place.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// When it was made, RFC 3339.
    pub created: String,
    /// Whether it has no name of anybody's.
    #[serde(default)]
    pub anonymous: bool,
}

/// What a volume is to be.
#[derive(Debug, Clone, Default)]
pub struct VolumeRequest {
    /// The name; one without a name when none is given.
    pub name: Option<String>,
    /// The driver; `local` when none is given.
    pub driver: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// `type`, `device` and `o`.
    pub options: BTreeMap<String, String>,
}

/// Why an operation on volumes failed.
#[derive(Debug)]
pub enum VolumeError {
    /// There is none of that name.
    Missing(String),
    /// The name can't be one.
    Name(String),
    /// Containers use it.
    InUse {
        /// Its name.
        name: String,
        /// Their ids.
        containers: Vec<String>,
    },
    /// The driver is unknown.
    Driver(String),
    /// An option can't be used.
    Options {
        /// The volume's name.
        name: String,
        /// Why.
        why: String,
    },
    /// A file could not be made, read or removed.
    File(FileError),
}

impl VolumeError {
    /// What the user can do next.
    pub fn help(&self) -> Option<String> {
        match self {
            VolumeError::Missing(_) => Some("`coil volume ls` lists all volumes".into()),
            VolumeError::Name(_) => Some(
                "give a name such as `data-1`, or a path of the host that begins with `/` or `./`".into(),
            ),
            VolumeError::InUse { containers, .. } => {
                let ids: Vec<&str> = containers.iter().map(|id| &id[..12.min(id.len())]).collect();
                Some(format!("remove what uses it first: `coil rm {}`", ids.join(" ")))
            }
            VolumeError::Driver(_) => Some("leave --driver away, or give `local`".into()),
            VolumeError::Options { .. } => {
                Some("options are type, device and o: -o type=none -o o=bind -o device=/path".into())
            }
            VolumeError::File(error) if error.source.kind() == io::ErrorKind::StorageFull => {
                Some("free some space; `coil system df` shows what takes it".into())
            }
            VolumeError::File(_) => None,
        }
    }
}

impl fmt::Display for VolumeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VolumeError::Missing(name) => write!(f, "get {name}: no such volume"),
            VolumeError::Name(name) if name.len() < 2 => write!(
                f,
                "create {name}: volume name is too short, names should be at least two alphanumeric characters"
            ),
            VolumeError::Name(name) => write!(
                f,
                "create {name}: \"{name}\" includes invalid characters for a local volume name, only \
                 \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
            ),
            VolumeError::InUse { name, containers } => {
                write!(f, "remove {name}: volume is in use - [{}]", containers.join(", "))
            }
            VolumeError::Driver(driver) => write!(f, "volume driver \"{driver}\": coil has `local` alone"),
            VolumeError::Options { name, why } => write!(f, "create {name}: {why}"),
            VolumeError::File(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl std::error::Error for VolumeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            VolumeError::File(error) => Some(&error.source),
            _ => None,
        }
    }
}

impl From<FileError> for VolumeError {
    fn from(error: FileError) -> Self {
        VolumeError::File(error)
    }
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    first
        && (2..=200).contains(&name.len())
        && bytes.all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

fn check_driver(driver: Option<&str>) -> Result<(), VolumeError> {
    match driver {
        None | Some("" | DRIVER) => Ok(()),
        Some(other) => Err(VolumeError::Driver(other.to_owned())),
    }
}

/// The options of Docker's `local` driver.
fn check_options(name: &str, options: &BTreeMap<String, String>) -> Result<(), VolumeError> {
    let wrong = |why: String| VolumeError::Options {
        name: name.to_owned(),
        why,
    };
    for key in options.keys() {
        if !["type", "device", "o", "size"].contains(&key.as_str()) {
            return Err(wrong(format!("invalid option: \"{key}\"")));
        }
    }
    if options.contains_key("size") {
        return Err(wrong("quota size requested but no quota support".into()));
    }
    if options.is_empty() {
        return Ok(());
    }
    for needed in ["device", "type"] {
        // What is bound needs no type.
        let bound = needed == "type" && is_bind(options);
        if !bound && options.get(needed).is_none_or(String::is_empty) {
            return Err(wrong(format!("missing required option: \"{needed}\"")));
        }
    }
    Ok(())
}

/// Whether the options say that a folder of the host stands in the volume's place.
fn is_bind(options: &BTreeMap<String, String>) -> bool {
    let words = options.get("o").map(String::as_str).unwrap_or_default();
    words.split(',').any(|word| word == "bind" || word == "rbind")
}

fn make_folder(path: &Path, mode: u32) -> Result<(), FileError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(FileError::at(path))
}

impl Engine {
    fn volumes_dir(&self) -> PathBuf {
        self.store.root().join(FOLDER)
    }

    fn volume_dir(&self, name: &str) -> PathBuf {
        self.volumes_dir().join(name)
    }

    /// Where a volume's files are, whether it is there or not.
    pub fn volume_data(&self, name: &str) -> PathBuf {
        self.volume_dir(name).join(DATA)
    }

    /// Held together by those who give volumes to containers, and alone by who removes some.
    fn lock_volumes(&self, alone: bool) -> Result<File, FileError> {
        let folder = self.volumes_dir();
        make_folder(&folder, 0o711)?;
        let lock = File::open(&folder).map_err(FileError::at(&folder))?;
        let locked = if alone { lock.lock() } else { lock.lock_shared() };
        locked.map_err(FileError::at(&folder))?;
        Ok(lock)
    }

    /// Every volume, by name.
    pub fn volumes(&self) -> Vec<VolumeRecord> {
        let entries = fs::read_dir(self.volumes_dir()).into_iter().flatten().flatten();
        let mut found: Vec<VolumeRecord> = entries.filter_map(|entry| read_record(&entry.path())).collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found
    }

    /// A volume by its name.
    ///
    /// # Errors
    /// When there is none.
    pub fn volume(&self, name: &str) -> Result<VolumeRecord, VolumeError> {
        let found = is_name(name)
            .then(|| read_record(&self.volume_dir(name)))
            .flatten();
        found.ok_or_else(|| VolumeError::Missing(name.to_owned()))
    }

    /// Makes a volume; one that is there already is left as it is.
    ///
    /// # Errors
    /// When the name, the driver or an option can't be used, or the disk is full: nothing is left then.
    pub fn create_volume(&self, request: &VolumeRequest) -> Result<VolumeRecord, VolumeError> {
        check_driver(request.driver.as_deref())?;
        let record = self.new_record(request)?;
        let _lease = self.store.lease().map_err(FileError::at(self.store.root()))?;
        let _lock = self.lock_volumes(false)?;
        if let Ok(known) = self.volume(&record.name) {
            return Ok(known);
        }
        self.make_volume(&record, |_| Ok(()))?;
        self.volume_event(&record.name, "create");
        self.volume(&record.name)
    }

    fn volume_event(&self, name: &str, action: &str) {
        let subject = Subject {
            kind: "volume",
            id: name,
            ..Subject::default()
        };
        self.event_of(&subject, action, &[("driver", DRIVER.to_owned())]);
    }

    fn new_record(&self, request: &VolumeRequest) -> Result<VolumeRecord, VolumeError> {
        let name = match request.name.as_deref().filter(|name| !name.is_empty()) {
            Some(name) if !is_name(name) => return Err(VolumeError::Name(name.to_owned())),
            Some(name) => name.to_owned(),
            None => words::new_id().map_err(FileError::at(Path::new("making a name")))?,
        };
        check_options(&name, &request.options)?;
        Ok(VolumeRecord {
            anonymous: request.name.as_deref().is_none_or(str::is_empty),
            name,
            labels: request.labels.clone(),
            options: request.options.clone(),
            created: timestamp::nanoseconds(clock::now()),
        })
    }

    /// Makes a volume's folder, fills it and gives it its name. Who came first wins.
    fn make_volume(
        &self,
        record: &VolumeRecord,
        fill: impl FnOnce(&Path) -> Result<(), FileError>,
    ) -> Result<(), FileError> {
        let temporary = self.store.temp_path().map_err(FileError::at(self.store.root()))?;
        let made = (|| {
            make_folder(&temporary, 0o711)?;
            let data = temporary.join(DATA);
            make_folder(&data, 0o755)?;
            fill(&data)?;
            let bytes =
                serde_json::to_vec(record).map_err(|error| FileError::at(&data)(io::Error::from(error)))?;
            fs::write(temporary.join(RECORD), bytes).map_err(FileError::at(&temporary))?;
            let place = self.volume_dir(&record.name);
            match fs::rename(&temporary, &place) {
                Err(_) if read_record(&place).is_some() => Ok(()),
                other => other.map_err(FileError::at(&place)),
            }
        })();
        let _ = self.store.remove_folder(&temporary);
        made
    }

    /// The ids of the containers that have a volume, those in the making too.
    pub fn volume_users(&self, name: &str) -> Vec<String> {
        let entries = fs::read_dir(self.store.containers_dir());
        let mut users: Vec<String> = entries
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let bytes = fs::read(entry.path().join("config.json")).ok()?;
                let record: ContainerRecord = serde_json::from_slice(&bytes).ok()?;
                let has = record
                    .points
                    .iter()
                    .any(|point| point.name.as_deref() == Some(name));
                // One that removes itself is as good as gone once it has ended, though its monitor still clears up.
                let gone = record.auto_remove
                    && coil_runtime::state::observe(&entry.path(), &self.run_dir(&record.id))
                        .is_ok_and(|state| state.status == coil_runtime::state::Status::Exited);
                (has && !gone).then_some(record.id)
            })
            .collect();
        users.sort();
        users
    }

    /// Whether a container that removes itself has ended, or is half gone.
    fn is_leaving(&self, id: &str) -> bool {
        self.container(id)
            .map_or(true, |one| one.record.auto_remove && !one.is_running())
    }

    /// Removes a volume that no container has; with `force` one that isn't there is no error.
    ///
    /// # Errors
    /// When there is none, or a container has it.
    pub fn remove_volume(&self, name: &str, force: bool) -> Result<(), VolumeError> {
        let until = Instant::now() + LEAVING;
        let _lock = loop {
            let lock = self.lock_volumes(true)?;
            if let Err(error) = self.volume(name) {
                return if force { Ok(()) } else { Err(error) };
            }
            let containers = self.volume_users(name);
            if containers.is_empty() {
                break lock;
            }
            // Whose folder is being removed is about to be gone.
            if Instant::now() > until || !containers.iter().all(|id| self.is_leaving(id)) {
                return Err(VolumeError::InUse {
                    name: name.to_owned(),
                    containers,
                });
            }
            drop(lock);
            std::thread::sleep(Duration::from_millis(2));
        };
        self.take_away(name)?;
        Ok(())
    }

    /// The record goes first, so that a kill on the way leaves no volume that is half there.
    fn take_away(&self, name: &str) -> Result<(), FileError> {
        let folder = self.volume_dir(name);
        match fs::remove_file(folder.join(RECORD)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(FileError::at(&folder)(error));
            }
            _ => {}
        }
        self.store
            .remove_folder(&folder)
            .map_err(FileError::at(&folder))?;
        self.volume_event(name, "destroy");
        Ok(())
    }

    /// Removes the volumes without a name that a container had, as far as no other has them.
    pub(crate) fn drop_anonymous(&self, record: &ContainerRecord) {
        let anonymous = record.points.iter().filter(|point| point.anonymous);
        for name in anonymous.filter_map(|point| point.name.as_deref()) {
            let _ = self.remove_volume(name, true);
        }
    }

    /// The folders that go when the container goes by itself.
    pub(crate) fn own_volumes(&self, record: &ContainerRecord) -> Vec<PathBuf> {
        let anonymous = record.points.iter().filter(|point| point.anonymous);
        anonymous
            .filter_map(|point| Some(self.volume_dir(point.name.as_deref()?)))
            .collect()
    }

    /// A volume as `docker volume inspect` shows it.
    pub fn inspect_volume(&self, record: &VolumeRecord) -> Value {
        let or_null = |map: &BTreeMap<String, String>, empty: Value| match map.is_empty() {
            true => empty,
            false => json!(map),
        };
        let mut labels = record.labels.clone();
        if record.anonymous {
            labels.insert("com.docker.volume.anonymous".into(), String::new());
        }
        json!({
            "CreatedAt": record.created.get(..19).map(|time| format!("{time}Z")).unwrap_or_default(),
            "Driver": DRIVER,
            "Labels": or_null(&labels, Value::Null),
            "Mountpoint": self.volume_data(&record.name),
            "Name": record.name,
            "Options": or_null(&record.options, Value::Null),
            "Scope": "local",
        })
    }
}

fn read_record(folder: &Path) -> Option<VolumeRecord> {
    let record: VolumeRecord = serde_json::from_slice(&fs::read(folder.join(RECORD)).ok()?).ok()?;
    // A folder that was moved is another volume's.
    (folder.file_name()?.to_str()? == record.name).then_some(record)
}

impl Engine {
    /// Removes a container, and with `volumes` those of its volumes that have no name and no other container has.
    ///
    /// # Errors
    /// As [`Engine::remove`].
    pub fn remove_with(&self, text: &str, force: bool, volumes: bool) -> Result<(), crate::ContainerError> {
        let record = self.container(text).ok().map(|container| container.record);
        self.remove(text, force)?;
        if let Some(record) = record.filter(|_| volumes) {
            self.drop_anonymous(&record);
        }
        Ok(())
    }
}

impl Engine {
    /// The bytes of a volume's files; those of another place that stands in for it are not counted.
    pub fn volume_size(&self, record: &VolumeRecord) -> u64 {
        match record.options.is_empty() {
            true => crate::files::bytes_below(&self.volume_data(&record.name)),
            false => 0,
        }
    }
}
