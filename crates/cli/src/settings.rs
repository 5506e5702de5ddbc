//! What coil is told by flags, variables and the machine, read once for all commands.

use coil_engine::quantity::bytes;
use std::fs;
use std::path::{Path, PathBuf};

use coil_engine::device_interface;
use coil_engine::{Engine, EngineOptions, UserIds, user_ids};
use coil_store::{Store, StoreOptions};
use coil_sys::process::{effective_gid, effective_uid};
use coil_wheel::index::IndexSettings;

use crate::environment::Environment;
use crate::index_settings::{self, IndexFlags, Sources};
use crate::network_settings::NetworkSettings;
use crate::report::Failure;
use crate::run_root;

/// What the cache of builds and packs may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheLimit {
    /// As much as the disk's size allows.
    OfDisk,
    /// The user's own limit.
    Bytes(u64),
}

impl CacheLimit {
    /// The limit that was given, if one was.
    pub fn bytes(self) -> Option<u64> {
        match self {
            CacheLimit::OfDisk => None,
            CacheLimit::Bytes(bytes) => Some(bytes),
        }
    }
}

/// The settings of one run of coil.
pub struct Settings {
    environment: Environment,
    root: PathBuf,
    default_root: bool,
    program: PathBuf,
    as_docker: bool,
    ids: (u32, u32),
    user_ids: UserIds,
    lack: Option<user_ids::Lack>,
}

impl Settings {
    /// Settles where everything is; reads no more than that.
    ///
    /// # Errors
    /// When there is no place for images.
    pub fn new(environment: Environment, root: Option<&Path>) -> Result<Self, Failure> {
        let of_user = |uid| {
            let (root, _) = run_root::data_root(root, &environment, uid).ok()?;
            run_root::run_root(&root, &environment, uid).ok()
        };
        let ids = user_ids::host_ids((effective_uid(), effective_gid()), of_user);
        let (root, default_root) = run_root::data_root(root, &environment, ids.0)?;
        let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/proc/self/exe"));
        Ok(Self {
            environment,
            root,
            default_root,
            program,
            as_docker: false,
            ids,
            user_ids: match ids.0 {
                0 => UserIds::Host,
                _ => UserIds::One(None),
            },
            lack: None,
        })
    }

    /// Gives this process, which must have one thread, the ids of an ordinary user's containers for the rest of its life.
    pub fn enter_user_ids(&mut self) {
        if self.ids.0 == 0 {
            return;
        }
        // Without a safe folder for live state there is no engine either, which says so.
        if let Ok(run_root) = run_root::run_root(&self.root, &self.environment, self.ids.0) {
            let name = self.environment.first(&["USER", "LOGNAME"]);
            (self.user_ids, self.lack) = user_ids::enter(&run_root, self.ids, name.as_deref());
        }
    }

    /// The ids of an ordinary user's containers.
    pub fn user_ids(&self) -> &UserIds {
        &self.user_ids
    }

    /// Why they are not all ids of the user's range.
    pub fn lack_of_ids(&self) -> Option<&user_ids::Lack> {
        self.lack.as_ref()
    }

    /// The machine's user and group that coil runs as.
    pub fn ids(&self) -> (u32, u32) {
        self.ids
    }

    /// The same, with the name that coil was called by.
    #[must_use]
    pub fn called(mut self, as_docker: bool) -> Self {
        self.as_docker = as_docker;
        self
    }

    /// Whether coil was called as `docker`.
    pub fn as_docker(&self) -> bool {
        self.as_docker
    }

    /// The environment variables.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// A word that the user chose once for all commands: a key of Docker's own `config.json`, such as `psFormat`. A file that can't be
    /// read chooses nothing.
    pub fn chosen(&self, key: &str) -> Option<String> {
        let folder = self
            .environment
            .path("DOCKER_CONFIG")
            .or_else(|| self.environment.home().map(|home| home.join(".docker")))?;
        let text = fs::read_to_string(folder.join("config.json")).ok()?;
        let config: serde_json::Value = serde_json::from_str(&text).ok()?;
        let word = config.get(key)?.as_str()?;
        (!word.is_empty()).then(|| word.to_owned())
    }

    /// The data root.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What to run to run this program again: the very file that runs, whatever was put in its place since.
    pub fn own_program() -> &'static Path {
        Path::new("/proc/self/exe")
    }

    /// This program's own file.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The engine over the data root.
    ///
    /// # Errors
    /// When there is no safe folder for live state.
    pub fn engine(&self) -> Result<Engine, Failure> {
        let read = |path: &str| fs::read_to_string(path).ok();
        let options = StoreOptions {
            root: self.root.clone(),
            downloads: self
                .environment
                .path("COIL_DOWNLOADS")
                .map(|path| std::path::absolute(&path).unwrap_or(path)),
            boot_id: read("/proc/sys/kernel/random/boot_id")
                .unwrap_or_default()
                .trim()
                .to_owned(),
        };
        let store = match &self.user_ids {
            UserIds::Mapped(map) => Store::open_mapped(options, map.key()),
            _ => Store::open(options),
        };
        let options = EngineOptions {
            run_root: run_root::run_root(&self.root, &self.environment, self.ids.0)?,
            program: Self::own_program().to_owned(),
            default_root: self.default_root,
            resolv_conf: read("/etc/resolv.conf").unwrap_or_default(),
            resolved_conf: read("/run/systemd/resolve/resolv.conf"),
            hosts: read("/etc/hosts").unwrap_or_default(),
            device_folders: device_interface::folders(self.environment.text("COIL_CDI_SPEC_DIRS").as_deref()),
            ids: self.ids,
            connectors: self.connectors(),
            user_ids: self.user_ids.clone(),
        };
        Ok(Engine::new(store, options))
    }

    /// The programs that may connect an ordinary user's containers to other machines: that of `COIL_PASTA` (`none` for
    /// none), else those on the search path.
    fn connectors(&self) -> Vec<PathBuf> {
        match self.environment.path("COIL_PASTA") {
            Some(path) if path == Path::new("none") => Vec::new(),
            Some(path) => vec![path],
            None => {
                let path = self.environment.text("PATH").unwrap_or_default();
                std::env::split_paths(&path)
                    .map(|folder| folder.join("pasta"))
                    .collect()
            }
        }
    }

    /// Whether Debian's indices are taken although their time has run out (`COIL_ALLOW_EXPIRED`).
    pub fn allow_expired(&self) -> bool {
        self.environment
            .text("COIL_ALLOW_EXPIRED")
            .is_some_and(|text| text != "0" && text != "false")
    }

    /// What the cache of builds and packs may take (`COIL_CACHE_LIMIT`, a size or `off`); none where it may grow.
    ///
    /// # Errors
    /// When it is no size.
    pub fn cache_limit(&self) -> Result<Option<CacheLimit>, Failure> {
        let text = self.environment.text("COIL_CACHE_LIMIT").unwrap_or_default();
        match text.trim() {
            "" => Ok(Some(CacheLimit::OfDisk)),
            "off" => Ok(None),
            text => match bytes(text) {
                Some(bytes) => Ok(Some(CacheLimit::Bytes(bytes))),
                None => Err(
                    Failure::new(format!("COIL_CACHE_LIMIT is `{text}`, which is no size"))
                        .help("give a size such as 10gb, or off"),
                ),
            },
        }
    }

    /// How the network is reached.
    pub fn network(&self, offline: bool) -> NetworkSettings {
        let said = self
            .environment
            .text("COIL_OFFLINE")
            .is_some_and(|text| text != "0" && text != "false");
        NetworkSettings::read(&self.environment, offline || said)
    }

    /// Where packages come from.
    ///
    /// # Errors
    /// When a flag, a variable or a file of uv's cannot be understood.
    pub fn index(&self, flags: &IndexFlags) -> Result<IndexSettings, Failure> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let directory = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        let sources = Sources {
            environment: &self.environment,
            directory: &directory,
            now: now.map_or(0, |now| now.as_secs()),
            read_file: &|path| fs::read_to_string(path).ok(),
        };
        index_settings::read(flags, &sources)
    }

    /// The time of every file in an image, in seconds since 1970.
    ///
    /// # Errors
    /// When `SOURCE_DATE_EPOCH` is no number.
    pub fn epoch(&self) -> Result<u64, Failure> {
        let Some(text) = self.environment.text("SOURCE_DATE_EPOCH") else {
            return Ok(0);
        };
        text.trim().parse().map_err(|_| {
            Failure::new(format!("SOURCE_DATE_EPOCH is `{text}`, which is no time"))
                .help("give seconds since 1970, such as $(git log -1 --format=%ct)")
        })
    }
}
